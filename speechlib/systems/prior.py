"""A prior over the codes of another system: what is likely to be said next."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from .. import objectives
from ..batches import whole
from ..errors import SpeechlibError
from ..evaluation import token_table
from ..evaluation.ngrams import NGram
from ..models.prior import Prior
from ..presets import CODES, Experiment
from .data import Data, Trained, device_of

if TYPE_CHECKING:
    import pandas

objective = objectives.prior
ORDERS = {"unigram": 1, "bigram": 2, "trigram": 3}  # what a prior is measured beside


def new(experiment: Experiment, n_speakers: int) -> Prior:
    if experiment.codec is None:
        raise SpeechlibError("a prior needs `source`, the experiment whose codes it learns, and `inputs` codes")
    known = n_speakers if experiment.model.speaker_dim else 0
    return Prior(experiment.model, experiment.codec.model.codebook_size, known)


def fit(model: Prior, experiment: Experiment, data: Data) -> None:
    """Whose codes they are."""
    model.codec = data.pack.codec


@torch.inference_mode()
def code_bits(trained: Trained, part: str = "val") -> "pandas.DataFrame":
    """What every code of a part costs, in bits, given those before it: the token table with a column for each measure.

    `unigram`, `bigram`, `trigram` are counted in the training part (evaluation.ngrams); `prior` is told the speaker
    where it knows speakers. Raises SpeechlibError for codes of another codec than the prior has learned.
    """
    check_codec(trained, trained.data.pack.codec)
    model, pack = trained.model, trained.data.pack
    codes = {i: pack.codes_of(i).numpy() for i in trained.data.split[part]}
    table = token_table(pack, codes, {i: pack.config_of(CODES).times(len(found)) for i, found in codes.items()})
    train = [pack.codes_of(i).numpy() for i in trained.data.split["train"]]
    for name, order in ORDERS.items():
        counted = NGram(train, order, model.codebook_size)
        table[name] = np.concatenate([counted.bits(found) for found in codes.values()])
    spent = []
    for batch in whole(pack, codes, CODES):
        told = batch.speaker.to(device_of(model)) if model.n_speakers else None
        spent.append(model.nll(batch.inputs[:, 0].to(device_of(model)), told)[0].cpu().numpy() / math.log(2))
    return table.assign(prior=np.concatenate(spent))


def check_codec(trained: Trained, codec: str) -> None:
    """Raises SpeechlibError where a prior stands beside another codec (its fingerprint) than the one it learned."""
    if trained.model.codec != codec:
        mend = f": delete {trained.run.path} and train it again" if trained.run else ""
        beside = f"beside it stands {codec} (was its source trained anew?)"
        raise SpeechlibError(f"this prior learned the codes of codec {trained.model.codec}, {beside}{mend}")


def scores(trained: Trained) -> dict[str, float]:
    """Bits per code over whole utterances of the validation part, of n-grams beside; and per second of speech."""
    cost = code_bits(trained)[[*ORDERS, "prior"]].mean()
    rate = trained.data.pack.config_of(CODES).frame_rate
    beside = {f"{name}_bits": float(cost[name]) for name in ORDERS}
    return {"bits_per_code": float(cost["prior"]), "bits_per_second": float(cost["prior"]) * rate} | beside
