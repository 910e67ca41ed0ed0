"""From answers to numbers: a row for each stratum and method of an organism, and what goes with it.

Nothing here knows a model: answers come as arrays (`alen_verification_methods.Answers`), by
(stratum, split), each with whether all questions of the stratum and split are there.

Shapes: `X` places of the curves, `C` checks.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from alen import guarantees, selective, tasks, verify
from experiments import alen_verification_methods as methods
from experiments.alen_verification_methods import Answers

PERTURBED, MIXED, DOMAIN = "perturbed", "mixed", "domain"  # strata beside the tasks' own
GUARDED = (tasks.TRAINED, tasks.UNANSWERABLE)  # the mixture that a guarantee is given for
COVERAGES = np.linspace(0.02, 1, 50)
COLUMNS = (
    "task",
    "size",
    "stratum",
    "method",
    "seed",
    "n",
    "accuracy",
    "coverage",
    "verified_wrong",
    "false_verify_rate",
    "false_verify_high",
    "aurc",
    "augrc",
)
FURTHER = (  # of metrics.csv
    "verified_count",
    "verified_wrong_count",
    "false_verify_low",
    "verified_wrong_high",
    "coverage_low",
    "coverage_high",
    "rejected_right",
    "failure_auroc",
    "failure_auroc_low",
    "failure_auroc_high",
    "calibration_error",
    "certified",
    "enumerated",
)
CONFUSION = ("right, passed", "right, failed", "wrong, passed", "wrong, failed")


class Organism(NamedTuple):
    """What came of one organism of one task."""

    rows: list[dict]  # COLUMNS and FURTHER, one a stratum × method
    guarantees: dict[str, guarantees.Guarantee]  # by method
    curves: dict[str, dict[str, np.ndarray]]  # stratum → method → selective risk [X]
    # Both on the mixture and at the checks' least thresholds, certified or not:
    confusion: np.ndarray  # [C + 1, 4] shares of answers: each check, then all; CONFUSION
    independent: methods.Independent


Sets = Mapping[tuple[str, str], tuple[Answers, bool]]


def measure(label: str, size: str, seed: int, sets: Sets, alpha: float, delta: float) -> Organism:
    """All numbers of an organism from its answers; `alpha` and `delta` of the guarantee."""
    tuning, calibration = mixture(sets, "tuning"), mixture(sets, "calibration")
    rules = [methods.fit(method, tuning, calibration, alpha, delta) for method in methods.METHODS]
    judged, rows, curves = evaluated(sets), [], {}
    for stratum, (answers, listed) in judged.items():
        curves[stratum] = {}
        for rule in rules:
            rows.append(_row(label, size, seed, stratum, rule, answers, listed))
            scores = methods.score(rule, answers)
            good = methods.right(rule.method, answers)
            curves[stratum][rule.method.name] = risks(scores, good)
            if rule.method is methods.ALL:
                rows.append(_independent(rows[-1], methods.independent(rule, answers)))
    plain = next(rule for rule in rules if rule.method is methods.PLAIN)
    mixed = judged[MIXED][0]
    return Organism(
        rows,
        {rule.method.name: rule.guarantee for rule in rules if rule.guarantee},
        curves,
        confusion(methods.passed(plain, mixed), mixed.right),
        methods.independent(plain, mixed),
    )


def mixture(sets: Sets, split: str) -> Answers:
    """Trained and unanswerable questions of a split, equally many; of a task without unanswerable
    ones, the trained ones."""
    return methods.mixed([sets[name, split][0] for name in GUARDED if (name, split) in sets])


def evaluated(sets: Sets) -> dict[str, tuple[Answers, bool]]:
    """Stratum → test answers and whether they are all there are; with the mixture, and with the
    whole domain, all four splits of it, where that is at hand."""
    found = {stratum: one for (stratum, split), one in sets.items() if split == "test"}
    found[MIXED] = mixture(sets, "test"), False
    every = [sets.get((tasks.TRAINED, split), (None, False)) for split in tasks.SPLITS]
    if all(listed for _, listed in every):
        found[DOMAIN] = methods.joined([answers for answers, _ in every]), True
    return found


def risks(scores, right) -> np.ndarray:
    """Selective risk `[X]` at COVERAGES; within ties, its expectation under random order."""
    found = selective.curve(scores, right)
    area = np.interp(COVERAGES, np.append(0, found.coverage), np.append(0, found.generalised_risk))
    return area / COVERAGES


def confusion(passed: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Shares `[C + 1, 4]`, see `Organism`, of answers that `passed [N, C]` checks."""
    every = np.concatenate([passed, passed.all(axis=1, keepdims=True)], axis=1).T
    kinds = (right & every, right & ~every, ~right & every, ~right & ~every)
    return np.stack([kind.mean(axis=1) for kind in kinds], axis=1)


def _row(label, size, seed, stratum, rule, answers, listed):
    found, sure = methods.summary(rule, answers), rule.guarantee
    return {
        "task": label,
        "size": size,
        "stratum": stratum,
        "method": rule.method.name,
        "seed": seed,
        "n": found.n,
        "accuracy": found.accuracy.value,
        "coverage": found.coverage.value,
        "verified_wrong": found.verified_wrong.value,
        "false_verify_rate": found.false_verify.value,
        "false_verify_high": found.false_verify.high,
        "aurc": found.aurc,
        "augrc": found.augrc,
        "verified_count": found.coverage.count,
        "verified_wrong_count": found.verified_wrong.count,
        "false_verify_low": found.false_verify.low,
        "verified_wrong_high": found.verified_wrong.high,
        "coverage_low": found.coverage.low,
        "coverage_high": found.coverage.high,
        "rejected_right": found.rejected_right.value,
        "failure_auroc": found.failure_auroc.value,
        "failure_auroc_low": found.failure_auroc.low,
        "failure_auroc_high": found.failure_auroc.high,
        "calibration_error": methods.calibration_error(rule, answers),
        "certified": sure is not None and sure.certified,
        "enumerated": listed,
    }


def _independent(row, product: methods.Independent):
    """The row of all three checks, were they independent: there is no score to rank by, and
    nothing was counted."""
    unknown = {name: np.nan for name in (*COLUMNS, *FURTHER) if isinstance(row[name], float)}
    return (
        row
        | unknown
        | {
            "method": methods.INDEPENDENT,
            "accuracy": row["accuracy"],
            "coverage": product.coverage,
            "verified_wrong": product.verified_wrong,
            "false_verify_rate": product.false_verify,
            "verified_count": -1,
            "verified_wrong_count": -1,
        }
    )


def columns(rows: list[dict], names=COLUMNS) -> dict[str, np.ndarray]:
    """Rows as columns."""
    return {name: np.array([row[name] for row in rows]) for name in names}


CHECKS = (*verify.CHECKS, methods.ALL.name)  # rows of the confusion
