"""Tolerances as sentences."""

import numpy as np


def within_sampling_error(x, expected, error, sigmas=5) -> bool:
    """Does every `x` lie within so many standard errors `error` of `expected`? NaN does not."""
    return bool(np.all(np.abs(np.asarray(x) - expected) <= sigmas * np.asarray(error)))
