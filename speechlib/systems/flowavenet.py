"""FloWaveNet as a vocoder: features in, all samples at once out."""

import torch
from torch import Tensor

from .. import objectives
from ..errors import SpeechlibError
from ..generation.flowavenet import generate
from ..models.flowavenet import FloWaveNet
from ..presets import Experiment
from ..runs import Run
from . import judging, wavenet
from .data import Data, Trained, crops

objective = objectives.flowavenet


def new(experiment: Experiment, n_speakers: int) -> FloWaveNet:
    model, training = experiment.model, experiment.training
    condition = wavenet.condition_of(experiment, model.scales)
    if training.n_frames * model.hop % model.squeeze:
        raise SpeechlibError(
            f"crops of training.n_frames {training.n_frames} x {model.hop} samples do not divide by {model.squeeze}, "
            f"which {model.n_blocks} blocks squeeze into one position"
        )
    return FloWaveNet(model, n_speakers=n_speakers if model.speaker_dim else 0, **condition)


def fit(model: FloWaveNet, experiment: Experiment, data: Data) -> None:
    """The statistics of the condition over the training part, how its bands were measured, and ActNorm of a batch."""
    wavenet.fit(model, experiment, data)
    batch = crops(experiment, data).batch(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.seed)
        wave = objectives.dithered(batch.audio.cpu(), model.config.dither)
    model.initialise(wave, batch.inputs.cpu(), batch.speaker.cpu() if model.sizes["n_speakers"] else None)


def vocode(
    trained: Trained,
    features: int | Tensor,
    speaker: int | None = None,
    temperature: float = 0.8,
    seed: int = 0,
    **options,
) -> Tensor:
    """An utterance of the pack (its index), or features (C, T), said by the model: wave (T hop,) on the CPU.

    `speaker` (index into pack.speakers, -1 = nobody) is read by models that know speakers; an utterance's own where it
    is None. `options` are those of generation.flowavenet.generate: chunk, precision.
    """
    if options.pop("top_p", 1.0) != 1:
        raise SpeechlibError("a flow bends noise and chooses nothing: no top_p, but a lower temperature")
    asked = wavenet.asked(trained, features, speaker)
    return generate(trained.model, *asked, temperature=temperature, seed=seed, **options)[0]


def listen(experiment: Experiment, prepared: Data, run: Run, model: FloWaveNet, step: int) -> None:
    judging.listen(Trained(model, experiment, prepared, run), vocode, step)


def scores(trained: Trained) -> dict[str, float]:
    """A few seconds of the validation part said by the model, judged beside noise of the same bands (see judging)."""
    return judging.score(trained, vocode)
