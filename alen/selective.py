"""How well answers were told apart: coverage, wrong answers that passed, ranking, calibration.

Useful for any model that answers and has a score for its answers: nothing here knows ALEN. An
answer is *verified* (accepted, selected) or abstained from; it is right or wrong, and any answer
to an unanswerable question is wrong. Higher scores mean more confidence.

Shapes: `N` answers. Scores are finite or infinite, never NaN: an unknown score would stand at an
unknown place. `right` and `verified` are booleans. All else raises ValueError.
"""

from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats


class Rate(NamedTuple):
    """A share `count / n` and its Clopper-Pearson interval; of n = 0, NaN within [0, 1]."""

    value: float
    low: float
    high: float
    count: int
    n: int


class Estimate(NamedTuple):
    """A number with its interval, limits NaN where unknown."""

    value: float
    low: float
    high: float
    n: int  # answers


class Summary(NamedTuple):
    """What verification did to a set of answers; rates with exact intervals."""

    n: int
    accuracy: Rate  # right, of all
    coverage: Rate  # verified, of all; on unanswerable questions, the rate to keep low
    selective_accuracy: Rate  # right, of the verified
    false_verify: Rate  # wrong, of the verified: P(wrong | verified)
    verified_wrong: Rate  # verified and wrong, of all: P(verified and wrong)
    rejected_right: Rate  # abstained from, of the right: what verification costs
    aurc: float
    augrc: float
    failure_auroc: Estimate


def rate(count: int, n: int, level=0.95) -> Rate:
    """`count` of `n` with the exact two-sided interval (Clopper and Pearson 1934).

    It covers the true share with a probability of at least `level` over draws of n independent
    answers. Of a finite domain that was enumerated the share is exact and the interval idle.
    """
    _check_level(level)
    if not 0 <= count <= n:
        raise ValueError(f"count must lie in [0, {n}], got {count}")
    tail = (1 - level) / 2
    low = scipy.stats.beta.ppf(tail, count, n - count + 1) if count > 0 else 0.0
    high = scipy.stats.beta.isf(tail, count + 1, n - count) if count < n else 1.0
    return Rate(count / n if n else np.nan, float(low), float(high), int(count), int(n))


def summary(scores, verified, right, level=0.95) -> Summary:
    """All of the above of `scores`, `verified` and `right`, each `[N]`.

    `verified` is the decision taken, the curves (AURC, AUGRC, failure AUROC) are of `scores`
    alone: they ask how the scores would do at every threshold.
    """
    scores, right = _known(scores, right)
    verified = booleans("verified", verified, len(right))
    n, passed, good = len(right), int(verified.sum()), int(right.sum())
    both = int((verified & right).sum())
    return Summary(
        n,
        accuracy=rate(good, n, level),
        coverage=rate(passed, n, level),
        selective_accuracy=rate(both, passed, level),
        false_verify=rate(passed - both, passed, level),
        verified_wrong=rate(passed - both, n, level),
        rejected_right=rate(good - both, good, level),
        aurc=aurc(scores, right),
        augrc=augrc(scores, right),
        failure_auroc=failure_auroc(scores, right, level),
    )


class Curve(NamedTuple):
    """Risk over coverage, one point a different score, from the highest score downwards `[P]`."""

    threshold: np.ndarray  # accepting answers with at least this score
    coverage: np.ndarray  # share accepted
    risk: np.ndarray  # wrong, of the accepted
    generalised_risk: np.ndarray  # accepted and wrong, of all


def curve(scores, right) -> Curve:
    """The risk-coverage curve of `scores` and `right`, `[N]`; ties are accepted together."""
    scores, right = _known(scores, right)
    threshold, accepted, wrong = _descending(scores, right)
    n = len(scores)
    return Curve(threshold, accepted / n, wrong / accepted, wrong / n)


def aurc(scores, right) -> float:
    """Area under the risk-coverage curve: mean over k of the risk of the k highest scores.

    Of N answers (El-Yaniv and Wiener 2010; Geifman, Uziel and El-Yaniv 2019). Tied answers are
    taken in random order and the expectation over it is returned, so that the order of the rows
    is of no account. Failures at the highest scores weigh by far the most; in `augrc` they do not.
    """
    scores, right = _known(scores, right)
    _, accepted, wrong = _descending(scores, right)
    sizes, failures = np.diff(accepted, prepend=0), np.diff(wrong, prepend=0)
    k = np.arange(1, len(scores) + 1)
    before, wrong_before = accepted - sizes, wrong - failures
    share = np.repeat(failures / sizes, sizes)  # of a tied answer to be wrong
    expected = np.repeat(wrong_before, sizes) + share * (k - np.repeat(before, sizes))
    return float(np.mean(expected / k))


