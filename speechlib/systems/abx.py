"""ABX of a trained system: what the features tell apart, and how much of it the encoder and its codes keep.

compared = abx.compare(trained)          # every stage of the model on its validation part
compared.table                           # percent within and across speakers, beside the features it was given

Each representation, within and across speakers, is scored by itself: an `executor`, such as that of a cluster, takes
them at the same time, and the numbers are those of one process.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from .. import batches
from ..corpora.items import NoItems, items_of
from ..errors import SpeechlibError
from ..evaluation.abx import CONTEXTS, SPEAKERS, NoTriples, score
from ..evaluation.abx_averages import TooFew, by_speaker, interval, overall
from ..evaluation.abx_items import cut
from ..features import frame_times
from ..presets import WAVE
from .codes import has_codes, whole_codes
from .data import Trained, device_of

_FEW = 5  # speakers: fewer cannot tell how far others would differ
_DRAWS = 200
_COLUMNS = ("rows per second", "within", "across", "low", "high", "above", "above_low", "above_high")


class Stage(NamedTuple):
    """One representation of utterances."""

    rows: dict[str, np.ndarray]  # utterance -> vectors (T, D), or codes (T,)
    rate: float  # rows per second
    first: float  # seconds to the centre of row 0
    distance: str  # see evaluation.abx


class Compared(NamedTuple):
    cells: dict[str, dict[str, pd.DataFrame]]  # stage -> "across", "within" (where they can be had) -> cells
    table: pd.DataFrame  # a row per stage: see `compare`
    counts: pd.DataFrame  # items of each stage, and what `cut` had to do with them
    missing: dict[str, str]  # "across", "within" -> why there is no such triple

    @property
    def errors(self) -> pd.Series:
        """Percent of each stage: across speakers where that can be had, else within; empty where neither can."""
        main = next((mode for mode in SPEAKERS if mode in self.table), None)
        return pd.Series(dtype=float) if main is None else self.table[main]

    def main_cells(self, stage: str) -> pd.DataFrame | None:
        """The cells that `errors` is the mean of, None where there are none."""
        return next(iter(self.cells[stage].values()), None) if stage in self.cells else None


@torch.inference_mode()
def stages(trained: Trained, part: str = "val") -> dict[str, Stage]:
    """The features that a model reads (of one that reads waves: the first of its pack) by their kind, its z_e, and z_q
    if it quantizes. Raises SpeechlibError for a system without a vector per time step."""
    model, experiment, pack = trained.model, trained.experiment, trained.data.pack
    if not hasattr(model, "code_positions"):
        raise SpeechlibError(f"the {experiment.system} has no row of its own for each time step: ABX needs a codec")
    config = pack.config_of(experiment.frames("inputs"))
    reads_wave = experiment.inputs == WAVE
    features, z_e, z_q = {}, {}, {}
    for batch in batches.whole(pack, trained.data.split[part], config.kind, audio=reads_wave):
        name = pack.utterances[int(batch.utterance)]
        features[name] = batch.inputs[0].T.cpu().numpy()
        x = (batch.audio if reads_wave else batch.inputs).to(device_of(model))
        encoded = model.encode(whole_codes(trained, x))
        told = model.quantize(encoded).z_q
        # without codes that is the encoder's vector itself; of a VAE, whose encoder gives a deviation as well, the mean
        z_e[name] = (encoded if has_codes(experiment) else told)[0].T.cpu().numpy()
        if has_codes(experiment):
            z_q[name] = told[0].T.cpu().numpy()
    found = {config.kind: Stage(features, config.frame_rate, frame_times(1, config)[0], "angular")}
    found["z_e"] = Stage(z_e, *_code_times(trained), "angular")
    return found | ({"z_q": Stage(z_q, *_code_times(trained), "angular")} if z_q else {})


def stage_of(trained: Trained, tokens: pd.DataFrame, distance: str = "identical") -> Stage:
    """The codes of a token table with a row for each code of this system, whoever made them."""
    codes = {name: of["code"].to_numpy() for name, of in tokens.groupby("utterance", observed=True)}
    return Stage(codes, *_code_times(trained), distance)


def _code_times(trained: Trained) -> tuple[float, float]:
    """Codes per second, and seconds to the centre of the first: exactly, where a token table has rounded times."""
    pack, experiment = trained.data.pack, trained.experiment
    config = pack.config_of(experiment.frames("inputs"))
    begin, rate = frame_times(1, config)[0], config.frame_rate
    if experiment.inputs == WAVE:
        begin, rate = 0.0, pack.config.sample_rate
    one, two = trained.model.code_positions(2).tolist()
    return rate / (two - one), begin + one / rate


def compare(
    trained: Trained,
    part: str = "val",
    more: Mapping[str, Stage] | None = None,
    context: str = "within",
    order: str = "zerospeech",
    seed: int = 0,
    executor: Executor | None = None,
    **options,
) -> Compared:
    """ABX of all `stages`, and of `more` on the same utterances, on the phones of one part.

    The table, in percent: rows per second; within and across speakers, where there are such triples; low and high, the
    95 % interval of across (of within, where that is all there is); above, above_low, above_high: the same minus that
    of the features, in the same draws. Speakers are drawn; of less than five, contexts; without those there is none.
    Items that no row belongs to take the nearest one, so that all stages are judged on the same triples. `options` are
    those of evaluation.abx.score. Raises NoTriples where there are none of either kind, NoItems where no three phones
    follow each other.
    """
    items = items_of(trained.data.pack, trained.data.split[part])
    compared = _compare(items, stages(trained, part) | dict(more or {}), context, order, seed, options, executor)
    if not len(compared.errors):
        raise NoTriples(compared.missing["across"])
    return compared


def in_contexts(
    trained: Trained,
    part: str = "val",
    more: Mapping[str, Stage] | None = None,
    at_most: int | None = None,
    contexts: Sequence[str] = CONTEXTS,
    executor: Executor | None = None,
) -> dict[str, Compared]:
    """`compare` in each context: "within", all triples; "any", with `at_most` tokens of a phone by a speaker, as all of
    them are very many.

    What a corpus has no triples for is in `missing`, with the reason, and not in the table: a corpus of one speaker has
    none across speakers, one without phones none at all.
    """
    try:
        items = items_of(trained.data.pack, trained.data.split[part])
    except NoItems as error:
        reasons = dict.fromkeys(SPEAKERS, str(error))
        return {context: Compared({}, pd.DataFrame(), pd.DataFrame(), reasons) for context in contexts}
    compared, limits = stages(trained, part) | dict(more or {}), {"within": None, "any": at_most}
    return {
        context: _compare(items, compared, context, "zerospeech", 0, {"max_size_group": limits[context]}, executor)
        for context in contexts
    }


def _compare(
    items: pd.DataFrame,
    compared: Mapping[str, Stage],
    context: str,
    order: str,
    seed: int,
    options: dict,
    executor: Executor | None = None,
) -> Compared:
    units = {name: cut(items, stage.rows, stage.rate, first=stage.first) for name, stage in compared.items()}
    asked = {
        (mode, name): partial(score, units[name], mode, context, stage.distance, seed=seed, **options)
        for mode in SPEAKERS
        for name, stage in compared.items()
    }
    if executor is not None:
        asked = {key: executor.submit(task).result for key, task in asked.items()}
    cells: dict[str, dict[str, pd.DataFrame]] = {name: {} for name in compared}
    missing = {}
    for mode in SPEAKERS:
        try:
            for name in compared:
                cells[name][mode] = asked[mode, name]()
        except NoTriples as error:
            missing[mode] = str(error)
    counts = pd.DataFrame({name: one.counts for name, one in units.items()}).T
    if len(missing) == len(SPEAKERS):
        return Compared(cells, pd.DataFrame(index=list(compared)), counts, missing)
    many = items["speaker"].nunique() >= _FEW
    unit = "context" if context == "within" and not many else "speaker"
    rows, reference = {}, cells[next(iter(cells))]
    for name, found in cells.items():
        main = next(iter(found))
        rows[name] = {"rows per second": compared[name].rate}
        rows[name] |= {mode: overall(found[mode], order) for mode in reversed(SPEAKERS) if mode in found}
        told = {"": None} if found is reference else {"": None, "above_": reference[main]}
        if found is not reference:
            rows[name] |= {"above": rows[name][main] - next(iter(rows.values()))[main]}
        if unit == "speaker" and not many:
            continue
        try:
            for what, against in told.items():
                drawn = interval(found[main], against, unit, order, _DRAWS, seed)
                rows[name] |= {f"{what}low": drawn.low, f"{what}high": drawn.high}
        except TooFew:  # of those that have triples
            continue
    table = pd.DataFrame(rows).T
    table = table[[name for name in _COLUMNS if name in table]]
    return Compared(cells, table, counts, missing)


def voices(compared: Compared) -> pd.DataFrame:
    """Percent across speakers of each stage for every speaker that a and b are of."""
    across = {name: cells["across"] for name, cells in compared.cells.items() if "across" in cells}
    return pd.DataFrame({name: by_speaker(cells)["compared"] for name, cells in across.items()})
