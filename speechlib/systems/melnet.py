"""MelNet: log-mel features learned from coarse to fine."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from .. import objectives, packs
from ..errors import SpeechlibError
from ..evaluation import bin_mixtures
from ..features import n_features
from ..models.melnet import MelNet
from ..presets import Experiment
from .data import Data, Trained, crops, device_of

if TYPE_CHECKING:
    import pandas

objective = objectives.melnet
_FRAMES = 4_000  # of the training part that the baseline is fitted to


def new(experiment: Experiment, n_speakers: int) -> MelNet:
    config = next((c for c in experiment.pack.features if c.kind == experiment.inputs), None)
    if config is None:
        raise SpeechlibError(f"a MelNet learns features, not {experiment.inputs!r}: give it inputs=log_mel")
    return MelNet(experiment.model, n_features(config), n_speakers if experiment.model.speaker_dim else 0)


def fit(model: MelNet, experiment: Experiment, data: Data) -> None:
    """Statistics of the training part, least and greatest value of each bin."""
    pack, train = data.pack, data.split["train"]
    ends = [torch.aminmax(pack.features(i, experiment.inputs), dim=1) for i in train]
    low, high = torch.stack([end.min for end in ends]).amin(0), torch.stack([end.max for end in ends]).amax(0)
    model.fit(*packs.statistics(pack, train, experiment.inputs), low, high)


def baseline(trained: Trained) -> bin_mixtures.BinMixtures:
    """A mixture of as many Gaussians for every bin by itself, fitted to frames of the training part as the model learns
    them: standardised, with its dither."""
    experiment, pack, model = trained.experiment, trained.data.pack, trained.model
    random = np.random.default_rng(experiment.seed)
    frames = torch.cat([pack.features(i, experiment.inputs) for i in trained.data.split["train"]], dim=1)
    some = torch.from_numpy(random.permutation(frames.shape[1])[:_FRAMES]).to(frames.device)
    x = model.inputs(frames[:, some].to(device_of(model)))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(experiment.seed)).to(x.device)
    return bin_mixtures.fit((x + experiment.model.dither * noise).t(), experiment.model.n_mixtures)


@torch.inference_mode()
def likelihoods(trained: Trained, part: str = "val", seed: int = 0) -> "pandas.DataFrame":
    """What each tier's values cost on crops of a part, in nats per value: a row per tier and one of "all".

    `melnet`, and beside it `bins`, the baseline; `frame` is MelNet's sum over the bins of a frame, as the source system
    logs it; `values` counts. Both see the same noise.
    """
    import pandas

    model, rival = trained.model, baseline(trained)
    drawn = crops(trained.experiment, trained.data, part)
    rows = np.zeros((model.config.n_tiers, 4))  # melnet, bins, values, frames
    random = torch.Generator().manual_seed(seed)
    for n in range(len(drawn)):
        batch = drawn.batch(n)
        x = model.inputs(batch.inputs.to(device_of(model)))
        x = x + model.config.dither * torch.randn(x.shape, generator=random).to(x.device)
        length = batch.length.to(x.device)
        inside = torch.arange(x.shape[2], device=x.device) < length[:, None, None]
        speaker = batch.speaker.to(x.device) if model.sizes["n_speakers"] else None
        others = model.grids(rival.nll(x) * inside, length)
        for row, tier, grid, other in zip(rows, model.tiers, model.grids(x, length), others):
            nll = float(tier.nll(grid, speaker).sum())
            row += nll, float(other.target.sum()), float(grid.n_values), float(grid.length.sum())
    rows = np.vstack([rows, rows.sum(0)])
    table = pandas.DataFrame(
        {"melnet": rows[:, 0] / rows[:, 2], "bins": rows[:, 1] / rows[:, 2], "frame": rows[:, 0] / rows[:, 3]},
        index=[*range(1, model.config.n_tiers + 1), "all"],
    )
    table.loc["all", "frame"] = float("nan")  # frames of several widths do not add up
    return table.assign(values=rows[:, 2].astype(int)).rename_axis("tier")


def scores(trained: Trained) -> dict[str, float]:
    """Nats per value of the validation part, of all and of each tier, with `bins_` before those of the baseline."""
    table = likelihoods(trained)
    found = {}
    for tier, row in table.iterrows():
        name = "nll" if tier == "all" else f"tier_{tier}_nll"
        found |= {name: float(row["melnet"]), f"bins_{name}": float(row["bins"])}
    return found