def augrc(scores, right) -> float:
    """Area under the generalised risk-coverage curve (Traub et al. 2024, "Overcoming common flaws
    in the evaluation of selective classification systems", NeurIPS).

    The generalised risk is the share of *all* answers that are accepted and wrong; the curve runs
    linearly from (0, 0) through the points between different scores. It equals the chance that an
    answer is wrong and not less confident than another, drawn at random, ties by half: in [0, 1/2],
    lower is better, with failure rate f it is f²/2 + f (1 - f) (1 - failure AUROC).
    """
    scores, right = _known(scores, right)
    _, accepted, wrong = _descending(scores, right)
    n = len(scores)
    coverage, risk = np.append(0, accepted) / n, np.append(0, wrong) / n
    return float(np.sum(np.diff(coverage) * (risk[1:] + risk[:-1]) / 2))


def failure_auroc(scores, right, level=0.95) -> Estimate:
    """P(a right answer scores higher than a wrong one), ties by half, with DeLong's interval.

    The interval (DeLong, DeLong and Clarke-Pearson 1988) is taken on the logit scale, which keeps
    it inside [0, 1]. NaN without a right or without a wrong answer; no limits with a single one of
    a kind, nor for a perfect separation, whose variance the method does not see.
    """
    _check_level(level)
    scores, right = _known(scores, right)
    good, bad = scores[right], scores[~right]
    n = len(scores)
    if not len(good) or not len(bad):
        return Estimate(np.nan, np.nan, np.nan, n)
    rank = scipy.stats.rankdata
    ranks = rank(np.concatenate([good, bad]))
    of_good = (ranks[: len(good)] - rank(good)) / len(bad)  # share of the wrong that each beats
    of_bad = 1 - (ranks[len(good) :] - rank(bad)) / len(good)
    value = float(of_good.mean())
    if min(len(good), len(bad)) < 2:
        return Estimate(value, np.nan, np.nan, n)
    variance = of_good.var(ddof=1) / len(good) + of_bad.var(ddof=1) / len(bad)
    if not 0 < value < 1:
        return Estimate(value, np.nan, np.nan, n)
    half = scipy.special.ndtri((1 + level) / 2) * np.sqrt(variance) / (value * (1 - value))
    low, high = scipy.special.expit(scipy.special.logit(value) + np.array([-half, half]))
    return Estimate(value, float(low), float(high), n)


def calibration_error(confidence, right, bins=15) -> float:
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017) of confidences in [0, 1].

    Mean over answers of |accuracy - mean confidence| of the answer's bin, of `bins` equally wide
    ones, each closed above. It is biased upwards where bins hold few answers.
    """
    confidence, right = _known(confidence, right)
    if confidence.min() < 0 or confidence.max() > 1:
        raise ValueError(
            f"confidence must lie in [0, 1], got {confidence.min()} to {confidence.max()}"
        )
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(right))


def bootstrap(metric, *columns, level=0.95, resamples=999, seed=0) -> Estimate:
    """`metric(*columns)` with the percentile interval over answers drawn with replacement.

    The columns are `[N]`, resampled together. It speaks of new questions to this one model; the
    spread over seeds of training is another. A resample whose metric is NaN makes the limits NaN.
    """
    _check_level(level)
    columns = [np.asarray(column) for column in columns]
    n, generator = len(columns[0]), np.random.default_rng(seed)
    values = np.empty(resamples)
    for i in range(resamples):
        rows = generator.integers(n, size=n)
        values[i] = metric(*(column[rows] for column in columns))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(metric(*columns)), float(low), float(high), n)


def _descending(scores, right):
    """Different scores, highest first, and how many answers (and wrong ones) reach each `[P]`."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # of each tied group
    return ordered[last], last + 1, np.cumsum(~right[order])[last]


def _known(scores, right):
    """Scores as float64 and `right` as booleans, both `[N]`, N >= 1."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or not len(scores):
        raise ValueError(f"scores must have shape [N], N at least 1, got {scores.shape}")
    if np.isnan(scores).any():
        raise ValueError(f"scores must not be NaN, got {int(np.isnan(scores).sum())} of them")
    return scores, booleans("right", right, len(scores))


def booleans(name, values, length):
    """`values` as booleans `[length]`; raises ValueError for anything else."""
    values = np.asarray(values)
    if values.shape != (length,) or values.dtype != bool:
        raise ValueError(
            f"{name} must be {length} booleans, one an answer, got {values.dtype} {values.shape}"
        )
    return values


def _check_level(level):
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}")
