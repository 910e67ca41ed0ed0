"""Families of paired differences, tested together, and how they are told."""

from typing import NamedTuple

import numpy as np

from experiments.elements_findings import ALPHA, MARGIN, points, probability
from experiments.lab import statistics


class Test(NamedTuple):
    """A difference (or a slope) against 0, corrected within its family.

    `verdict` is 'equivalent' where that is proven at the margin, else 'higher' or 'lower' where the
    difference is, else 'undecided' (as in `statistics.compare`).
    """

    difference: statistics.Estimate
    p: float  # t test, two-sided, Holm
    p_equivalence: float  # two one-sided tests at the margin, Holm
    verdict: str


def family(differences: np.ndarray, margin: float = MARGIN) -> list[Test]:
    """Tests of paired `differences` `[M, T]` (M tests of one family, T trials) against 0."""
    # Shares of whole points differ by 0 or by more than a rounding error.
    differences = np.round(np.asarray(differences, np.float64), 12)
    estimates = statistics.mean(differences)
    _, p = statistics.against(differences, 0.0, alternative="two-sided")
    below, _ = statistics.against(differences, margin, alternative="less")
    above, _ = statistics.against(differences, -margin, alternative="greater")
    same = statistics.holm(np.maximum(below, above))
    direction = np.where(estimates.value > 0, "higher", "lower")
    verdicts = np.select([same < ALPHA, p < ALPHA], ["equivalent", direction], "undecided")
    return [
        Test(statistics.entry(estimates, i), float(p[i]), float(same[i]), str(verdicts[i]))
        for i in range(len(differences))
    ]


def told(test: Test) -> str:
    """`+1.2 [0.3, 2.1] (p = 0.012, higher)`, in points."""
    word = test.verdict
    p = test.p_equivalence if word == "equivalent" else test.p
    return f"{points(test.difference, signed=True)} ({probability(p)}, {word})"


def cells(test: Test) -> list[str]:
    """A test's cells in a table, under `HEADER`."""
    difference = points(test.difference, signed=True)
    return [difference, f"{test.p:.2g}", f"{test.p_equivalence:.2g}", test.verdict]


HEADER = ["difference, points", "p (Holm)", "p of equivalence", "verdict"]
CAPTION = (
    "Paired t tests over trials, a trial being its mean over datasets; equivalence by two "
    f"one-sided tests at {100 * MARGIN:g} point; both corrected by Holm within the family."
)
