"""The VAE of phone windows on pictures of digits: a check for the eye, in seconds and without speech.

scikit-learn's 1,797 pictures of 8 x 8 pixels (Alpaydin & Kaynak 1998) stand in for MNIST. A row of pixels is a band, a
column a frame; model, objective and loop are those that speech is given to, unchanged.
"""

import math
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import objectives, training
from ..batches import Order
from ..errors import UnknownName
from ..models.vae import VAE, VAEConfig
from ..runs import Run
from ..training import Progress, TrainingConfig

SIDE, LEVELS = 8, 17  # pixels of an edge; a pixel is one of 0, 1, ..., 16
STEPS = {"smoke": 200, "demo": 1500, "paper": 6000}
_VALIDATION = 297  # pictures
_PARTS = ("train", "val")


class Pictures(NamedTuple):
    inputs: Tensor  # (B, SIDE, SIDE): rows, columns
    digit: Tensor  # (B,)


class Digits:
    """The pictures of one part, in batches that are a function of (seed, n).

    `levels` (N, SIDE, SIDE) are whole numbers. Batches hold them with noise of one level's width, so that a density has
    something to be the density of: its log is then a bound on that of the levels (Theis et al. 2016, eq. 8).
    """

    def __init__(self, part: str, batch_size: int = 128, seed: int = 0, device: str | torch.device = "cpu"):
        from sklearn.datasets import load_digits

        if part not in _PARTS:
            raise UnknownName("part of the digits", part, _PARTS)
        found = load_digits()
        order = np.random.default_rng(0).permutation(len(found.images))  # writers come one after another in the file
        chosen = order[_VALIDATION:] if part == "train" else order[:_VALIDATION]
        self.levels = torch.from_numpy(found.images[chosen]).float().to(device)
        self.digit = torch.from_numpy(found.target[chosen]).to(device)
        self.seed, self.order = seed, Order(len(chosen), batch_size, seed)

    def __len__(self) -> int:
        """Batches in which every picture has come once."""
        return len(self.order)

    def batch(self, n: int) -> Pictures:
        return self._noisy(self.order.batch(n), n)

    def everything(self) -> Pictures:
        """All pictures in order, as one batch."""
        return self._noisy(np.arange(len(self.levels)), 0)

    def _noisy(self, index: np.ndarray, n: int) -> Pictures:
        noise = np.random.default_rng([self.seed, 1, n]).random((len(index), SIDE, SIDE), np.float32)
        return Pictures(self.levels[index] + torch.from_numpy(noise).to(self.levels), self.digit[index])


class Learned(NamedTuple):
    model: VAE  # in eval mode
    metrics: dict  # {"train", "validation"}: tables, as of a run


def settings(preset: str) -> tuple[VAEConfig, TrainingConfig]:
    """The network of the speech presets, smaller as its windows are, and how long it learns."""
    if preset not in STEPS:
        raise UnknownName("preset of the digits", preset, STEPS)
    steps = STEPS[preset]
    model = VAEConfig(channels=(32, 64, 128), hidden=128, latent_dim=12, padding=1, least_std=0.05)
    return model, TrainingConfig(
        steps=steps,
        batch_size=128,
        n_frames=SIDE,
        learning_rate=3e-3,
        schedule="cosine",
        warmup=20,
        ema_decay=0.98,
        log_every=5,
        validate_every=steps // 20,
        validate_batches=3,
        checkpoint_every=steps,
    )


def train(preset: str = "smoke", seed: int = 0, progress: Progress | None = None) -> Learned:
    """The VAE of a preset, trained on the digits. That is no experiment on a corpus: its run folder is not kept."""
    model, config = settings(preset)
    train, val = (Digits(part, config.batch_size, seed, training.device_of(config)) for part in _PARTS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = VAE(model, SIDE, SIDE)
    rows = train.everything().inputs.transpose(1, 2).flatten(0, 1)  # (N columns, SIDE rows)
    network.inputs.fit(rows.mean(0), rows.std(0))
    with tempfile.TemporaryDirectory() as folder:
        experiment = {"model": asdict(model), "training": asdict(config)}
        run = Run(Path(folder), {"system": "vae", "preset": preset, "seed": seed, "experiment": experiment})
        network = training.descend(network, objectives.vae, train, config, run, val, progress=progress)
        return Learned(network.cpu(), {part: run.metrics(part) for part in ("train", "validation")})


def bits_per_pixel(nats: float, model: VAE) -> float:
    """Bits that one level costs, from log p (or its bound) of a standardised picture with its noise, in nats."""
    scale = SIDE * float(model.inputs.std.log().sum())  # standardised by rows, and a row has SIDE pixels
    return (scale - nats) / (SIDE**2 * math.log(2))


def bits_of_each_alone(train: Digits, val: Digits) -> float:
    """Bits per pixel of `val` where each of the pixels is told by its own histogram over `train`: what a model that
    knows of no dependence comes to. Every level was seen once more than it was (Laplace's rule)."""
    shares = torch.stack([(train.levels == level).sum(0) + 1 for level in range(LEVELS)]) / (len(train.levels) + LEVELS)
    return -float(shares.gather(0, val.levels.long()).log2().mean())
