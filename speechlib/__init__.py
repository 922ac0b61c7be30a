"""A workbook for generative models of speech.

The rooms, in the order data travels: corpora -> features -> packs -> batches -> models -> objectives
-> runs -> training -> generation, evaluation -> challenge -> figures -> widgets; presets and systems assemble them,
workbook executes the notebooks. Nothing heavy is imported here.
"""

__version__ = "0.1.0"
