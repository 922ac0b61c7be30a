"""One experiment: every choice from corpus to learning rate, in one frozen value that travels as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import SpeechlibError, UnknownName
from ..models.clarinet import ClariNetConfig
from ..models.flowavenet import FloWaveNetConfig
from ..models.melnet import MelNetConfig
from ..models.prior import PriorConfig
from ..models.recogniser import RecogniserConfig
from ..models.vae import VAEConfig
from ..models.vqvae import VQVAEConfig
from ..models.vqvae_wavenet import VQWaveNetConfig
from ..models.wae import WAEConfig
from ..models.wavenet import WaveNetConfig
from ..models.wavenet_autoencoder import WaveNetAutoencoderConfig
from ..models.wgan import WGANConfig
from ..packs import PackConfig
from ..training import TrainingConfig

WAVE = "wave"  # among the kinds of features: the samples themselves
CODES = "codes"  # and those that the codec of `source` makes of every utterance
ModelConfig = (
    ClariNetConfig
    | FloWaveNetConfig
    | MelNetConfig
    | PriorConfig
    | RecogniserConfig
    | VAEConfig
    | VQVAEConfig
    | VQWaveNetConfig
    | WAEConfig
    | WaveNetAutoencoderConfig
    | WaveNetConfig
    | WGANConfig
)


@dataclass(frozen=True)
class CorpusConfig:
    name: str = "toy"
    root: str = ""  # its folder; "" = data/<name>


@dataclass(frozen=True)
class SplitConfig:
    by: str = "utterance"  # utterance; speaker, text: none in two parts; stratified: every frequent speaker in all
    parts: dict[str, float] = field(default_factory=lambda: {"train": 0.8, "val": 0.2})
    seed: int = 0


@dataclass(frozen=True)
class Experiment:
    system: str
    preset: str
    corpus: CorpusConfig
    pack: PackConfig
    split: SplitConfig
    model: ModelConfig
    training: TrainingConfig
    inputs: str  # what the model reads: a kind of features, or "wave"
    targets: str  # what it is to give: a kind of features, or "wave"
    seed: int = 0  # of weights, batches and noise
    source: Experiment | None = None  # the experiment that this one builds on: whose codes it reads, its teacher

    def __post_init__(self):
        kinds = [config.kind for config in self.pack.features]
        if not kinds:
            raise SpeechlibError("pack.features is empty: crops are cut on the frames of at least one kind")
        for role in ("inputs", "targets"):
            if getattr(self, role) not in (*kinds, WAVE, CODES):
                raise UnknownName(role, getattr(self, role), (*kinds, WAVE, CODES))

    @property
    def has_audio(self) -> bool:
        """Whether its batches hold samples."""
        return WAVE in (self.inputs, self.targets)

    @property
    def codec(self) -> Experiment | None:
        """The experiment whose codes it reads: what it builds on, or what its teacher does; None for other inputs."""
        source = self.source if self.inputs == CODES else None
        while source is not None and source.inputs == CODES:
            source = source.source
        return source

    def frames(self, role: str) -> str:
        """The kind of features in the batch's `inputs` or `targets`: where it is the wave, those it is cut by."""
        kind = getattr(self, role)
        if kind != WAVE:
            return kind
        return CODES if self.inputs == CODES else self.pack.features[0].kind
