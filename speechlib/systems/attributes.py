"""Who speaks and what is said as directions of a latent space: their means, and speech moved along them.

Hsu, Zhang & Glass 2017, arXiv 1704.04222, section 4: the mean of the latents of a speaker's windows, or of a phone's,
stands for it, and

    z' = z - mean of the source + mean of the target

moves a window from one to the other. A whole utterance is a window at every frame; each is moved and decoded, and each
frame is the mean of the w windows that hold it.

    by="means"    as above; for a phone, windows whose middle lies in it are moved
    by="placed"   for a phone, all windows that hold it, each by means of windows that hold theirs at the same place:
                  else those beside it, which nobody has moved, outvote the others
    by="paired"   and by what the pair of phone and speaker has of its own: this speaker's [aa] to this speaker's [iy],
                  this speaker's [aa] to the other one's [aa]. Needs the phones' times when a speaker is changed, too

A pair that few windows tell of is held near the sum of phone and speaker, as if `_PRIOR` windows more had said that.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import SpeechlibError, UnknownName
from ..windows import Segments, Windows, cut, overlap, segments
from .data import Trained, device_of
from .windows import all_batches, windows_of

WAYS = ("means", "placed", "paired")
KINDS = ("speaker", "sex", "phone")
_PRIOR = 10.0
_LEAST = 2  # windows of an attribute: a mean of one is that window, and moving to it would copy it
_AT_ONCE = 1024  # windows that are decoded at once


class Means(NamedTuple):
    """Means of latents. O places of a phone in its window, P phones, S speakers, Z dimensions."""

    places: Tensor  # (O,) frames from the middle of the phone to the middle of the window, evenly spaced; one is 0
    origin: Tensor  # (Z,) of all windows that are centred on a phone
    speaker: Tensor  # (S, Z)
    phone: Tensor  # (O, P, Z)
    pair: Tensor  # (O, P, S, Z)
    counts: dict[str, dict[str, int]]  # "speaker" and "phone" -> name -> windows
    speakers: list[str]
    genders: list[str]
    phones: list[str]

    @property
    def reach(self) -> int:
        return int(self.places[-1])

    @property
    def middle(self) -> int:
        return len(self.places) // 2


class Move(NamedTuple):
    """From one attribute to another of its kind: speakers or phones by name, sexes as "F" and "M"."""

    kind: str
    source: str
    target: str


@torch.inference_mode()
def attribute_means(trained: Trained, part: str = "train", n_places: int = 9) -> Means:
    """Of all windows of a part, at n_places (odd) around its middle, up to 3/4 of a window before and behind it.

    Raises SpeechlibError for a model without an encoder, and where the corpus has no phone times.
    """
    if not hasattr(trained.model, "latents"):
        raise SpeechlibError(
            f"a {trained.experiment.system} has no encoder, and windows no latents: take a VAE or a WAE"
        )
    if n_places < 3 or n_places % 2 == 0:
        raise SpeechlibError(f"n_places {n_places} must be odd and 3 or more: as many before the middle as behind it")
    windows, pack = windows_of(trained.experiment, trained.data, part), trained.data.pack
    device = device_of(trained.model)
    phone, speaker = (torch.from_numpy(x).to(device) for x in (windows.phone, windows.speaker.astype(np.int64)))
    P, S = len(windows.phones) - 1, len(pack.speakers)
    step = max(1, round(1.5 * windows.n_frames / (n_places - 1)))
    places = step * (torch.arange(n_places, device=device) - n_places // 2)
    z = {}
    for place in places.tolist():
        z[place] = torch.cat([trained.model.latents(b.inputs) for b in all_batches(windows, device, place)])
    origin, by_speaker = z[0].mean(0), torch.bincount(speaker, minlength=S)
    of_speaker = _mean(z[0], speaker, S, origin)
    of_phone = torch.stack([_mean(found, phone, P, found.mean(0)) for found in z.values()])
    pair = of_phone[:, :, None] + (of_speaker - origin)
    cell, zero = phone * S + speaker, torch.zeros_like(origin)
    for k, found in enumerate(z.values()):
        rest = found - pair[k].flatten(0, 1)[cell]
        n = torch.bincount(cell, minlength=P * S)[:, None]
        pair[k] += (_mean(rest, cell, P * S, zero) * n / (n + _PRIOR)).view(P, S, -1)
    counts = {
        "speaker": dict(zip(pack.speakers, by_speaker.tolist())),
        "phone": dict(zip(windows.phones, torch.bincount(phone, minlength=P).tolist())),
    }
    genders = [gender or "?" for gender in pack.genders]
    return Means(places, origin, of_speaker, of_phone, pair, counts, list(pack.speakers), genders, windows.phones[:-1])


def _mean(z: Tensor, label: Tensor, n: int, default: Tensor) -> Tensor:
    """Mean (n, Z) of z (N, Z) by label (N,); `default` where there is none."""
    counts = torch.bincount(label, minlength=n)[:, None]
    summed = z.new_zeros(n, z.shape[1]).index_add_(0, label, z)
    return torch.where(counts > 0, summed / counts.clamp(min=1), default)


def known(means: Means, kind: str) -> list[str]:
    """The attributes of a kind that windows enough were heard of."""
    if kind == "sex":
        heard = set(known(means, "speaker"))
        return sorted({g for g, name in zip(means.genders, means.speakers) if name in heard and g != "?"})
    return [name for name, n in means.counts[kind].items() if n >= _LEAST]


def members(means: Means, kind: str, name: str) -> list[int]:
    """Indices of what a name stands for: one speaker or phone, all speakers of a sex.

    Raises UnknownName for a name or kind that does not exist, SpeechlibError for one with fewer than two windows.
    """
    if kind not in KINDS:
        raise UnknownName("kind of attribute", kind, KINDS)
    if kind == "sex":
        if name not in known(means, kind):
            raise UnknownName("sex", name, known(means, kind))
        return [i for i, g in enumerate(means.genders) if g == name and means.counts["speaker"][means.speakers[i]]]
    names = means.speakers if kind == "speaker" else means.phones
    if name not in names:
        raise UnknownName(kind, name, names)
    if (n := means.counts[kind][name]) < _LEAST:
        raise SpeechlibError(
            f"the mean of {kind} {name!r} would be one of {n} windows of the training part, {_LEAST} are needed: "
            "take another, or more speech"
        )
    return [names.index(name)]


def check(means: Means, move: Move) -> tuple[list[int], list[int]]:
    """Indices of source and target. Raises SpeechlibError for a move to where one is, or with nobody to move to."""
    if move.kind in ("speaker", "sex") and len(means.speakers) < 2:
        raise SpeechlibError(f"the corpus has one speaker, {means.speakers[0]}: there is nobody to move to")
    source, target = members(means, move.kind, move.source), members(means, move.kind, move.target)
    if source == target:
        raise SpeechlibError(f"source and target are one {move.kind}, {move.source!r}: nothing would move")
    return source, target


def shift(means: Means, move: Move, said: Segments, speaker: int, centre: Tensor, by: str = "paired") -> Tensor:
    """What is added to the latents of windows whose middles are the frames `centre` (N,) of an utterance: (N, Z).

    `said` are the phones of that utterance alone, `speaker` who says it. Raises UnknownName for `by`; see `check`.
    """
    if by not in WAYS:
        raise UnknownName("way to move", by, WAYS)
    source, target = check(means, move)
    first, stop = (torch.from_numpy(x).to(centre.device) for x in (said.first, said.stop))
    phone = torch.from_numpy(said.phone).to(centre.device)
    if move.kind == "phone":
        mine = phone == source[0]
        first, stop = first[mine], stop[mine]
        if not len(first):
            return means.origin.new_zeros(len(centre), len(means.origin))
        middle = first + (stop - first) // 2
        if by == "means":
            inside = ((first <= centre[:, None]) & (centre[:, None] < stop)).any(1)
            difference = means.phone[means.middle, target[0]] - means.phone[means.middle, source[0]]
            return inside[:, None] * difference
        away = centre[:, None] - middle
        away = away.gather(1, away.abs().argmin(1, keepdim=True))[:, 0]
        table = means.pair[:, :, speaker] if by == "paired" else means.phone
        moved = _between_places(table[:, target[0]] - table[:, source[0]], away, means)
        return moved * (away.abs() <= means.reach)[:, None]
    constant = means.speaker[target].mean(0) - means.speaker[source].mean(0)
    if by != "paired" or not len(phone):
        return constant.expand(len(centre), -1)
    holds = (first <= centre[:, None]) & (centre[:, None] < stop)  # (N, phones)
    which = holds.float().argmax(1)
    away = centre - (first + (stop - first) // 2)[which]
    table = means.pair[:, :, target].mean(2) - means.pair[:, :, source].mean(2)  # (O, P, Z)
    return torch.where(holds.any(1)[:, None], _between_places(table, away, means, phone[which]), constant)


def _between_places(table: Tensor, away: Tensor, means: Means, phone: Tensor | None = None) -> Tensor:
    """Rows of a table (O, Z), or (O, P, Z) with each row's phone (N,), at `away` (N,) frames: linear in between."""
    step = means.places[1] - means.places[0]
    place = (away.clamp(-means.reach, means.reach) + means.reach) / step
    left = place.long().clamp(max=len(means.places) - 2)
    share = (place - left)[:, None]
    rows = (left, left + 1) if phone is None else ((left, phone), (left + 1, phone))
    return (1 - share) * table[rows[0]] + share * table[rows[1]]


