"""A trained codec as the two functions that a ZeroSpeech submission is made of: `encode` and `speak`; see challenge."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from ..errors import SpeechlibError, UnknownName
from ..models.speakers import NOBODY
from .codes import has_codes, whole_codes
from .data import Trained, device_of
from .voices import speak, takes_references

POINTS = ("z_q", "z_e", "codes")


def encoder(trained: Trained, point: str = "z_q") -> Callable[[Tensor], np.ndarray]:
    """Features (C, T), or a wave (S,) where the model reads that, -> rows (N, D), one per code.

    point: "z_q", what the decoder is told (the vectors of the codes; of a model without codes the vector itself, of a
    VAE its mean); "z_e", what the encoder gave; "codes", whole numbers (N, G) of G codebooks.
    Raises SpeechlibError for codes of a model that has none.
    """
    if point not in POINTS:
        raise UnknownName("point of a model", point, POINTS)
    if point == "codes" and not has_codes(trained.experiment):
        raise SpeechlibError(f"this {trained.experiment.system} has no codes: its rows are z_q or z_e")

    @torch.inference_mode()
    def encode(x: Tensor) -> np.ndarray:
        x = x[None].to(device_of(trained.model))
        if point == "codes":
            found = trained.model.codes(x)[0]
            return found.reshape(-1, found.shape[-1]).T.cpu().numpy()
        z = trained.model.encode(whole_codes(trained, x))
        return (z if point == "z_e" else trained.model.quantize(z).z_q)[0].T.float().cpu().numpy()

    return encode


def voice(trained: Trained, references: Mapping[str, Tensor] = {}, **generation) -> Callable[[Tensor, str], np.ndarray]:
    """(features (C, T) or wave (S,), name of a speaker it was trained with) -> wave (S,) of its codes in that voice.

    references: for a system that reads voices, {name: features (C, T) of an utterance}, as `submission.references`
    gives them; a name that is among them need not be known from training. `generation` is for decoders that draw their
    samples. Raises SpeechlibError for references to a system that reads none, UnknownName, when called, for a name that
    is neither known nor among the references.
    """
    speakers = trained.data.pack.speakers
    if references and not takes_references(trained):
        raise SpeechlibError(f"this {trained.experiment.system} reads no voice off a reference: leave references out")

    @torch.inference_mode()
    def said(x: Tensor, speaker: str) -> np.ndarray:
        if speaker not in speakers and speaker not in references:
            raise UnknownName("speaker", speaker, {*speakers, *references})
        codes = trained.model.codes(x[None].to(device_of(trained.model)))[0].cpu().numpy()
        number = speakers.index(speaker) if speaker in speakers else NOBODY
        read = {"references": [references[speaker]]} if speaker in references else {}
        (wave,) = speak(trained, [codes], [number], **read, **generation)
        return wave.numpy()

    return said
