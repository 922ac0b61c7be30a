"""Models: pure modules, one file each. `MODELS` names them for checkpoints and imports a file when it is asked for."""

from collections.abc import Iterator, Mapping
from importlib import import_module

from ..errors import UnknownName

_PLACES = {
    "clarinet": ("clarinet", "ClariNet"),
    "flowavenet": ("flowavenet", "FloWaveNet"),
    "melnet": ("melnet", "MelNet"),
    "prior": ("prior", "Prior"),
    "recogniser": ("recogniser", "Recogniser"),
    "vae": ("vae", "VAE"),
    "wae": ("wae", "WAE"),
    "wae_gan": ("wae", "WAEGAN"),
    "wgan": ("wgan", "WGAN"),
    "vqvae": ("vqvae", "VQVAE"),
    "vqvae_wavenet": ("vqvae_wavenet", "VQWaveNet"),
    "wavenet": ("wavenet", "WaveNet"),
    "wavenet_autoencoder": ("wavenet_autoencoder", "WaveNetAutoencoder"),
    "adversarial_autoencoder": ("wavenet_autoencoder", "AdversarialWaveNetAutoencoder"),
}


class _Models(Mapping):
    """Name of a system -> model class. Raises UnknownName for a name that is not there."""

    def __getitem__(self, name: str) -> type:
        if name not in _PLACES:
            raise UnknownName("model", name, _PLACES)
        module, cls = _PLACES[name]
        return getattr(import_module(f".{module}", __name__), cls)

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)


MODELS = _Models()
