"""Who speaks, as a vector: a row of a learned table, and zeros for nobody."""

from torch import Tensor, nn

from ..errors import SpeechlibError

NOBODY = -1  # as a speaker's number: none of those that a model was trained with


def vectors_of(table: nn.Embedding, speaker: Tensor | None, whose: str = "model") -> Tensor:
    """Speaker (B,), -1 = nobody -> vectors (B, V) of the table (n_speakers, V).

    Nobody's vector is zero: unlike every speaker's, and no speaker stands in for it. Raises SpeechlibError for none at
    all, for what is no list of whole numbers, and for speakers that the table does not know.
    """
    known = table.num_embeddings
    if speaker is None:
        raise SpeechlibError(f"this {whose} was trained with speakers: give their indices (B,), -1 for nobody")
    if speaker.ndim != 1 or speaker.is_floating_point():
        raise SpeechlibError(f"speakers of shape {tuple(speaker.shape)}, {speaker.dtype}: wanted whole numbers (B,)")
    if not ((speaker >= -1) & (speaker < known)).all():
        raise SpeechlibError(f"speakers {speaker.tolist()} for a {whose} of {known}, counted from 0 (-1: nobody)")
    return table(speaker.clamp(min=0)) * (speaker >= 0)[:, None]
