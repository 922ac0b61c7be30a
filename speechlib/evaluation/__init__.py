"""What codes, waves and models are worth, measured: numbers and tables out. Nothing here draws or prints."""

from .alignments import bigram_diagonal
from .clustering import agreement
from .tokens import token_table
from .usage import codes_used, perplexity

__all__ = ["summarise", "token_table"]


def summarise(tokens, codebook_size: int) -> dict[str, float]:
    """The few numbers that compare runs: agreement with phones, steadiness and use of the codebook.

    nmi, ami, v_measure, ari, purity (`clustering.agreement`), bigram_diagonal (mean probability that a code stays),
    codes_used, perplexity. Without phone labels the agreement is left out.
    """
    scores = agreement(tokens) if tokens["phone"].notna().any() else {}
    kept = {name: scores[name] for name in ("nmi", "ami", "v_measure", "ari", "purity") if name in scores}
    return kept | {
        "bigram_diagonal": bigram_diagonal(tokens),
        "codes_used": codes_used(tokens["code"], codebook_size),
        "perplexity": perplexity(tokens["code"], codebook_size),
    }
