"""What a notebook shows beside figures: players (always audible, trusted or not) and explorers (ipywidgets)."""

from .attributes import attribute_explorer
from .codebook import code_players, codebook_explorer
from .explorers import alignment_explorer, corpus_browser, reconstruction_explorer
from .latents import interpolation_explorer
from .listening_test import listening_test
from .melnet import melnet_explorer, melnet_painting
from .painting import Painting
from .players import key_numbers, player, player_grid, players
from .priors import prior_explorer
from .streaming import Streaming, wavenet_stream
from .vocoders import vocoder_explorer
from .voices import voice_explorer

__all__ = [
    "Painting",
    "Streaming",
    "alignment_explorer",
    "attribute_explorer",
    "code_players",
    "codebook_explorer",
    "corpus_browser",
    "interpolation_explorer",
    "key_numbers",
    "listening_test",
    "melnet_explorer",
    "melnet_painting",
    "player",
    "player_grid",
    "players",
    "prior_explorer",
    "reconstruction_explorer",
    "vocoder_explorer",
    "voice_explorer",
    "wavenet_stream",
]