@torch.inference_mode()
def transform(
    trained: Trained,
    index: int,
    means: Means | None = None,
    moves: Sequence[Move] = (),
    strength: float = 1.0,
    by: str = "paired",
) -> Tensor:
    """Utterance `index` through the model, its windows moved on the way, (F, T); without moves: rebuilt as it was.

    Raises SpeechlibError for a move that starts from another speaker, or from a phone that the utterance has not.
    """
    model, kind, pack = trained.model, trained.experiment.inputs, trained.data.pack
    features = pack.features(index, kind).to(device_of(model))
    w, T = model.sizes["n_frames"], features.shape[1]
    start = torch.arange(1 - w, T, device=features.device)  # every frame is held by w windows
    nothing = torch.zeros_like(start)
    outside = model.inputs.mean
    z = torch.cat(
        [
            model.latents(cut(features.T, nothing[: len(some)], nothing[: len(some)] + T, some, w, outside))
            for some in start.split(_AT_ONCE)
        ]
    )
    if moves:
        said, speaker = segments(pack, [index], kind), int(pack.speaker[index])
        for move in moves:
            _belongs(means, move, said, speaker, pack.utterances[index])
            z = z + strength * shift(means, move, said, speaker, start + w // 2, by)
    decoded = torch.cat([model.decode(some) for some in z.split(_AT_ONCE)])
    return overlap(decoded, 1, T + w - 1)[:, w - 1 :].cpu()


def _belongs(means: Means, move: Move, said: Segments, speaker: int, utterance: str) -> None:
    source, _ = check(means, move)
    if move.kind == "phone" and source[0] not in said.phone:
        held = ", ".join(sorted({means.phones[p] for p in said.phone}))
        raise SpeechlibError(f"{utterance} holds no {move.source!r} that could be moved, only {held}")
    if move.kind != "phone" and speaker not in source:
        raise SpeechlibError(f"{utterance} is said by {means.speakers[speaker]}, the move starts from {move.source!r}")


@torch.inference_mode()
def moved_windows(
    trained: Trained,
    windows: Windows,
    which: Sequence[int],
    means: Means | None = None,
    moves: Sequence[Move] = (),
    strength: float = 1.0,
    by: str = "paired",
    alone: bool = False,
) -> Tensor:
    """Windows `which` as they are cut out of their utterances after `transform` with a move for each: (n, F, w).

    Only what these windows hold is computed. `alone`: each window is encoded, moved and decoded by itself, as Hsu et
    al. judge it, without neighbours that have a say.
    """
    model, w = trained.model, windows.n_frames
    beside = np.zeros(1, np.int64) if alone else np.arange(1 - w, w)
    own = _by_utterance(windows.segments)
    found = []
    for some in np.array_split(np.arange(len(which)), max(1, -(-len(which) * len(beside) // _AT_ONCE))):
        items = np.asarray(which)[some]
        batch = windows.at(np.repeat(items, len(beside)), np.tile(beside, len(items)))
        z = model.latents(batch.inputs.to(device_of(model)))
        if moves:
            centres = (batch.start + w // 2).to(z.device).view(len(items), -1)
            added = [
                shift(means, moves[k], own[windows.utterance[i]], int(windows.speaker[i]), centre, by)
                for k, i, centre in zip(some, items, centres)
            ]
            z = z + strength * torch.cat(added)
        found.append(_joined(model.decode(z).unflatten(0, (len(items), -1)), beside).cpu())
    found = torch.cat(found)
    batch = windows.at(which)
    frame = batch.start[:, None] + torch.arange(w, device=batch.start.device)
    length = torch.as_tensor(windows.pack.n_frames[windows.utterance[which]], device=frame.device)
    inside = ((frame >= 0) & (frame < length[:, None])).cpu()
    return torch.where(inside[:, None], found, windows.outside.cpu()[:, None])


def _by_utterance(said: Segments) -> dict[int, Segments]:
    """The phones of each utterance."""
    places = {u: said.utterance == u for u in np.unique(said.utterance)}
    return {u: Segments(*(column[at] for column in said[:4]), said.phones) for u, at in places.items()}


def _joined(decoded: Tensor, beside: np.ndarray) -> Tensor:
    """Windows (n, B, F, w) that begin `beside` (B,) frames from n places -> the w frames of each place, (n, F, w):
    each the mean of all windows that hold it."""
    n, _, n_features, w = decoded.shape
    summed, counts = decoded.new_zeros(n, n_features, w), decoded.new_zeros(w)
    for k, b in enumerate(beside):
        here, there = slice(max(0, b), min(w, w + b)), slice(max(0, -b), min(w, w - b))
        summed[:, :, here] += decoded[:, k, :, there]
        counts[here] += 1
    return summed / counts


def draw_moves(
    means: Means, windows: Windows, kind: str, n: int, seed: int = 0, targets: Sequence[str] = ()
) -> tuple[np.ndarray, list[Move]]:
    """n of the windows, and for each a move from what it is to one of `targets` that it is not (by default: any).

    Phones are moved among `targets` only. Raises SpeechlibError where no window can be moved so, UnknownName for a
    target that does not exist.
    """
    if kind != "phone" and len(means.speakers) < 2:
        raise SpeechlibError(f"the corpus has one speaker, {means.speakers[0]}: there is nobody to move to")
    targets, possible = list(targets) or known(means, kind), known(means, kind)
    for name in targets:
        members(means, kind, name)
    names = {"speaker": means.speakers, "sex": means.genders, "phone": means.phones}[kind]
    own = np.array(names)[windows.phone if kind == "phone" else windows.speaker]
    movable = np.isin(own, targets if kind == "phone" else possible)
    rng = np.random.default_rng(seed)
    which = rng.permutation(np.flatnonzero(movable & np.array([any(t != o for t in targets) for o in own])))[:n]
    if not len(which):
        raise SpeechlibError(f"no window can be moved to another {kind}: targets are {', '.join(targets) or 'none'}")
    moves = [Move(kind, o, rng.choice([t for t in targets if t != o])) for o in own[which]]
    return which, moves


def examples(trained: Trained, means: Means, phones: Sequence[str], part: str = "val") -> list[tuple[int, Move]]:
    """Utterances of a part and a move for each: from either sex to the other, or between two speakers where sexes are
    not known; and the first of `phones` to the second, in the utterance that holds most of it."""
    pack, indices = trained.data.pack, trained.data.split[part]
    chosen: list[tuple[int, Move]] = []
    kind = "sex" if len(known(means, "sex")) > 1 else "speaker"
    names = known(means, kind)[:2]
    for own, other in zip(names, names[::-1]):
        of = members(means, kind, own)
        chosen += [(i, Move(kind, own, other)) for i in indices if int(pack.speaker[i]) in of][:1]
    (source,), _ = check(means, move := Move("phone", *phones[:2]))
    said = segments(pack, indices, trained.experiment.inputs)
    held = np.bincount(said.utterance[said.phone == source], minlength=1)
    return [*chosen, (int(held.argmax()), move)] if held.max() else chosen
