"""WaveNet as a vocoder: features, or the codes of a codec, in, samples out."""

import math

import torch
from torch import Tensor

from .. import objectives, packs
from ..errors import SpeechlibError
from ..features import FeatureConfig, filter_bank, n_features
from ..generation.steering import steer
from ..generation.wavenet import generate, stream
from ..models.wavenet import WaveNet
from ..presets import CODES, WAVE, Experiment
from ..runs import Run
from . import judging
from .data import Data, Trained

objective = objectives.wavenet


def new(experiment: Experiment, n_speakers: int) -> WaveNet:
    known = n_speakers if experiment.model.speaker_dim else 0
    return WaveNet(experiment.model, n_speakers=known, **condition_of(experiment, experiment.model.scales))


def condition_of(experiment: Experiment, scales: tuple[int, ...], name: str = "model.scales") -> dict[str, int]:
    """The sizes of what a vocoder speaks by, features or codes: {n_condition, n_codes}.

    Raises SpeechlibError where its scales do not make a hop of them, and for codes of nobody.
    """
    codec, kind = experiment.codec, experiment.inputs
    if kind == CODES:
        if codec is None:
            raise SpeechlibError(
                f"a {experiment.system} on codes needs `source`, the experiment whose codes it reads: give it one with "
                "a codebook"
            )
        read = 1 if codec.inputs == WAVE else next(c for c in codec.pack.features if c.kind == codec.inputs).hop_length
        hop, sizes = codec.model.stride * read, {"n_condition": codec.model.code_dim}
        sizes["n_codes"] = codec.model.codebook_size
    else:
        config = next(c for c in experiment.pack.features if c.kind == kind)
        hop, sizes = config.hop_length, {"n_condition": n_features(config), "n_codes": 0}
    if math.prod(scales) != hop:
        raise SpeechlibError(
            f"{name} {scales} make {math.prod(scales)} samples of a frame, {kind} has a hop of {hop}: their product "
            "must be the hop"
        )
    return sizes


def fit(model: WaveNet, experiment: Experiment, data: Data) -> None:
    """The statistics of the condition over the training part, and how its bands were measured; of codes, the book."""
    if experiment.inputs == CODES:
        model.inputs.fit(data.pack.codebook, torch.cat([data.pack.codes_of(i) for i in data.split["train"]]))
        return
    model.inputs.fit(*packs.statistics(data.pack, data.split["train"], experiment.inputs))
    fit_envelope(model, data.pack.config_of(experiment.inputs))


def fit_envelope(model: WaveNet, bands: FeatureConfig | None) -> None:
    """Tell a model that learns the excitation what its bands are. Raises SpeechlibError for what has no envelope."""
    if not model.config.envelope:
        return
    if bands is None:
        raise SpeechlibError("codes have no envelope: draw bands from them (model.draw_channels), or envelope=0")
    if bands.kind not in ("log_mel", "log_fbank") or bands.n_deltas:
        raise SpeechlibError(f"an envelope is read off log_mel or log_fbank, not {bands.kind}: model.envelope=0")
    if bands.n_fft != model.config.envelope_fft:
        raise SpeechlibError(f"model.envelope_fft is {model.config.envelope_fft}, {bands.kind} has n_fft {bands.n_fft}")
    model.excitation.fit(torch.from_numpy(filter_bank(bands)), torch.hann_window(bands.win_length))


def vocode(trained: Trained, features: int | Tensor, speaker: int | None = None, **options) -> Tensor:
    """An utterance of the pack (its index), or features (C, T), codes (1, L), said by the model: wave (T hop,).

    `speaker` (index into pack.speakers, -1 = nobody) is read by models that know speakers; an utterance's own where it
    is None. `options` are those of generation.wavenet.generate: seed, temperature, top_p, progress, stop, ...
    """
    return generate(trained.model, *asked(trained, features, speaker), **options)[0]


def steered(trained: Trained, features: int | Tensor, speaker: int | None = None, **options) -> Tensor:
    """`vocode` by many particles, of which those go on that come near the bands.

    `options` are those of generation.steering.steer: n_particles, tolerance, seed, ... With precision "int8" it takes
    half the time, and another number of torch's threads may lead to another draw.
    """
    if trained.experiment.inputs == CODES:
        raise SpeechlibError("steering keeps speech near the bands asked for, and codes ask for none")
    condition, voice = asked(trained, features, speaker)
    bands = trained.data.pack.config_of(trained.experiment.frames("inputs"))
    return steer(trained.model, condition, condition[0], bands, voice, **options)


def speaking(trained: Trained, features: int | Tensor, speaker: int | None = None, **options) -> stream:
    """The same as blocks (1, <= block) that come one by one; `options` are those of generation.wavenet.stream."""
    return stream(trained.model, *asked(trained, features, speaker), **options)


def asked(trained: Trained, features: int | Tensor, speaker: int | None) -> tuple[Tensor, Tensor | None]:
    """Condition (1, C, T) and speaker (1,), None for a model that knows none."""
    if isinstance(features, int):
        check_codec(trained)
        speaker = int(trained.data.pack.speaker[features]) if speaker is None else speaker
        features = trained.data.pack.features(features, trained.experiment.inputs)
    voice = torch.tensor([-1 if speaker is None else speaker]) if trained.model.sizes["n_speakers"] else None
    return features[None], voice


def check_codec(trained: Trained) -> None:
    """Raises SpeechlibError for a model of codes whose codec was trained anew: its codes stand for something else."""
    if trained.experiment.inputs != CODES:
        return
    model = getattr(trained.model, "teacher", trained.model)
    if not torch.equal(model.inputs.codebook.cpu(), trained.data.pack.codebook):
        mend = f": delete {trained.run.path} and train it again" if trained.run else ""
        raise SpeechlibError(f"this {trained.experiment.system} has learned the codes of another codebook{mend}")


def listen(experiment: Experiment, prepared: Data, run: Run, model: WaveNet, step: int) -> None:
    judging.listen(Trained(model, experiment, prepared, run), vocode, step)


def scores(trained: Trained) -> dict[str, float]:
    """A few seconds of the validation part said by the model, judged beside noise of the same bands (see judging)."""
    return judging.score(trained, vocode)
