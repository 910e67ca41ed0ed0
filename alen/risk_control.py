"""Thresholds whose risk is bounded: p values, multiple tests, and three ways to choose.

Everything here is vectorised over leading axes, so that the simulation which checks the bounds
(`validity`) runs the very code that sets the thresholds. `guarantees` wraps it for use.

Shapes: `n` calibration answers, `G` candidate thresholds, `...` any leading axes. An answer is
verified where its score is *greater* than the threshold, never where it is equal: of a threshold
taken from the data itself, only the answers strictly above are a fresh draw from what is verified.
The threshold infinity verifies nothing, and stands for "nothing could be certified".

Two risks, both of losses 0 and 1:
    'false_verify'     P(wrong | verified), of those verified; tests are conditional on their number
    'verified_wrong'   P(verified and wrong), of all answers
"""

from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats

RISKS = ("false_verify", "verified_wrong")


def hoeffding_bentkus(wrong, n, alpha):
    """p values of "the risk is above alpha" after `wrong` losses of 1 in `n` (Bates et al. 2021).

    The lesser of Hoeffding's exp(-n h(min(wrong / n, alpha), alpha)), with h the relative entropy
    of two coins, and Bentkus' e P(Binomial(n, alpha) <= wrong). Of n = 0 it is 1.
    """
    wrong, n = np.asarray(wrong), np.asarray(n)
    share = np.minimum(wrong / np.maximum(n, 1), alpha)
    entropy = scipy.special.rel_entr(share, alpha) + scipy.special.rel_entr(1 - share, 1 - alpha)
    return np.minimum(np.exp(-n * entropy), np.minimum(np.e * binomial(wrong, n, alpha), 1.0))


def binomial(wrong, n, alpha):
    """P(Binomial(n, alpha) <= wrong): the exact p value of losses of 0 and 1; 1 of n = 0."""
    return scipy.special.bdtr(np.asarray(wrong, np.float64), np.asarray(n, np.int64), alpha)


TAILS = {"hoeffding_bentkus": hoeffding_bentkus, "binomial": binomial}


def upper_bound(wrong, n, delta):
    """The risk above which so few losses have a chance below `delta`: binomial tail inversion."""
    wrong, n = np.asarray(wrong, np.float64), np.asarray(n, np.float64)
    inside = wrong < n
    bound = scipy.special.betaincinv(wrong + 1, np.where(inside, n - wrong, 1.0), 1 - delta)
    return np.where(inside, bound, 1.0)


def bonferroni(p, delta):
    """Which of the candidates, p values `[..., G]`, are certified all at once: p <= delta / G."""
    return p <= delta / p.shape[-1]


def fixed_sequence(p, delta, starts=1):
    """Which candidates are certified when tested in the given order until the first failure.

    p values `[..., G]`. Each of `starts` equally spaced starting points spends delta / starts and
    goes on to the end (Angelopoulos et al. 2021, algorithm 1). The order must not come from the
    data that the p values come from.
    """
    size = p.shape[-1]
    passed, certified = p <= delta / starts, np.zeros(p.shape, bool)
    for start in np.arange(starts) * size // starts:
        certified[..., start:] |= np.logical_and.accumulate(passed[..., start:], axis=-1)
    return certified


def chosen(verified, wrong, n, alpha, delta, *, risk, correction, tail="hoeffding_bentkus"):
    """Learn-then-Test: index of the certified candidate that verifies most `[...]`, -1 if none.

    Of each candidate `verified [..., G]` answers pass and `wrong [..., G]` of these are wrong, of
    `n` in all. `correction` maps p values and delta to what is certified (`bonferroni`,
    `fixed_sequence`). Errors are controlled for all candidates at once, so that any certified one
    may be picked by the same data.
    """
    tested = verified if risk == "false_verify" else np.full_like(verified, n)
    certified = correction(TAILS[tail](wrong, tested, alpha), delta) & (verified > 0)
    best = np.argmax(np.where(certified, verified, -1), axis=-1)
    return np.where(certified.any(axis=-1), best, -1)


