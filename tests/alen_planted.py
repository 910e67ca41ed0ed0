"""Answers whose truth, scores and margins were drawn by us: what an analysis has to find."""

import numpy as np

from alen import tasks
from experiments import alen_verification_analysis as analysis
from experiments import alen_verification_methods as methods

CHECKS = ("forward", "backward", "stability")


def answers(seed, count, accuracy, apart, shared=0.0) -> methods.Answers:
    """`apart` is by how many standard deviations a right answer's margins lie higher, of one check
    or of each; `shared` is the weight of an error that all checks have in common."""
    draws = np.random.default_rng(seed)
    right = draws.random(count) < accuracy
    common = draws.normal(size=count)
    apart = dict.fromkeys(CHECKS, apart) if np.isscalar(apart) else apart
    apart_of = lambda check: np.where(right, apart[check], 0) - apart[check] / 2
    noise = lambda: np.sqrt(1 - shared**2) * draws.normal(size=count) + shared * common
    forward, backward, stability = (apart_of(check) + noise() for check in CHECKS)
    chance = 1 / (1 + np.exp(-np.where(right, 1.0, 0) - draws.normal(size=count)))
    return methods.Answers(
        right, forward, backward, stability, chance, np.log(chance), np.round(chance, 1), right
    )


def sets(seed, count=1500, accuracy=0.8, apart=4.0, shared=0.0, listed=True):
    """All strata and splits of an organism."""
    found = {}
    for number, split in enumerate(tasks.SPLITS):
        key = 100 * seed + 10 * number
        found[tasks.TRAINED, split] = answers(key, count, accuracy, apart, shared), listed
        if split != "train":
            found[tasks.UNANSWERABLE, split] = answers(key + 1, count, 0.0, apart, shared), listed
    for number, stratum in enumerate(("longer", analysis.PERTURBED)):
        key = 100 * seed + 50 + number
        found[stratum, "test"] = answers(key, count, accuracy / 2, apart, shared), False
    return found
