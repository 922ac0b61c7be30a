"""What a notebook shows beside figures: players (always audible, trusted or not) and explorers (ipywidgets)."""

from .players import key_numbers, player, players

__all__ = ["key_numbers", "player", "players"]