class Selected(NamedTuple):
    """A threshold `[...]`, the number of calibration answers above it, and of wrong ones there."""

    threshold: np.ndarray
    verified: np.ndarray
    wrong: np.ndarray


def selection_with_guaranteed_risk(scores, wrong, alpha, delta) -> Selected:
    """SGR (Geifman and El-Yaniv 2017, algorithm 1): the lowest threshold that bisection certifies.

    Of `scores` and booleans `wrong`, `[..., n]`. The candidates are minus infinity and the scores
    themselves; each of the ceil(log2(n + 1)) bisection steps tests one, exactly, at delta over the
    number of steps. The union over the steps is a proof where the true risk does not rise with
    the threshold (then only the steps on one fixed way down the bisection can err); elsewhere
    `fixed_sequence` is one. A step that fails moves to stricter thresholds for good.
    """
    above = _above(scores, wrong)
    n = scores.shape[-1]
    steps = n.bit_length()
    low, high = np.zeros(scores.shape[:-1], np.int64), np.full(scores.shape[:-1], n)
    for _ in range(steps):
        middle = (low + high) // 2
        at = _take(above, np.minimum(middle, n - 1))
        safe = (binomial(at.wrong, at.verified, alpha) <= delta / steps) & (at.verified > 0)
        open_ = low < high
        high, low = np.where(open_ & safe, middle, high), np.where(open_ & ~safe, middle + 1, low)
    return _or_nothing(_take(above, np.minimum(high, n - 1)), high < n)


def conformal(scores, wrong, alpha) -> Selected:
    """Conformal risk control of P(verified and wrong) (Angelopoulos et al. 2022, equation 4).

    The lowest threshold at which (wrong answers above it + 1) / (n + 1) <= alpha. The loss
    1(score > threshold and wrong) falls with the threshold and is continuous from the right, as
    the theorem asks; ties do no harm. Of `scores` and booleans `wrong`, `[..., n]`.
    """
    n = scores.shape[-1]
    above = _above(scores, wrong)
    allowed = np.floor((n + 1) * alpha - 1 + 1e-9)
    safe = above.wrong <= allowed
    return _or_nothing(_take(above, np.argmax(safe, axis=-1)), safe.any(axis=-1))


def _above(scores, wrong):
    """Of each candidate (minus infinity, then the scores but the highest ascending) what is above.

    `Selected` of `[..., n]`. The highest score as a threshold is no candidate: it verifies nothing.
    """
    order = np.argsort(scores, axis=-1, kind="stable")
    scores = np.take_along_axis(scores, order, axis=-1)
    losses = np.cumsum(np.take_along_axis(wrong, order, axis=-1), axis=-1)
    n = scores.shape[-1]
    last = np.where(scores[..., 1:] != scores[..., :-1], np.arange(n - 1), n - 1)
    last = np.minimum.accumulate(last[..., ::-1], axis=-1)[..., ::-1]  # end of each tied group
    lowest = np.isneginf(scores).sum(axis=-1, keepdims=True)  # not above minus infinity
    up_to = np.concatenate([lowest, last + 1], axis=-1)
    total = losses[..., -1:]
    below = np.take_along_axis(losses, np.maximum(up_to - 1, 0), axis=-1)
    threshold = np.concatenate([np.full_like(scores[..., :1], -np.inf), scores[..., :-1]], axis=-1)
    return Selected(threshold, n - up_to, total - np.where(up_to > 0, below, 0))


def _take(selected, index):
    pick = lambda field: np.take_along_axis(field, index[..., None], axis=-1)[..., 0]
    return Selected(*map(pick, selected))


def _or_nothing(selected, certified):
    nothing = (np.inf, 0, 0)
    return Selected(
        *(np.where(certified, field, v) for field, v in zip(selected, nothing, strict=True))
    )
