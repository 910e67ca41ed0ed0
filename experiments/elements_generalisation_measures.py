"""What phase 7 measures: accuracy by size, its estimates, noise on the inputs, wrong labels.

Shapes: `A` activations, `N` sizes, `F` shares of wrong labels, `S` datasets, `T` trials. What an
activation has further shapes for is averaged within the trial.
"""

from collections.abc import Sequence

import numpy as np

from experiments import elements_findings, elements_paired
from experiments.elements_findings import ALPHA, MARGIN
from experiments.lab import statistics

AREA = "area under the curve over log points"


class Cells:
    """The results of a study by activation, size and share of wrong labels."""

    def __init__(self, outcome):
        self.outcome, self.population = outcome, outcome.population
        arms = self.population.arms
        self.activations = list(dict.fromkeys(arm.element.activation for arm in arms))
        self.sizes = sorted({arm.samples for arm in arms if not arm.flipped})
        self.flips = sorted({arm.flipped for arm in arms})
        self.reference = self.population.samples  # the size at which labels are wrong
        if self.reference not in self.sizes:
            self.reference = self.sizes[-1]
        self.held_back = self.population.held_back > 0

    def at(self, column: str, size: int, flipped: int = 0) -> np.ndarray:
        """`[A, S, T]`."""
        cube, arms = self.outcome.cube(column), self.population.arms
        chosen = [
            [
                i
                for i, arm in enumerate(arms)
                if (arm.element.activation, arm.samples, arm.flipped) == (name, size, flipped)
            ]
            for name in self.activations
        ]
        return np.stack([cube[some].mean(0) for some in chosen])

    def by_size(self, column: str) -> np.ndarray:
        """`[A, N, S, T]` with right labels."""
        return np.stack([self.at(column, size) for size in self.sizes], 1)

    def each_by_size(self, column: str) -> np.ndarray:
        """`[N, E, S, T]` with right labels, over the elements E: nothing is averaged."""
        cube, arms = self.outcome.cube(column), self.population.arms
        kinds = [(arm.samples, arm.flipped) for arm in arms]
        return np.stack([cube[[kind == (n, 0) for kind in kinds]] for n in self.sizes])

    def by_flips(self, column: str, flips: Sequence[int]) -> np.ndarray:
        """`[A, F, S, T]` at the reference size."""
        return np.stack([self.at(column, self.reference, f) for f in flips], 1)

    def by_sigma(self) -> tuple[list[float], np.ndarray]:
        """The sigmas from 0 on, and the accuracies `[A, sigmas, S, T]` at the reference size."""
        sigmas = sorted(self.population.sigmas)
        columns = ["test_accuracy", *(f"noise_{sigma:g}_accuracy" for sigma in sigmas)]
        return [0.0, *sigmas], np.stack([self.at(c, self.reference) for c in columns], 1)

    def learnt(self) -> list[int]:
        """Positions of the activations whose accuracy at the reference size is told to be more
        than half the way from chance to 1: the others have too little to lose."""
        samples = self.at("test_accuracy", self.reference).mean(1)
        _, p = statistics.against(samples, self.halfway, alternative="greater")
        return [i for i, value in enumerate(p) if value < ALPHA]

    @property
    def halfway(self) -> float:
        return (1 + elements_findings.chance(self.population)) / 2

    def count(self, share: str, size: int) -> int:
        """How many of a trial's points there are in a share."""
        arm = next(a for a in self.population.arms if (a.samples, a.flipped) == (size, 0))
        return self.population.counts(arm)[share]


