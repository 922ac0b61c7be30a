"""Models of windows side by side: on the same windows, by the same questions, between a ceiling and a naive model."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import objectives, packs
from ..errors import SpeechlibError
from ..evaluation import draws
from ..models.standardise import Standardise
from .data import Trained, device_of
from .windows import mean_terms, windows_of

REAL, NAIVE = "other real windows", "a Gaussian per band"


class Compared(NamedTuple):
    """`rows`: model -> number by name, without those that it cannot have. `windows`: model -> what it draws (N, F, w),
    REAL and NAIVE among them, in the units of the features; `judged` (N, F, w) are those that they are compared with.
    """

    rows: dict[str, dict[str, float]]
    windows: dict[str, Tensor]
    judged: Tensor


@torch.inference_mode()
def compared(models: Mapping[str, Trained], n: int = 2000, seed: int = 0) -> Compared:
    """Every model's n draws (fewer where the validation part is smaller), and its reconstructions where it has an
    encoder, beside as many windows of that part.

    On standardised windows: squared_error per number, of windows rebuilt from their latents; phones_heard: share of
    those whose phone a classifier of real windows still hears; bits per number (a VAE's is a bound);
    `draws.Judge.judge` of the draws; seconds of training and parameters. Raises SpeechlibError for models of different
    windows.
    """
    first = next(iter(models.values()))
    for name, other in models.items():
        for field in ("corpus", "pack", "split", "inputs"):
            if (its := getattr(other.experiment, field)) != (own := getattr(first.experiment, field)):
                raise SpeechlibError(f"{field} of {name} is {its}, of the first model {own}: windows would differ")
        if other.model.sizes != first.model.sizes:
            raise SpeechlibError(f"{name} has windows of {other.model.sizes}, the first model of {first.model.sizes}")
    standard = Standardise(first.model.sizes["n_features"])
    standard.fit(*packs.statistics(first.data.pack, first.data.split["train"], first.experiment.inputs))
    rng = np.random.default_rng(seed)
    train, val = (windows_of(first.experiment, first.data, part) for part in ("train", "val"))
    n = min(n, val.n_windows, train.n_windows // 2)  # of every row: distances between few draws are larger
    order = rng.permutation(train.n_windows)
    known, others = order[:-n], order[-n:]
    chosen = rng.permutation(val.n_windows)[:n]
    phones = np.array(train.phones)
    judged = val.at(chosen).inputs.cpu()
    learned = standard(train.at(known[: draws.N_FITTED]).inputs.cpu()).numpy()
    judge = draws.judge_of(learned, phones[train.phone[known[: draws.N_FITTED]]], standard(judged).numpy())
    gaussian = draws.band_gaussian(learned)
    said = phones[val.phone[chosen]]
    naive = torch.from_numpy(gaussian.sample(len(chosen), judged.shape[2], seed)).float()
    windows = {REAL: train.at(others).inputs.cpu(), NAIVE: standard.inverse(naive)}
    rows = {
        REAL: {"phones_heard": judge.phones_heard(judge.windows, said)},
        NAIVE: {
            "squared_error": float(np.square(judge.windows - gaussian.mean[:, None]).mean()),
            "bits": gaussian.bits(judge.windows),
        },
    }
    for name, trained in models.items():
        model, row = trained.model, {}
        if hasattr(model, "latents"):
            rebuilt = standard(model.decode(model.latents(judged.to(device_of(model)))).cpu()).numpy()
            row["squared_error"] = float(np.square(rebuilt - judge.windows).mean())
            row["phones_heard"] = judge.phones_heard(rebuilt, said)
        if getattr(trained.experiment.model, "reconstruction", "") == "gaussian":
            row["bits"] = -mean_terms(model, objectives.vae, val, seed)["elbo_per_element"] / math.log(2)
        row["parameters"] = sum(p.numel() for p in model.parameters())
        if trained.run:
            row["seconds"] = trained.run.summary["seconds"]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            windows[name] = model.sample(n).cpu()
        rows[name] = row
    rows = {name: row | judge.judge(standard(windows[name]).numpy()) for name, row in rows.items()}
    return Compared(rows, windows, judged)
