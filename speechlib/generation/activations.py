"""tanh as a quotient of polynomials, for loops compiled by numba: it becomes vector instructions.

numba has no vector tanh. This is a rational of degrees 13 and 6 (the coefficients of Eigen's), right to a few units in
the last place. Its two halves are apart so that several functions can share one division.
"""

import numpy as np

from ..compiled import compiled

FLAT = np.float32(7.90531110763549805)  # beyond it tanh is 1 in float32


@compiled(inline="always")
def over(x):
    """Numerator of tanh(x), |x| <= FLAT."""
    s = x * x
    p = np.float32(-2.76076847742355e-16)
    p = p * s + np.float32(2.00018790482477e-13)
    p = p * s + np.float32(-8.60467152213735e-11)
    p = p * s + np.float32(5.12229709037114e-08)
    p = p * s + np.float32(1.48572235717979e-05)
    p = p * s + np.float32(6.37261928875436e-04)
    p = p * s + np.float32(4.89352455891786e-03)
    return x * p


@compiled(inline="always")
def under(x):
    """Denominator of tanh(x)."""
    s = x * x
    q = np.float32(1.19825839466702e-06)
    q = q * s + np.float32(1.18534705686654e-04)
    q = q * s + np.float32(2.26843463243900e-03)
    return q * s + np.float32(4.89352518554385e-03)


@compiled(inline="always")
def copy(source, target):
    """An assignment of slices would ask whether they overlap."""
    for i in range(len(source)):
        target[i] = source[i]


@compiled(inline="always")
def tanh(x):
    x = min(max(x, -FLAT), FLAT)
    return over(x) / under(x)


@compiled(inline="always")
def sigmoid(x):
    """(1 + tanh(x / 2)) / 2"""
    x = min(max(np.float32(0.5) * x, -FLAT), FLAT)
    return np.float32(0.5) + np.float32(0.5) * over(x) / under(x)
