"""The WaveNet autoencoder against a critic that guesses the speaker: codes should leave it nothing to go by."""

from functools import partial

from .. import objectives
from ..alternation import Player
from ..models.wavenet_autoencoder import AdversarialWaveNetAutoencoder
from ..presets import Experiment
from . import wavenet_autoencoder
from .wavenet_autoencoder import (
    VOICING,
    batches_of,
    decoding_error,
    fit,
    listen,
    reconstruct,
    scores,
    snapshot,
    speak,
    speaker_table,
)

__all__ = [
    "VOICING", "batches_of", "decoding_error", "fit", "listen", "new", "objective", "players", "reconstruct", "scores",
    "snapshot", "speak", "speaker_table",
]  # fmt: skip

objective = objectives.adversarial_coder
new = partial(wavenet_autoencoder.new, kind=AdversarialWaveNetAutoencoder)


def players(experiment: Experiment) -> list[Player]:
    coder = ("encoder", "quantizer", "reference", "adain", "mix", "drawing", "voices", "decoder")
    return [
        Player("critic", objectives.adversarial_critic, ("critic",)),
        Player("coder", objectives.adversarial_coder, coder),
    ]
