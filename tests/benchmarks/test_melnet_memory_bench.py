"""The memory that a crop of the `paper` preset of MelNet takes in training, and the seconds: one machine must hold it.

A crop is forward, backward and the optimiser's step; `accumulate` crops make a step, one after the other, in the same
memory. A process of its own, as what counts is its peak.
"""

import subprocess
import sys

import pytest

CROP = """
import resource, sys, time
import torch
from speechlib import batches, objectives, presets, training
from speechlib.models.melnet import MelNet

torch.set_num_threads(1)
experiment = presets.get("melnet", sys.argv[1])
config, n_bands = experiment.training, experiment.pack.features[0].n_mels
model = MelNet(experiment.model, n_bands).train()
optimizer = training.make_optimizer(model, config)
x, nobody = torch.randn(1, n_bands, config.n_frames), torch.zeros(1, dtype=torch.long)
batch = batches.Batch(x, x, nobody, nobody, nobody, None, torch.tensor([config.n_frames]))
device, began = torch.device("cpu"), time.process_time()
with torch.autocast("cpu", torch.bfloat16, enabled=training.precision_of(config, device) == "bf16"):
    loss = objectives.melnet(model, batch)["loss"]
loss.backward()
optimizer.step()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
print(time.process_time() - began, peak, sum(p.numel() for p in model.parameters()))
"""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("preset", "limit"), [("source_small", 4), ("paper", 24)])
def test_memory_of_a_crop(benchmark, preset, limit):
    if benchmark.disabled and preset == "paper":
        pytest.skip("two minutes: make bench measures it")
    told = []

    def work():
        command = [sys.executable, "-c", CROP, preset]
        told.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    benchmark.pedantic(work, rounds=1)
    seconds, peak, parameters = map(float, told[0].split())
    name = f"MelNet {preset}, {parameters / 1e6:.0f} M weights, a crop in {seconds:.0f} s of one core, peak"
    benchmark.extra_info |= {"name": name, "figure": peak, "unit": "GiB", "target": limit, "direction": "lower"}
