"""Two systems' vectors of the same speech as one: what either of them keeps, a distance may use."""

from collections.abc import Hashable, Mapping

import numpy as np

from ..errors import SpeechlibError


def combine(*systems: Mapping[Hashable, np.ndarray], scale: bool = False) -> dict[Hashable, np.ndarray]:
    """{utterance: vectors (L, D_k)} of each system -> {utterance: (L, sum of D_k)}, columns in the order given.

    With `scale` each system's columns are divided by their common deviation, so that none is loud by its units. Raises
    SpeechlibError for other utterances, and for other numbers of vectors: systems are combined at one rate.
    """
    if not systems or any(system.keys() != systems[0].keys() for system in systems):
        raise SpeechlibError(f"{[len(s) for s in systems]} utterances of the systems: wanted the same ones of each")
    found = {}
    gains = [np.concatenate([*system.values()]).std() or 1.0 if scale else 1.0 for system in systems]
    for name in systems[0]:
        parts = [np.asarray(system[name], dtype=np.float32) for system in systems]
        if len({len(part) for part in parts}) > 1:
            raise SpeechlibError(f"{[len(part) for part in parts]} vectors of {name}: systems are combined at one rate")
        found[name] = np.concatenate([part / gain for part, gain in zip(parts, gains)], axis=1)
    return found
