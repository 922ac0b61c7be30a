"""Figures: arrays in, matplotlib figures out. Nothing here knows of models, packs or runs."""
