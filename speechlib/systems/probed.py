"""What can be read where: a linear probe of phone, speaker and gender at every point of a model on its way to speech.

After Chorowski et al. 2019, arXiv 1901.08810 (section IV.A). A good code of speech lets the phone be read, and not who
speaks. For systems whose model can `represent` features at its points.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from .. import batches
from ..errors import SpeechlibError
from ..evaluation.probes import Probe, linear_probe
from ..evaluation.tokens import phones_at
from ..features import frame_times
from .data import Trained, device_of

if TYPE_CHECKING:
    import pandas

PROBED = ("phone", "speaker", "gender")


class Represented(NamedTuple):
    """A vector per code at each point, and what was said there by whom; "" where it is not known."""

    points: dict[str, np.ndarray]  # (N, D) of each
    labels: dict[str, np.ndarray]  # (N,) of each of PROBED
    utterance: np.ndarray  # (N,) index in the pack
    time: np.ndarray  # (N,) seconds


@torch.inference_mode()
def represent(trained: Trained, indices: Iterable[int], points: Sequence[str] = ()) -> Represented:
    """Utterances as the model sees them at its points, or at some. Raises SpeechlibError for a model without points."""
    model, pack, kind = trained.model, trained.data.pack, trained.experiment.inputs
    if not hasattr(model, "represent"):
        raise SpeechlibError(f"a {trained.experiment.system} tells nothing of its points: wanted a wavenet_autoencoder")
    config, device = pack.config_of(kind), device_of(model)
    rows: dict[str, list] = {}
    labels: dict[str, list] = {name: [] for name in PROBED}
    utterance, time = [], []
    for batch in batches.whole(pack, indices, kind):
        found = model.represent(batch.inputs.to(device), batch.speaker.to(device))
        for name in points or found:
            rows.setdefault(name, []).append(found[name][0].T.cpu().numpy())
        index, speaker, n = int(batch.utterance), int(batch.speaker), found["bottleneck"].shape[2]
        at = frame_times(1, config)[0] + model.code_positions(n).numpy() / config.frame_rate
        labels["phone"].append([symbol or "" for symbol in phones_at(pack.phones(index), at)])
        labels["speaker"].append([pack.speakers[speaker]] * n)
        labels["gender"].append([pack.genders[speaker] or ""] * n)
        utterance.append(np.full(n, index))
        time.append(at)
    return Represented(
        {name: np.concatenate(parts) for name, parts in rows.items()},
        {name: np.concatenate(parts) for name, parts in labels.items()},
        np.concatenate(utterance),
        np.concatenate(time),
    )


def read(of: Represented, limit: int = 4000, seed: int = 0) -> dict[str, dict[str, Probe]]:
    """point -> {phone, speaker, gender: a probe, of `limit` vectors at most}; without what has no two classes here."""
    found: dict[str, dict[str, Probe]] = {point: {} for point in of.points}
    for what, labels in of.labels.items():
        known = labels != ""
        if len(np.unique(labels[known])) < 2:
            continue
        for point, x in of.points.items():
            found[point][what] = linear_probe(x[known], labels[known], of.utterance[known], seed=seed, limit=limit)
    return found


def probe_table(
    models: Mapping[str, Trained], part: str = "val", n_utterances: int = 200, limit: int = 4000, seed: int = 0
) -> tuple["pandas.DataFrame", dict[str, float]]:
    """A row per model and point, (model, point): the share read rightly of phone, speaker and gender. Beside it the
    same shares of who always names the commonest class.

    Of some `n_utterances` of the part, evenly spread; a quarter of them is held out. Models share a corpus.
    """
    import pandas

    table, commonest = {}, {}
    for name, trained in models.items():
        indices = trained.data.split[part]
        spread = np.unique(np.linspace(0, len(indices) - 1, min(n_utterances, len(indices))).astype(int))
        for point, probes in read(represent(trained, [indices[i] for i in spread]), limit, seed).items():
            table[name, point] = {what: probe.accuracy for what, probe in probes.items()}
            commonest = {what: probe.majority for what, probe in probes.items()}
    found = pandas.DataFrame.from_dict(table, orient="index")
    return found.set_axis(pandas.MultiIndex.from_tuples(table, names=["model", "point"])), commonest
