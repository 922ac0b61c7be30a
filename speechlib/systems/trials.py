"""Moves in a latent space on trial: classifiers that know recordings only say who speaks and what is said.

witnesses   fitted on windows of the training part
judge       what they say of any windows, moved or not
trial       windows of the validation part: as recorded, rebuilt, moved in several ways
sweep       windows of the training part at several strengths, to choose one without a look at the trial
heard       a wave, by the windows of its own features
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import SpeechlibError
from ..evaluation import classifier
from ..features import extract
from ..windows import Windows, cut
from .attributes import Means, Move, draw_moves, members, moved_windows
from .data import Trained, device_of
from .windows import all_batches, windows_of


class Witnesses(NamedTuple):
    """Classifiers fitted on recorded windows of the training part, and their accuracy on those of the validation."""

    speaker: classifier.Classifier
    phone: classifier.Classifier
    accuracy: dict[str, float]


def witnesses(trained: Trained, steps: int = 400, seed: int = 0) -> Witnesses:
    """Raises SpeechlibError for a corpus with one speaker or one phone."""
    train, val = (windows_of(trained.experiment, trained.data, part) for part in ("train", "val"))
    n_classes = {"speaker": len(trained.data.pack.speakers), "phone": len(train.phones) - 1}
    device = device_of(trained.model)
    known, held_out = (torch.cat([b.inputs for b in all_batches(part, device)]) for part in (train, val))
    fitted = {kind: classifier.fit(known, getattr(train, kind), n, steps, seed) for kind, n in n_classes.items()}
    right = {kind: classifier.accuracy(one.posterior(held_out), getattr(val, kind)) for kind, one in fitted.items()}
    return Witnesses(**fitted, accuracy=right)


def judge(
    who: Witnesses, means: Means, windows: Windows, which: Sequence[int], moves: Sequence[Move], shown: Tensor
) -> dict[str, float]:
    """What the witnesses say of windows `shown` (n, F, w), that were or were not moved: `classifier.drift`, and
    "share": what is left of the accuracy that the witness of the untouched attribute has on recordings."""
    moved, other = ("phone", "speaker") if moves[0].kind == "phone" else ("speaker", "phone")
    posterior = {kind: getattr(who, kind).posterior(shown) for kind in (moved, other)}
    source, target = (np.zeros(posterior[moved].shape, bool) for _ in range(2))
    for row, move in enumerate(moves):
        source[row, members(means, move.kind, move.source)] = True
        target[row, members(means, move.kind, move.target)] = True
    found = classifier.drift(posterior[moved], source, target, posterior[other], getattr(windows, other)[which])
    return found | {"share": found["kept"] / who.accuracy[other]}


def trial(
    trained: Trained,
    means: Means,
    who: Witnesses,
    kind: str,
    n: int = 400,
    targets: Sequence[str] = (),
    strength: float = 1.0,
    ways: Sequence[str] = ("means", "paired"),
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """What the witnesses say of n windows of the validation part (see `draw_moves` and `judge`): as they were
    recorded, rebuilt with their utterances, and moved with them in each of the ways."""
    windows = windows_of(trained.experiment, trained.data, "val")
    which, moves = draw_moves(means, windows, kind, n, seed, targets)
    shown = {"recorded": windows.at(which).inputs.cpu(), "rebuilt": moved_windows(trained, windows, which)}
    shown |= {way: moved_windows(trained, windows, which, means, moves, strength, way) for way in ways}
    return {name: judge(who, means, windows, which, moves, found) for name, found in shown.items()}


def heard(
    trained: Trained, means: Means, who: Witnesses, index: int, move: Move, wave: Tensor, part: str = "val"
) -> dict[str, float]:
    """What the witnesses hear in a wave (S,) that says utterance `index` of a part, moved or not: `judge` of the
    windows that are cut out of its own features where the utterance's phones are; for a phone, where it is."""
    windows, pack = windows_of(trained.experiment, trained.data, part), trained.data.pack
    mine = windows.utterance == index
    if move.kind == "phone":
        mine &= windows.phone == members(means, "phone", move.source)[0]
    if not mine.any():
        raise SpeechlibError(f"{pack.utterances[index]} has no window in part {part!r} that {move} could have moved")
    which = np.flatnonzero(mine)
    features = extract(wave.float(), pack.config_of(trained.experiment.inputs)).to(windows.outside.device)
    start = torch.from_numpy(windows.start[which]).to(features.device)
    length = torch.full_like(start, features.shape[1])
    shown = cut(features.T, torch.zeros_like(start), length, start, windows.n_frames, windows.outside)
    return judge(who, means, windows, which, [move] * len(which), shown)


def sweep(
    trained: Trained,
    means: Means,
    who: Witnesses,
    kind: str,
    strengths: Sequence[float],
    n: int = 400,
    targets: Sequence[str] = (),
    by: str = "paired",
    seed: int = 0,
) -> dict[str, list[float]]:
    """The same of windows of the *training* part, each by itself, at several strengths: {"strength", "target",
    "share"}. It is there to choose a strength without a look at what is reported."""
    windows = windows_of(trained.experiment, trained.data, "train")
    which, moves = draw_moves(means, windows, kind, n, seed, targets)
    # the witnesses were fitted on these windows: what is left is counted of the accuracy that they have there
    recorded = judge(who, means, windows, which, moves, windows.at(which).inputs)["kept"]
    told = []
    for strength in strengths:
        shown = moved_windows(trained, windows, which, means, moves, strength, by, alone=True)
        found = judge(who, means, windows, which, moves, shown)
        told.append(found | {"share": found["kept"] / max(recorded, 1e-9)})
    return {"strength": list(strengths)} | {name: [one[name] for one in told] for name in ("target", "share")}


def best_strength(found: dict[str, list[float]]) -> float:
    """Of a sweep: where the product of what is reached and what is kept is largest."""
    products = [target * share for target, share in zip(found["target"], found["share"])]
    return found["strength"][int(np.argmax(products))]
