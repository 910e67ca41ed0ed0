"""Thresholds with a guarantee, and what it does and does not say.

Shapes: `N` calibration answers, `M` tuning answers, `C` checks, `G` candidates. Margins and scores
are higher for more trust; an answer is verified where every margin is *greater* than its threshold.
What a threshold is chosen from must be split: tuning answers give the candidates and their order,
calibration answers the test. Bad shapes and levels raise ValueError.
"""

import itertools
from typing import NamedTuple

import numpy as np

from alen import risk_control, selective

CORRECTIONS = ("fixed_sequence", "bonferroni")
JUST = 1e-3  # below a margin, whether shares, nats or log odds: seen in float32 and in print
_RISK = {
    "false_verify": "wrong answers among the verified",
    "verified_wrong": "answers that are verified and wrong among all",
}


class Guarantee(NamedTuple):
    """Thresholds `[C]` and what was promised of them; `certified` False: they verify nothing."""

    method: str
    risk: str  # of risk_control.RISKS
    alpha: float  # the risk that is promised not to be exceeded
    delta: float | None  # with this chance the promise may be broken; None: it is an expectation
    thresholds: np.ndarray
    certified: bool
    n: int  # calibration answers
    verified: int  # of these
    wrong: int  # of the verified
    limits: str  # what else the proof presumes

    def says(self) -> str:
        """One sentence: what is guaranteed, or that nothing is."""
        target = f"the share of {_RISK[self.risk]} is at most {self.alpha:g}"
        if not self.certified:
            return (
                f"{self.method} could not certify from {self.n} calibration answers that {target}"
                f"{self._chance()}: the thresholds are infinite and no answer is verified."
            )
        seen = f"{self.wrong} of {self.verified} verified were wrong, of {self.n} in all"
        if self.delta is None:
            return (
                f"{self.method}: on average over calibration sets and new answers, {target} "
                f"(on calibration {seen})."
            )
        return f"{self.method}: {target}{self._chance()} (on calibration {seen})."

    def does_not_say(self) -> str:
        """One sentence: what is not guaranteed."""
        if not self.certified:
            return (
                "This does not mean that the answers are wrong: only that these calibration "
                "answers do not show them right often enough."
            )
        certain = (
            "that the threshold from this calibration set keeps the bound (only the average over "
            "calibration sets does)"
            if self.delta is None
            else f"that this calibration set is not one of the up to {self.delta:g} that mislead"
        )
        conditional = (
            "" if self.risk == "false_verify" else "the share of wrong answers among the verified, "
        )
        return (
            f"It does not guarantee {conditional}any single answer or any one kind of question "
            f"(the rate is marginal over all), nor questions from another distribution than the "
            f"calibration's (the two must be {self._alike()}), nor a model or thresholds changed "
            f"since, nor {certain}{self.limits}."
        )

    def __str__(self):
        return f"{self.says()} {self.does_not_say()}"

    def _chance(self):
        if self.delta is None:
            return ""
        return f", with probability at least {1 - self.delta:g} over draws of the calibration set"

    def _alike(self):
        return "exchangeable" if self.delta is None else "independent draws of one distribution"


