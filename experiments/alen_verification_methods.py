"""Ways to decide which answers to trust: ALEN's checks, alone and together, and their rivals.

All methods judge the same greedy answers, but self-consistency, whose answer is the most frequent
of K samples. Thresholds of each are looked for among *tuning* answers, certified by
Learn-then-Test on *calibration* answers, and used on others.

Shapes: `N` answers, `C` margins of a method, `M` tuning answers, `G` candidates.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.special

from alen import guarantees, selective, verify

LEVELS = 100  # of strictness that are tried of all margins at once
POINTS = 6  # thresholds of each margin that are tried in all combinations
# No threshold is more lenient: even odds, an answer that tells nothing, half of the perturbations.
# Else "all three checks" could be certified with one of them switched off.
LEAST = {"forward": 0.0, "backward": 0.0, "stability": 0.5}


class Answers(NamedTuple):
    """What is known of answers, `[N]` each."""

    right: np.ndarray  # bool: the greedy answer is the true one
    forward: np.ndarray  # log odds of the correctness head
    backward: np.ndarray  # nats a hidden token
    stability: np.ndarray  # share of the perturbations with the same answer
    softmax: np.ndarray  # mean over the answer's tokens of the highest probability
    log_probability: np.ndarray  # of the whole answer, nats
    agreement: np.ndarray  # share of K samples that give the most frequent answer
    voted_right: np.ndarray  # bool: that answer is the true one


class Method(NamedTuple):
    """`margins` that must all exceed their thresholds (none: all is accepted).

    `certified` False: the thresholds are LEAST, and nothing is promised of them.
    """

    name: str
    told: str
    margins: tuple[str, ...]
    confidence: Callable | None = None  # of the one margin, in [0, 1]
    right: str = "right"
    certified: bool = True


def _joint(*checks):
    return Method("+".join(checks), f"{' and '.join(checks)} check", checks)


BASELINES = (
    Method("always_accept", "every answer is accepted", ()),
    Method("max_softmax", "maximal softmax", ("softmax",), np.asarray),
    Method("log_probability", "sequence log-probability", ("log_probability",), np.exp),
    Method("self_consistency", "self-consistency", ("agreement",), np.asarray, "voted_right"),
)
ALL = Method("all_three", "all three checks", verify.CHECKS)
PLAIN = Method(
    "all_three_uncertified", "all three at their least thresholds", verify.CHECKS, certified=False
)
HEAD = Method("forward", "the correctness head alone", ("forward",), scipy.special.expit)
METHODS = (
    *BASELINES,
    HEAD,
    Method("backward", "the backward check alone", ("backward",)),
    Method("stability", "the stability check alone", ("stability",), np.asarray),
    _joint("forward", "backward"),
    _joint("forward", "stability"),
    _joint("backward", "stability"),
    ALL,
    PLAIN,
)
BY_NAME = {method.name: method for method in METHODS}
INDEPENDENT = "independent"  # all three, were their errors independent given right or wrong


class Rule(NamedTuple):
    """A method with what it took from tuning and calibration answers.

    `reference [M, C]` are tuning margins, each column ascending; `thresholds [C]` are exceeded by
    what is verified; `guarantee` is None where there is none.
    """

    method: Method
    reference: np.ndarray
    thresholds: np.ndarray
    guarantee: guarantees.Guarantee | None


def margins(method: Method, answers: Answers) -> np.ndarray:
    """Margins `[N, C]`, minus infinity where one is unknown."""
    columns = [np.asarray(getattr(answers, name), np.float64) for name in method.margins]
    found = np.stack(columns, axis=-1) if columns else np.zeros((len(answers.right), 0))
    return np.where(np.isnan(found), -np.inf, found)


def right(method: Method, answers: Answers) -> np.ndarray:
    """Which of the method's answers are right, bool `[N]`."""
    return np.asarray(getattr(answers, method.right), bool)


def least(method: Method) -> np.ndarray:
    """The most lenient thresholds `[C]` of a method."""
    return np.array([LEAST.get(name, -np.inf) for name in method.margins])


