"""A language of five letters, in which a MelNet's first tier learns to read what it says.

A letter is a chord of bands that lasts for two to four frames, whoever wants to know how long must listen; which letter
comes next is written in the text and nowhere else.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import SpeechlibError
from ..models.melnet import Grid, MelNetConfig, Tier
from ..models.melnet_text import NOTHING

LETTERS = "aeiou"
_BINS, _FRAMES, _NOISE = 8, 20, 0.2
_CHORDS = torch.tensor([[0, 3], [1, 5], [2, 6], [3, 7], [4, 0]])  # bands of each letter
_LASTS = 2, 4
_RATE = 2e-2


class Pages(NamedTuple):
    """grids (N, 8, 20) of standardised values; text (N, L), symbols of LETTERS; said (N, 20): the place in the text
    that each frame belongs to, its length once all is said."""

    grids: Tensor
    text: Tensor
    said: Tensor


class Learned(NamedTuple):
    """The tier, and what a value of a batch cost in each step."""

    tier: Tier
    cost: list[float]


def written(n: int, seed: int) -> Pages:
    """n pages of three to five letters, no two alike beside each other."""
    random = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=random))

    length = [draw(3, 5) for _ in range(n)]
    text = torch.full((n, 5), NOTHING)
    said = torch.tensor(length)[:, None].repeat(1, _FRAMES)
    grids = torch.full((n, _BINS, _FRAMES), -1.0)
    for page, letters in enumerate(length):
        at, last = 0, NOTHING
        for place in range(letters):
            letter = draw(0, len(LETTERS) - 1)
            letter = (letter + 1) % len(LETTERS) if letter == last else letter
            text[page, place], last = letter, letter
            end = at + draw(*_LASTS)
            grids[page, _CHORDS[letter], at:end] = 1.0
            said[page, at:end] = place
            at = end
    return Pages(grids + _NOISE * torch.randn(grids.shape, generator=random), text, said)


def learn(pages: Pages, steps: int = 350, seed: int = 0, batch: int = 16) -> Learned:
    """Train a tier of two layers on pages: a few seconds of one core for a hundred steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tier = Tier(MelNetConfig((2,), hidden=24, n_mixtures=2), 2, _BINS, n_symbols=len(LETTERS))
        optimizer, spent = torch.optim.Adam(tier.parameters(), _RATE), []
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, max(steps, 2), pct_start=0.1)
        for _ in range(steps):
            some = torch.randint(len(pages.grids), (batch,))
            loss = cost(tier, pages.grids[some], pages.text[some])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(tier.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            spent.append(loss.item())
    return Learned(tier.eval(), spent)


def cost(tier: Tier, grids: Tensor, text: Tensor) -> Tensor:
    """Nats per value of grids (B, F, T), given their text."""
    length = torch.full((len(grids),), grids.shape[2])
    return tier.nll(Grid(grids, None, length, None), text=text).mean()


def spelled(text: Tensor) -> str:
    """Symbols (L,) as letters, up to the end."""
    return "".join(LETTERS[k] for k in text.tolist() if k != NOTHING)


def symbols(word: str) -> Tensor:
    """The inverse, (1, L). Raises SpeechlibError for letters that the language does not have."""
    if not word or set(word) - set(LETTERS):
        raise SpeechlibError(f"{word!r} cannot be written: the letters are {', '.join(LETTERS)}")
    return torch.tensor([[LETTERS.index(letter) for letter in word]])


def heard(grid: Tensor) -> str:
    """The letters that a grid (F, T) says: the nearest chord of each frame, or silence; repeats once."""
    chords = torch.full((len(LETTERS) + 1, _BINS), -1.0)
    chords[:-1].scatter_(1, _CHORDS, 1.0)
    nearest = torch.cdist(grid.t()[None].float(), chords[None])[0].argmin(1).tolist()
    changes = [k for k, before in zip(nearest, [-1, *nearest]) if k != before]
    return "".join(LETTERS[k] for k in changes if k < len(LETTERS))