class Path(NamedTuple):
    """A way through the thresholds of C checks from lenient to strict, made of tuning margins.

    Level l sets each threshold to the (l + 1)-th lowest tuning margin of its check, so that all
    checks are equally strict in terms of ranks, whatever their units. `level` turns C margins into
    one score, by which joint thresholds are chosen and answers ranked.
    """

    reference: np.ndarray  # [M, C], each column ascending

    def level(self, margins) -> np.ndarray:
        """Scores `[N]` of margins `[N, C]`: the least, over the checks, number of tuning margins
        that the answer's margin exceeds; minus infinity where a margin is NaN or minus infinity."""
        margins = _margins(margins, self.reference.shape[1])
        counts = [np.searchsorted(r, m) for r, m in zip(self.reference.T, margins.T, strict=True)]
        lowest = np.min(counts, axis=0).astype(np.float64)
        return np.where(np.isneginf(margins).any(axis=1), -np.inf, lowest)

    def thresholds(self, level) -> np.ndarray:
        """Thresholds `[C]` that all margins exceed just where their `level` exceeds this one."""
        size, checks = self.reference.shape
        if level < 0 or level >= size:
            return np.full(checks, -np.inf if level < 0 else np.inf)
        return self.reference[int(level)]

    def sequence(self, points=50) -> np.ndarray:
        """Thresholds `[G, C]` from strict to lenient, the last of which verifies all."""
        size = len(self.reference)
        levels = np.unique(np.linspace(0, size - 1, points).astype(int))
        return np.stack([*(self.reference[level] for level in levels[::-1]), self.thresholds(-1)])


def path(margins) -> Path:
    """The path of tuning margins `[M, C]` (or `[M]`)."""
    return Path(np.sort(_margins(margins), axis=0))


def grid(margins, points=8) -> np.ndarray:
    """All combinations `[G, C]` of each check's minus infinity and `points` quantiles of tuning
    margins `[M, C]`; equal quantiles are one."""
    columns = np.sort(_margins(margins), axis=0)
    places = (np.arange(points) * len(columns)) // points
    axes = [np.unique(np.append(-np.inf, column[places])) for column in columns.T]
    return np.array(list(itertools.product(*axes)))


def typical(margins, right, share=0.001) -> np.ndarray:
    """Thresholds `[C]`, each just below the margins of all but a `share` of the *right* ones among
    tuning answers `[M, C]`; minus infinity if none is right.

    No guarantee needs them. But where few tuning answers are wrong, lenient thresholds serve as
    well as strict ones, and below these an answer is like none that is known to be right. What
    questions of another kind bring about is caught, at the price of a `share` of the right answers
    for each check.
    """
    margins = _margins(margins)
    right = selective.booleans("right", right, len(margins))
    if not 0 <= share < 1:
        raise ValueError(f"share must lie in [0, 1), got {share}")
    if not right.any():
        return np.full(margins.shape[1], -np.inf)
    return np.quantile(margins[right], share, axis=0, method="lower") - JUST


def promising(candidates, margins, right, alpha, risk="false_verify") -> np.ndarray:
    """Candidates `[G, C]` by their p values on *tuning* answers, lowest first: an order in which
    fixed-sequence testing of the calibration answers gets far; equal ones by verified answers."""
    verified, wrong = _counts(candidates, _margins(margins), np.asarray(right))
    tested = verified if risk == "false_verify" else np.full_like(verified, len(right))
    p = risk_control.binomial(wrong, tested, alpha)
    return np.asarray(candidates)[np.lexsort((-verified, p))]


def sgr(scores, right, *, alpha, delta, path: Path | None = None) -> Guarantee:
    """Selection with guaranteed risk, for P(wrong | verified), of calibration answers.

    `scores [N]` of one check, or margins `[N, C]` with the `path` along which they are tested.
    """
    _check_levels(alpha, delta)
    levels, right = _along(path, scores, right)
    found = risk_control.selection_with_guaranteed_risk(levels, ~right, alpha, delta)
    limits = ", nor, where the true risk rises with the threshold, its union bound over bisections"
    return _of("SGR", "false_verify", alpha, delta, path, found, len(right), limits)


def conformal(scores, right, *, alpha, path: Path | None = None) -> Guarantee:
    """Conformal risk control of P(verified and wrong), arguments as of `sgr`."""
    _check_levels(alpha)
    levels, right = _along(path, scores, right)
    found = risk_control.conformal(levels, ~right, alpha)
    name = "Conformal risk control"
    return _of(name, "verified_wrong", alpha, None, path, found, len(right), "")


