"""What reduced precision loses: bits per sample for every output of a WaveNet, nats per value for MelNet.

WaveNets are small and learned for a minute from one voice of the toy corpus; they are measured on other sentences of
it. The MelNet is the checkpoint that comes with the package. Noise says how far the loss differs from clip to clip: a
difference below it is none.
"""

import math

import pytest
import torch

from speechlib import packs, presets, pretrained, runs
from speechlib.generation.melnet import cached_parameters
from speechlib.generation.numba_wavenet import NumbaWaveNet
from speechlib.models.wavenet import WaveNet
from speechlib.systems import wavenet

STEPS, CLIPS, FRAMES = 300, 12, 100
SMALL = {"model.n_layers": 8, "model.n_stacks": 1, "model.residual_channels": 32, "model.gate_channels": 64}


@pytest.fixture(scope="module")
def pack(one_voice, tmp_path_factory):
    return packs.build(one_voice, presets.get("wavenet", "demo").pack, tmp_path_factory.mktemp("pack"))


def crop(pack, i: int, begin: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A second of utterance i from a frame on: wave, bands. The beginning of it again where it is shorter."""
    bands = pack.features(i, "log_mel")
    begin = begin % max(1, bands.shape[1] - FRAMES - 1)
    return pack.wave(i)[begin * 80 : (begin + FRAMES) * 80], bands[:, begin : begin + FRAMES]


def batch(pack, indices: list[int], random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    begins = torch.randint(10_000, (len(indices),), generator=random).tolist()
    waves, bands = zip(*(crop(pack, i, begin) for i, begin in zip(indices, begins)))
    return torch.stack(waves), torch.stack(bands)


@pytest.fixture(scope="module", params=["mu_law", "logistic", "gaussian"])
def learned(request, pack) -> tuple[WaveNet, torch.Tensor, torch.Tensor]:
    """A model that has learned something, and speech that it has not heard."""
    experiment = presets.get("wavenet", "demo", changes=SMALL | {"model.output": request.param})
    long = [i for i in range(len(pack)) if pack.features(i, "log_mel").shape[1] > FRAMES + 1]
    train, held_out = long[:-CLIPS], long[-CLIPS:]
    torch.manual_seed(0)
    model, random = wavenet.new(experiment, 1), torch.Generator().manual_seed(0)
    model.inputs.fit(*packs.statistics(pack, train, "log_mel"))
    wavenet.fit_envelope(model, pack.config_of("log_mel"))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for step in range(STEPS if request.config.getoption("benchmark_enable") else 2):
        chosen = torch.randint(len(train), (2,), generator=random).tolist()
        wave, bands = batch(pack, [train[i] for i in chosen], random)
        dither = torch.randn(wave.shape, generator=random) * experiment.model.dither
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, (step + 1) / 50)
        optimizer.zero_grad()
        model.nll((wave + dither).clamp(-1, 1), bands).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval(), *batch(pack, held_out, random)


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_reduced_precision(benchmark, learned, precision):
    model, wave, bands = learned
    with torch.inference_mode():
        inner = model.inner(wave, bands)
        exact = model.distribution.nll(model.predict(inner, bands), inner)

    @torch.inference_mode()
    def reduced():
        if precision == "int8":
            return NumbaWaveNet(model, bands, None, len(wave), precision=precision).force(inner)
        with torch.autocast("cpu", torch.bfloat16):
            return model.predict(inner, bands).float()

    parameters = benchmark.pedantic(reduced, rounds=1)
    lost = (model.distribution.nll(parameters, inner) - exact).mean(1) / math.log(2)  # (clips,)
    noise = lost.std().item() / len(lost) ** 0.5
    name = f"WaveNet, {model.config.output}, {precision}: bits per sample lost (noise {noise:.4f})"
    told(benchmark, name, lost.mean().item(), "bits")


def test_melnet_in_int8(benchmark, one_voice, tmp_path):
    model, config = runs.load_model(pretrained.path("melnet")).eval(), presets.get("melnet", "demo").pack
    clips = packs.build(one_voice, config, tmp_path)
    long = [x for x in (clips.features(i, "log_mel") for i in range(len(clips))) if x.shape[1] >= FRAMES][:CLIPS]
    grids = model.grids(model.inputs(torch.stack([x[:, :FRAMES] for x in long])))

    @torch.inference_mode()
    def lost() -> torch.Tensor:
        """Nats (clips, values) of all tiers."""
        differences = []
        for tier, grid in zip(model.tiers, grids):
            speaker = torch.full((len(long),), -1) if model.sizes["n_speakers"] else None
            reduced = cached_parameters(tier, grid.target, grid.condition, speaker, "numba", "int8")
            differences.append(tier.distribution.nll(reduced, grid.target) - tier.nll(grid, speaker))
        return torch.cat([nats.flatten(1) for nats in differences], dim=1)

    found = benchmark.pedantic(lost, rounds=1).mean(1)
    noise = found.std().item() / len(found) ** 0.5
    told(benchmark, f"MelNet, int8: nats per value lost (noise {noise:.5f})", found.mean().item(), "nats")


def told(benchmark, name: str, figure: float, unit: str) -> None:
    benchmark.extra_info |= {"name": name, "figure": figure, "unit": unit, "target": 0.01, "direction": "lower"}