def slopes(samples: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Least-squares slopes `[..., T]` of `samples [..., N, T]` per doubling of the size."""
    x = np.log2(sizes) - np.mean(np.log2(sizes))
    return np.einsum("n,...nt->...t", x / (x**2).sum(), samples)


def area(samples: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Means `[..., T]` of `samples [..., N, T]` over the logarithm of the size: the area under
    the curve, by trapezia, over its width."""
    x = np.log(sizes)
    return np.trapezoid(samples, x, axis=-2) / (x[-1] - x[0])


def needed(samples: np.ndarray, sizes: Sequence[int], level: float) -> statistics.Estimate:
    """The size `[...]` at which the mean of `samples [..., N, T]` first comes to `level`.

    Interpolated linearly over the logarithm of the size, never extrapolated: `-inf` where the
    smallest size is enough, `inf` where the largest is not. The interval inverts that of the mean:
    the sizes at which it contains the level, interpolated likewise.
    """
    means = statistics.mean(samples)
    crossings = (_crossing(sizes, curve, level) for curve in (means.value, means.high, means.low))
    return statistics.Estimate(*crossings, means.n)


def said(estimate: statistics.Estimate, sizes: Sequence[int]) -> str:
    """A size needed, with its interval, bounded where it was not seen: `120 [96, > 1000]`; a
    bound alone is that of the whole interval."""
    bounds = {np.inf: f"> {sizes[-1]}", -np.inf: f"≤ {sizes[0]}"}
    value, low, high = (bounds.get(float(v), f"{v:.0f}") for v in estimate[:3])
    if value == low == high and value in bounds.values():
        return value
    return f"{value} [{low}, {high}]"


def _crossing(sizes, curves, level):
    x, found = np.log(sizes), np.full(curves.shape[:-1], np.inf)
    for index in np.ndindex(found.shape):
        curve = curves[index]
        k = int(np.argmax(curve >= level))
        if np.isnan(curve).any():
            found[index] = np.nan
        elif curve[k] >= level:
            here = slice(k - 1, k + 1)
            found[index] = np.exp(np.interp(level, curve[here], x[here])) if k else -np.inf
    return found


class Validation:
    """The validation estimate against the test accuracy, by size (`[N]`)."""

    def __init__(self, cells: Cells):
        estimate, test = (cells.each_by_size(f"{p}_accuracy") for p in ("validation", "test"))
        self.held_back = np.array([cells.count("validation", n) for n in cells.sizes])
        tests = cells.population.tests
        error = estimate - test
        self.bias = elements_paired.family(error.mean((1, 2)))
        # Of two independent counts; a balanced sample varies a little less.
        variance = test * (1 - test) * tests / (tests - 1)
        expected = variance * (1 / self.held_back[:, None, None, None] + 1 / tests)
        found, expected = (a.mean((1, 2)) for a in (error**2, expected))
        squares = statistics.mean(found)
        roots = (np.sqrt(np.maximum(a, 0)) for a in squares[:3])
        self.error = statistics.Estimate(*roots, squares.n)
        self.expected = np.sqrt(expected.mean(-1))
        self.p_noisier = statistics.against(found - expected, 0.0, alternative="greater")[1]


def excess(cells: Cells, flips: Sequence[int]) -> np.ndarray:
    """`[A, F, S, T]`: the share of wrong labels repeated, less the share that a network repeats
    where it has not seen them: its error on test points."""
    control = 1 - cells.by_flips("test_accuracy", flips)
    return cells.by_flips("memorised", flips) - control


def comparisons(cells: Cells) -> dict[str, list]:
    """Families of paired comparisons of activations, by what is compared (higher is better).

    What a change costs is compared only between those that had something to lose.
    """
    names, found = cells.activations, {}
    if len(names) < 2:
        return found
    if len(cells.sizes) > 1:
        curves = cells.by_size("test_accuracy").mean(2)
        found[AREA] = statistics.compare(area(curves, cells.sizes), names, margin=MARGIN)
    some = [names[i] for i in cells.learnt()]
    for under, change, accuracy in changes(cells):
        found[under] = statistics.compare(accuracy[:, -1], names, margin=MARGIN)
        if len(some) > 1:
            lost = (accuracy[:, -1] - accuracy[:, 0])[cells.learnt()]
            found[change] = statistics.compare(lost, some, margin=MARGIN)
    return found


def changes(cells: Cells) -> list[tuple[str, str, np.ndarray]]:
    """What was made harder: names of the accuracy at its worst and of the change up to there, and
    the accuracies `[A, steps, T]`, the first undisturbed."""
    found = []
    if cells.population.sigmas:
        sigmas, accuracy = cells.by_sigma()
        found.append((f"σ {sigmas[-1]:g}", accuracy))
    if len(cells.flips) > 1:
        accuracy = cells.by_flips("test_accuracy", cells.flips)
        found.append((f"{cells.flips[-1]} % wrong labels", accuracy))
    return [(f"accuracy at {at}", f"change at {at}", a.mean(2)) for at, a in found]