def learn_then_test(
    candidates,
    margins,
    right,
    *,
    alpha,
    delta,
    risk="false_verify",
    correction="fixed_sequence",
    starts=1,
    tail="hoeffding_bentkus",
) -> Guarantee:
    """Learn-then-Test (Angelopoulos et al. 2021): of thresholds `[G, C]`, certified ones, jointly.

    Calibration answers have `margins [N, C]`. The candidates and, for the fixed sequence, their
    order (`Path.sequence`, `promising`) must come from other answers. Of the certified candidates
    the one that verifies most is returned. `tail` 'binomial' is exact for right and wrong, and
    certifies more than 'hoeffding_bentkus', which also holds for other losses in [0, 1].
    """
    _check_levels(alpha, delta)
    _one_of("risk", risk, risk_control.RISKS)
    _one_of("correction", correction, CORRECTIONS)
    _one_of("tail", tail, risk_control.TAILS)
    candidates = np.asarray(candidates, np.float64)
    if candidates.ndim != 2 or not candidates.size or np.isnan(candidates).any():
        raise ValueError(f"candidates must have shape [G, C], none NaN, got {candidates.shape}")
    if not 1 <= starts <= len(candidates):
        raise ValueError(f"starts must lie in [1, {len(candidates)}], got {starts}")
    margins = _margins(margins, candidates.shape[1])
    right = selective.booleans("right", right, len(margins))
    verified, wrong = _counts(candidates, margins, right)
    if correction == "bonferroni":
        correct = risk_control.bonferroni
    else:
        correct = lambda p, level: risk_control.fixed_sequence(p, level, starts)
    best = risk_control.chosen(
        verified, wrong, len(right), alpha, delta, risk=risk, correction=correct, tail=tail
    )
    certified = bool(best >= 0)
    thresholds = candidates[best] if certified else np.full(candidates.shape[1], np.inf)
    counts = (int(verified[best]), int(wrong[best])) if certified else (0, 0)
    name = f"Learn-then-Test ({correction.replace('_', ' ')} over {len(candidates)} candidates)"
    size = len(right)
    return Guarantee(name, risk, alpha, delta, thresholds, certified, size, *counts, limits="")


def _of(method, risk, alpha, delta, path, found, n, limits):
    level, verified, wrong = float(found.threshold), int(found.verified), int(found.wrong)
    certified = verified > 0
    level = level if certified else np.inf
    thresholds = np.array([level]) if path is None else path.thresholds(level)
    return Guarantee(method, risk, alpha, delta, thresholds, certified, n, verified, wrong, limits)


def _along(path, scores, right):
    scores = np.asarray(scores, np.float64)
    if path is not None:
        scores = path.level(scores)
    if scores.ndim != 1 or not scores.size:
        raise ValueError(f"scores must have shape [N], N at least 1, got {scores.shape}")
    scores = np.where(np.isnan(scores), -np.inf, scores)
    return scores, selective.booleans("right", right, len(scores))


def _counts(candidates, margins, right):
    """Of each candidate `[G]`, how many answers are verified, and how many of these are wrong."""
    passes = np.ones((len(candidates), len(margins)), bool)
    for column, threshold in zip(margins.T, np.asarray(candidates).T, strict=True):
        passes &= column > threshold[:, None]
    return passes.sum(axis=1), (passes & ~right).sum(axis=1)


def _margins(margins, checks=None):
    """Margins `[N, C]` as float64, of a single check `[N]` too; NaN passes no threshold."""
    margins = np.asarray(margins, np.float64)
    margins = margins[:, None] if margins.ndim == 1 else margins
    if margins.ndim != 2 or not margins.size or (checks and margins.shape[1] != checks):
        raise ValueError(f"margins must have shape [N, {checks or 'C'}], got {margins.shape}")
    return np.where(np.isnan(margins), -np.inf, margins)


def _check_levels(alpha, delta=0.5):
    for name, value in (("alpha", alpha), ("delta", delta)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}")


def _one_of(name, value, known):
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