def candidates(reference: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Thresholds `[G, C]` worth a test, from tuning margins `[M, C]`, columns ascending.

    Each lies just below a tuning margin, so that a margin which most answers share (a stability of
    1) can still be asked for. All margins equally strict by ranks, all combinations of a few, and
    the `least [C]`, below which none lies.
    """
    size, checks = reference.shape
    below = np.nextafter(reference, -np.inf)
    levels = np.unique(np.linspace(0, size - 1, LEVELS).astype(int))
    few = below[(np.arange(POINTS) * size) // POINTS]
    tried = [below[levels], guarantees.grid(few, POINTS), np.full((1, checks), -np.inf)]
    return np.unique(np.maximum(np.concatenate(tried), least), axis=0)


def fit(method: Method, tuning: Answers, calibration: Answers, alpha: float, delta: float) -> Rule:
    """The rule whose share of wrong answers among the accepted is certified to be at most `alpha`
    with a probability of at least 1 - `delta`; of the certified ones, it accepts most."""
    seen = margins(method, tuning)
    reference = np.sort(seen, axis=0)
    if not method.margins or not method.certified:
        return Rule(method, reference, least(method), None)
    lowest = np.maximum(least(method), guarantees.typical(seen, right(method, tuning)))
    tried = candidates(reference, lowest)
    order = guarantees.promising(tried, seen, right(method, tuning), alpha)
    certified = guarantees.learn_then_test(
        order, margins(method, calibration), right(method, calibration), alpha=alpha, delta=delta
    )
    return Rule(method, reference, certified.thresholds, certified)


def passed(rule: Rule, answers: Answers) -> np.ndarray:
    """Which margins exceed their thresholds, bool `[N, C]`."""
    return margins(rule.method, answers) > rule.thresholds


def score(rule: Rule, answers: Answers) -> np.ndarray:
    """By what a method ranks answers `[N]`: its margin, or of several the least, each as the share
    of tuning margins that are not higher; so ranked, each threshold's joint rule is a prefix."""
    found = margins(rule.method, answers)
    if not rule.method.margins:
        return np.zeros(len(found))
    if found.shape[1] == 1:
        return found[:, 0]
    shares = [
        np.searchsorted(reference, column, side="right") / len(reference)
        for reference, column in zip(rule.reference.T, found.T, strict=True)
    ]
    return np.where(np.isneginf(found).any(axis=1), -np.inf, np.min(shares, axis=0))


def summary(rule: Rule, answers: Answers) -> selective.Summary:
    """What the rule did to answers."""
    verified = passed(rule, answers).all(axis=1)
    return selective.summary(score(rule, answers), verified, right(rule.method, answers))


def calibration_error(rule: Rule, answers: Answers) -> float:
    """Of the method's confidence; NaN of a method that has none."""
    method = rule.method
    if method.confidence is None:
        return np.nan
    confidence = np.clip(method.confidence(margins(method, answers)[:, 0]), 0.0, 1.0)
    return selective.calibration_error(confidence, right(method, answers))


class Independent(NamedTuple):
    """What all checks together would do, were they independent given that an answer is right, and
    given that it is wrong: products of the shares that pass each check."""

    coverage: float
    verified_wrong: float  # of all answers
    false_verify: float  # wrong, of the verified
    passing_wrong: float  # of the wrong answers, by the product
    passing_wrong_seen: float  # and in truth


def independent(rule: Rule, answers: Answers) -> Independent:
    """The product of the checks of `rule` under independence, and what is true."""
    passes, good = passed(rule, answers), right(rule.method, answers)
    share = good.mean()
    product = lambda rows: float(passes[rows].mean(axis=0).prod()) if rows.any() else np.nan
    both = [
        weight * product(rows) if weight else 0.0
        for weight, rows in ((share, good), (1 - share, ~good))
    ]
    coverage = sum(both)
    return Independent(
        coverage=float(coverage),
        verified_wrong=float(both[1]),
        false_verify=float(both[1] / coverage) if coverage else np.nan,
        passing_wrong=product(~good),
        passing_wrong_seen=float(passes[~good].all(axis=1).mean()) if (~good).any() else np.nan,
    )


def at(answers: Answers, rows) -> Answers:
    """The answers at `rows`."""
    return Answers(*(np.asarray(column)[rows] for column in answers))


def joined(parts) -> Answers:
    """Several sets of answers as one."""
    return Answers(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def mixed(parts, seed=0) -> Answers:
    """Equally many answers of each part, drawn without replacement: the mixture for which a
    guarantee is given, whatever the sizes of the parts."""
    least = min(len(part.right) for part in parts)
    draws = np.random.default_rng(seed)
    return joined([at(part, draws.permutation(len(part.right))[:least]) for part in parts])
