"""Exact tests of paired differences that assume no distribution but symmetry: sign flips.

Shapes: `A` arms, `T` trials (always last). As in `statistics`, a difference that is not finite
makes its arm's tests NaN, and those leave Holm's family.
"""

from typing import NamedTuple

import numpy as np
import scipy.stats

from experiments.lab import statistics

EXACT = 16  # trials up to which all 2^T patterns of signs are gone through
RESAMPLES = 99_999  # patterns drawn where there are more
ALPHA = 0.05


class Against(NamedTuple):
    """An arm against its control, lower being better: the mean difference over trials with its
    interval, and p values, each corrected by Holm over all arms.

    `p` is that of the two-sided test of a difference, `p_margin` that of the one-sided test of
    non-inferiority: a small one speaks for a difference below the margin. `verdict` is 'lower' or
    'higher' where p < alpha, else 'not worse' where p_margin < alpha, else 'undecided'; a
    difference that is shown to be higher, but by less than the margin, is 'higher, not worse'.
    """

    difference: statistics.Estimate
    p: float
    p_margin: float
    verdict: str


def sign_flip(differences: np.ndarray, *, alternative: str = "two-sided", seed=0) -> np.ndarray:
    """p values `[A]` of the means of `differences` `[A, T]`: how many of all patterns of signs
    give a mean as extreme. Exact up to 16 trials; with more, from patterns drawn by `seed`.

    The smallest possible two-sided value is 2 / 2^T. A single trial tells nothing: NaN.
    """
    samples = statistics.known(differences, "[A, T]", 2, exactly=True)
    if alternative not in ("greater", "less", "two-sided"):
        raise ValueError(f"alternative must be greater, less or two-sided, got {alternative!r}")
    trials, p = samples.shape[-1], np.full(len(samples), np.nan)
    if trials < 2:
        return p
    sure = np.isfinite(samples).all(-1)
    for arm in np.flatnonzero(sure):
        p[arm] = scipy.stats.permutation_test(
            (samples[arm],),
            np.mean,
            permutation_type="samples",
            vectorized=True,
            n_resamples=np.inf if trials <= EXACT else RESAMPLES,
            alternative=alternative,
            rng=np.random.default_rng(seed),
        ).pvalue
    return np.minimum(p, 1.0)


def smallest(trials: int, arms: int) -> float:
    """The smallest p that a two-sided test can give after Holm's correction over so many arms."""
    return min(1.0, arms * 2.0 / 2.0 ** min(trials, EXACT)) if trials > 1 else 1.0


def against(
    samples: np.ndarray, control: np.ndarray, *, margin: float, alpha: float = ALPHA
) -> list[Against]:
    """Each arm of `samples` `[A, T]` against the `control` `[T]` of the same trials."""
    samples = statistics.known(samples, "[A, T]", 2, exactly=True)
    control = statistics.known(control, "[T]", 1, exactly=True)
    if control.shape != samples.shape[1:]:
        raise ValueError(f"control must have shape {samples.shape[1:]}, got {control.shape}")
    if not 0 < margin < np.inf:
        raise ValueError(f"margin must be positive and finite, got {margin}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, got {alpha}")
    apart = samples - control
    means = statistics.mean(apart)
    p = statistics.holm(sign_flip(apart))
    p_margin = statistics.holm(sign_flip(apart - margin, alternative="less"))
    return [
        Against(each, float(p[arm]), float(p_margin[arm]), _verdict(each, p, p_margin, arm, alpha))
        for arm, each in enumerate(statistics.entry(means, i) for i in range(len(samples)))
    ]


def _verdict(estimate, p, p_margin, arm, alpha) -> str:
    close = bool(p_margin[arm] < alpha)
    if p[arm] < alpha:
        return "lower" if estimate.value < 0 else "higher" + ", not worse" * close
    return "not worse" if close else "undecided"
