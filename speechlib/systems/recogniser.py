"""A phone recogniser trained by CTC, as a measuring device: which phones are in this wave, whoever or whatever said it?

    trained = systems.load(systems.train(presets.get("recogniser", "demo")))
    recogniser.hear(trained, wave, 16_000)                  ["dh", "ax", "y", ...]
    recogniser.judge(trained, [(wave, 16_000, phones)])     how many of the phones said are not heard

It learns from recordings and the order of their phones; times are not read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .. import audio, objectives
from ..batches import Drawn, Order
from ..errors import SpeechlibError
from ..evaluation import phone_errors
from ..features import extract, n_features
from ..models.recogniser import Recogniser, steps_needed
from ..presets import Experiment
from .data import Data, Trained, device_of

objective = objectives.recogniser


class SpelledBatch(NamedTuple):
    """inputs (B, C, T), zeros behind length (B,) frames; phones (B, N) from 1 on, zeros behind n_phones (B,); utterance
    (B,) index in the pack."""

    inputs: Tensor
    length: Tensor
    phones: Tensor
    n_phones: Tensor
    utterance: Tensor


@dataclass(eq=False)
class Spelled(Drawn):
    """Whole utterances with their phones, in batches that are a function of (seed, n), as long as their longest.

    Utterances without phones, or of more than n_frames, are left out. Raises SpeechlibError where none is left, and for
    one that has fewer places than its phones take: no way of laying them out exists, and its loss is infinite.
    """

    kind: str = "log_mel"
    symbols: Sequence[str] = ()
    stride: int = 1

    def __post_init__(self):
        super().__post_init__()
        said = {i: phone_errors.said(self.pack.phones(i)) for i in self.indices.tolist()}
        long = {i for i, phones in said.items() if phones and self.pack.n_frames[i] > self.n_frames}
        self.said = {i: phones for i, phones in said.items() if phones and i not in long}
        if not self.said:
            told = f"{len(long)} have more than training.n_frames = {self.n_frames} frames, the others no phones"
            mend = "corpora with phones are toy, timit and what corpora.alignment has aligned"
            raise SpeechlibError(
                f"none of {len(said)} utterances of pack {self.pack.name} can be spelled: {told}. {mend}"
            )
        for i, phones in self.said.items():
            places, needed = -(-int(self.pack.n_frames[i]) // self.stride), steps_needed(phones)
            if places < needed:
                raise SpeechlibError(
                    f"{self.pack.utterances[i]} has {len(phones)} phones, which take {needed} places, in {places} "
                    f"(every frame of {self.stride}): are its labels of another recording? Else lower model.stride"
                )
        self.indices = np.array(list(self.said), np.int64)
        self.order = Order(len(self.indices), self.batch_size, self.seed)
        self._number = {symbol: k for k, symbol in enumerate(self.symbols, 1)}

    def batch(self, n: int) -> SpelledBatch:
        """The n-th batch, n = 0, 1, 2, ... without end. Phones that `symbols` has not are left out."""
        chosen = self.indices[self.order.batch(n)]
        numbers = [[self._number[s] for s in self.said[int(i)] if s in self._number] for i in chosen]
        frames = [self.pack.features(int(i), self.kind).T for i in chosen]  # (T, C) each
        length, n_phones = (torch.tensor([len(row) for row in rows]) for rows in (frames, numbers))
        inputs = pad_sequence(frames, batch_first=True).transpose(1, 2).contiguous()
        phones = pad_sequence([torch.tensor(row, dtype=torch.int64) for row in numbers], batch_first=True)
        plain = (length, phones, n_phones, torch.from_numpy(chosen))
        return SpelledBatch(inputs, *(tensor.to(inputs.device) for tensor in plain))


def new(experiment: Experiment, n_speakers: int) -> Recogniser:
    """Without phones: those of the training part are told by `fit`."""
    config = next((c for c in experiment.pack.features if c.kind == experiment.inputs), None)
    if config is None or config.kind not in ("log_mel", "log_fbank") or config.n_deltas:
        raise SpeechlibError(f"a recogniser reads log_mel or log_fbank without differences, not {experiment.inputs!r}")
    return Recogniser(experiment.model, n_features(config))


def fit(model: Recogniser, experiment: Experiment, data: Data) -> None:
    """Which phones there are. Raises SpeechlibError where there are none."""
    found = {phone for i in data.split["train"] for phone in phone_errors.said(data.pack.phones(i))}
    if not found:
        raise SpeechlibError(
            f"pack {data.pack.name} has no phones: a recogniser learns from recordings whose phones are known. The "
            "corpora toy and timit have some, corpora.alignment adds them to others"
        )
    model.learn(sorted(found))


def batches_of(experiment: Experiment, data: Data, part: str = "train") -> Spelled:
    config, phones = experiment.training, (phone_errors.said(data.pack.phones(i)) for i in data.split["train"])
    symbols = sorted({phone for said in phones for phone in said})
    return Spelled(
        data.pack,
        data.split[part],
        config.batch_size,
        config.n_frames,
        experiment.seed,
        experiment.inputs,
        symbols,
        experiment.model.stride,
    )


def hear(trained: Trained, wave, sample_rate: int) -> list[str]:
    """The phones of a wave (S,) at any rate from that of the recogniser's pack on; its level does not matter.

    Raises SpeechlibError for a lower rate, as what lies above it is not there, and for what is no wave.
    """
    pack, model = trained.data.pack, trained.model
    wave, rate = np.asarray(wave, np.float32), pack.config.sample_rate
    if sample_rate < rate:
        raise SpeechlibError(
            f"a wave of {sample_rate} Hz for a recogniser of {rate} Hz: it would hear a voice without its upper bands. "
            "Train one at that rate: pack.sample_rate and its features"
        )
    if wave.ndim != 1 or not np.isfinite(wave).all():
        raise SpeechlibError(
            f"a wave {wave.shape}, finite: {np.isfinite(wave).all()}. Wanted one channel (S,) of numbers"
        )
    x = extract(torch.from_numpy(audio.resample(wave, sample_rate, rate)), pack.config_of(trained.experiment.inputs))
    [heard] = model.read(x[None].to(device_of(model)), torch.tensor([x.shape[1]], device=device_of(model)))
    return heard


class Utterance(NamedTuple):
    """A wave and what should be heard in it."""

    wave: Tensor | np.ndarray
    sample_rate: int
    phones: Sequence  # intervals (symbol, start, end), of which the order counts
    name: str = "utterance"


def judge(trained: Trained, spoken: Iterable[Utterance]) -> list[phone_errors.Heard]:
    """How many errors there are in each. Raises SpeechlibError for an utterance without phones."""
    return [
        phone_errors.compare(hear(trained, s.wave, s.sample_rate), phone_errors.said(s.phones), s.name) for s in spoken
    ]


def recordings(trained: Trained, indices: Iterable[int]) -> list[Utterance]:
    """Utterances of the recogniser's own pack in which something is said, as recorded: the mark for what is made."""
    pack, rate = trained.data.pack, trained.data.pack.config.sample_rate
    phones = {i: pack.phones(i) for i in indices}
    return [Utterance(pack.wave(i), rate, p, pack.utterances[i]) for i, p in phones.items() if phone_errors.said(p)]


def scores(trained: Trained) -> dict[str, float]:
    """Phone error rate on the recordings of the validation part, with its interval, and on as many of the training
    part; how many phones it knows."""
    split, experiment = trained.data.split, trained.experiment
    own = phone_errors.rate(judge(trained, recordings(trained, split["val"])))
    learned = phone_errors.rate(judge(trained, recordings(trained, split["train"][: len(split["val"])])))
    heard = trained.data.pack.n_frames[batches_of(experiment, trained.data).indices].mean()
    seconds = heard / trained.data.pack.config_of(experiment.inputs).frame_rate
    return {
        "phone_error_rate": own.rate,
        "phone_error_low": own.low,
        "phone_error_high": own.high,
        "train_phone_error_rate": learned.rate,
        "phones": len(trained.model.phones),
        "audio_seconds": float(experiment.training.steps * experiment.training.batch_size * seconds),
    }
