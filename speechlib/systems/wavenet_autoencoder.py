"""WaveNet autoencoders: IN-WAE, SVQ-WAE and their relatives, from features to speech in any voice.

systems.convert(trained, [(index, speaker)])                        in the voice known by a speaker's number
systems.convert(trained, [(index, speaker)], references=[other])    and as it is in utterance `other`
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .. import audio, batches, objectives
from ..errors import SpeechlibError
from ..evaluation import summarise
from ..features import n_features
from ..generation.wavenet import generate
from ..models.excitation import held
from ..models.wavenet_autoencoder import WaveNetAutoencoder
from ..presets import Experiment
from ..runs import Run
from . import codes, data, vqvae_wavenet
from .data import Data, Trained, Voicing, device_of
from .probed import read, represent
from .vqvae_wavenet import decoding_error, fit, reconstruct, speaker_table

__all__ = [
    "VOICING", "batches_of", "decoding_error", "fit", "listen", "new", "objective", "reconstruct", "scores", "snapshot",
    "speak", "speaker_table",
]  # fmt: skip

objective, snapshot = objectives.vqvae_wavenet, codes.snapshot
_HEARD = 2.0  # seconds of what is heard while it learns
_PROBED = 200  # utterances at most, a quarter of them held out, that a run is probed on: few would be of few speakers
VOICING = Voicing("bits per sample", nobody=True, draws=True)


def new(experiment: Experiment, n_speakers: int, kind: type[WaveNetAutoencoder] = WaveNetAutoencoder):
    """Raises SpeechlibError where features, codes and crops do not fit into each other."""
    read_by_encoder, drawn = vqvae_wavenet.whole_crops(experiment), vqvae_wavenet.bands_of(experiment)
    n_bands = n_features(drawn) if experiment.model.draw_channels else 0
    return kind(experiment.model, n_features(read_by_encoder), n_speakers, n_bands)


def batches_of(experiment: Experiment, prepared: Data, part: str = "train") -> batches.Crops:
    """Crops of the utterances that are as long as a crop: silence put behind a shorter one would enter the statistics
    of every instance norm. Utterances are left out whole, with their speakers."""
    n_frames, lengths = experiment.training.n_frames, prepared.pack.n_frames
    long = [i for i in prepared.split[part] if lengths[i] >= n_frames]
    if not long:
        longest = max(lengths[i] for i in prepared.split[part])
        raise SpeechlibError(
            f"training.n_frames is {n_frames}, the longest utterance of part {part!r} has {longest}: crop shorter"
        )
    return data.crops(experiment, prepared._replace(split=prepared.split | {part: long}), part)


def speak(
    trained: Trained, codes: Tensor, speaker: Tensor, references: Sequence[int | Tensor] = (), **generation
) -> Tensor:
    """Codes (B, L), sliced (B, G, L), or vectors of a model without codes (B, D, L), in the voices of speaker (B,),
    -1 = nobody -> waves (B, S) on the CPU.

    `references`: one for each, an utterance of the pack (its index) or features (C, T) of anyone, whose voice is read
    for AdaIN in the place of what is known of the speaker. Raises SpeechlibError for another number of them.
    `generation` are the options of generation.wavenet.generate.
    """
    model, voice = trained.model, None
    if len(references):
        if len(references) != len(codes):
            raise SpeechlibError(f"{len(references)} references for {len(codes)} utterances: wanted one for each")
        pack, kind, device = trained.data.pack, trained.experiment.inputs, device_of(model)
        heard = [r if isinstance(r, Tensor) else pack.features(r, kind) for r in references]
        voice = torch.cat([model.voice_of(features[None].to(device)) for features in heard])
    return generate(model.decoder, *model.condition(codes, speaker, voice), **generation)


@torch.inference_mode()
def listen(experiment: Experiment, prepared: Data, run: Run, model: WaveNetAutoencoder, step: int) -> None:
    """Write the beginning of an utterance of the validation part, as the model says it, to the run's samples/:
    step-00000100_forced.wav has the likeliest sample behind the true past, step-00000100_free.wav what comes behind its
    own, recording.wav is the truth.
    """
    pack, kind, index, device = prepared.pack, experiment.inputs, prepared.split["val"][0], device_of(model)
    (batch,) = batches.whole(pack, [index], kind, audio=True)
    n_codes = min(round(_HEARD * pack.config_of(kind).frame_rate), batch.inputs.shape[2]) // model.config.stride
    wave = batch.audio[:, : n_codes * model.hop].to(device)
    found = model.codes(batch.inputs[..., : n_codes * model.config.stride].to(device))
    condition, told = model.condition(found, batch.speaker.to(device))
    inner = model.decoder.inner(wave, condition)
    rows = model.decoder.predict(inner, condition, told).transpose(1, 2).flatten(0, 1)  # (S, P)
    middle = torch.full((len(rows), 2), 0.5, device=device)
    missed = model.decoder.distribution.sample(rows, middle, temperature=0)[None] - inner
    filters = model.decoder.filters(condition, wave.shape[1])
    if filters is not None:  # of the excitation: the wave, whose past is true, is off by as much times the gain
        missed = missed * held(filters.gain, filters.length, wave.shape[1])
    free = generate(model.decoder, condition, told)
    waves = {"recording": wave, f"step-{step:08}_forced": wave + missed, f"step-{step:08}_free": free}
    for name, said in waves.items():
        audio.write(run.folder("samples") / f"{name}.wav", said[0].cpu(), pack.config.sample_rate)


def scores(trained: Trained) -> dict[str, float]:
    """Codes against phones, where there are codes; what a linear probe reads at the bottleneck, beside the commonest.

    Tuples of sliced codes count as one code each: `codes_used` are those that occur.
    """
    found, val = {}, trained.data.split["val"]
    if codes.has_codes(trained.experiment):
        table = codes.tokens(trained)
        known, table["code"] = np.unique(table["code"], return_inverse=True)  # a table of all tuples has no end
        found = summarise(table, len(known))
    probes = read(represent(trained, val[:: max(1, len(val) // _PROBED)], ("bottleneck",)), limit=2000)
    for what, probe in probes["bottleneck"].items():
        found |= {f"{what}_read": probe.accuracy, f"{what}_commonest": probe.majority}
    return found
