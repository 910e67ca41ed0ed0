"""Stacking: layers that were learnt before, frozen, below new ones."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from elements.element import Element
from experiments import elements_paired
from experiments.elements_findings import MARGIN, Finding, points
from experiments.elements_paired import Test
from experiments.elements_population import Arm, Population
from experiments.lab import statistics


class Arms:
    """Held-out accuracy `[S, T]` (datasets, trials) of every arm, found by what the arm is."""

    def __init__(self, population: Population, accuracy: np.ndarray):
        self.population, self.accuracy = population, accuracy
        self.all = [dataclasses.replace(arm, recipe=None) for arm in population.arms]
        self._place = {arm: i for i, arm in enumerate(self.all)}
        self.activations = list(dict.fromkeys(e.activation for e in population.elements))

    def of(self, element: Element, **factors) -> np.ndarray:
        return self.accuracy[self.place(element, **factors)]

    def place(self, element: Element, **factors) -> int:
        """Position in the population of a plain arm, or of one that differs by these factors."""
        return self._place[Arm(element, **factors)]

    def elements(self, chosen: Callable[[Arm], bool]) -> list[Element]:
        """The elements of the chosen arms, each once."""
        return list(dict.fromkeys(arm.element for arm in self.all if chosen(arm)))

    def by_activation(self, elements: Sequence[Element], read: Callable) -> np.ndarray:
        """`[A, …]`: for every activation the mean of `read(element)` over its elements."""
        own = lambda a: [read(e) for e in elements if e.activation == a]
        return np.stack([np.mean(own(a), axis=0) for a in self.activations])


def answer(tests: Sequence[Test]) -> str:
    """What tests of one family say together to the question whether it is higher."""
    words = {test.verdict for test in tests}
    if words == {"higher"}:
        return "yes"
    if "higher" in words:
        return "partly" if "lower" not in words else "higher and lower"
    if "lower" in words:
        return "no, lower"
    return "no, equivalent" if words == {"equivalent"} else "undecided"


def counted(tests: Sequence[Test]) -> str:
    """`3 higher, 1 lower, 2 equivalent, 0 undecided`."""
    kinds = ("higher", "lower", "equivalent", "undecided")
    return ", ".join(f"{sum(t.verdict == kind for t in tests)} {kind}" for kind in kinds)


def listed(labels: Sequence[str], tests: Sequence[Test]) -> str:
    return "; ".join(f"{la} {elements_paired.told(t)}" for la, t in zip(labels, tests, strict=True))


def by(what: str, labels: Sequence[str], tests: Sequence[Test]) -> str:
    """A further sentence with all tests; nothing where there is only one."""
    return f" By {what}: {listed(labels, tests)}." if len(tests) > 1 else ""


# Headline, what is taken away, and its name in tables.
RIVALS = {
    "random": ("Does a frozen trained bottom beat a random frozen one?", "a random frozen bottom"),
    "scratch": (
        "Does a frozen trained bottom beat training from scratch?",
        "training from scratch",
    ),
}


def stacking(arms: Arms) -> dict:
    """Findings, figures and tables of frozen bottoms; nothing where no arm has one."""
    stacked = [arm for arm in arms.all if arm.trained and 0 < arm.bottom < arm.element.depth]
    shapes = list(dict.fromkeys((arm.bottom, arm.element.depth - arm.bottom) for arm in stacked))
    if not shapes:
        return {}
    found = {kind: [] for kind in ("trained", "random", "scratch")}
    for bottom, top in shapes:
        fits = [a.element for a in stacked if (a.bottom, a.element.depth) == (bottom, bottom + top)]
        frozen = {"bottom": bottom, "frozen": bottom}
        for kind, factors in (
            ("trained", frozen),
            ("random", frozen | {"trained": False}),
            ("scratch", {}),
        ):
            read = lambda e, factors=factors: arms.of(e, **factors)
            found[kind].append(arms.by_activation(fits, read))
    found = {kind: np.stack(values) for kind, values in found.items()}  # [B, A, S, T]
    labels = [f"{bottom} + {top}" for bottom, top in shapes]
    parts = {"findings": [], "figures": {}, "tables": _tables(arms, labels, found)}
    for rival, (headline, name) in RIVALS.items():
        difference = found["trained"] - found[rival]
        parts["findings"].append(_finding(headline, arms, labels, difference))
        parts["figures"][f"stacking_{rival}"] = _forest(arms, labels, difference, name)
    return parts


def _finding(headline, arms, labels, difference):
    trials = difference.shape[-1]
    overall = elements_paired.family(difference.mean((0, 1, 2))[None])
    by_shape = elements_paired.family(difference.mean((1, 2)))
    by_activation = elements_paired.family(difference.mean((0, 2)))
    each = elements_paired.family(difference.mean(2).reshape(-1, trials))
    sentence = (
        f"In points of held-out accuracy, over all shapes, activations and datasets: "
        f"{elements_paired.told(overall[0])}.{by('layers below + above', labels, by_shape)}"
        f"{by('activation', arms.activations, by_activation)} Of {len(each)} cells of shape × "
        f"activation: {counted(each)}. (Holm within each list.)"
    )
    return Finding(headline, sentence, answer(overall))


def _forest(arms, labels, difference, name):
    from experiments.lab import figures

    datasets = arms.population.datasets
    rows = {"all": difference.mean((0, 1, 2))}
    for names, samples in (
        ([f"{label} layers" for label in labels], difference.mean((1, 2))),
        (arms.activations, difference.mean((0, 2))),
        (datasets, difference.mean((0, 1))),
    ):
        rows |= dict(zip(names, samples, strict=True))
    figure = figures.differences(
        [statistics.mean(samples) for samples in rows.values()],
        list(rows),
        MARGIN,
        title=f"Stacking: a frozen trained bottom against {name}",
        xlabel="difference in held-out accuracy, points",
    )
    caption = (
        "Layers below + above; each group of rows is a mean over the other axes. The bottom has "
        f"learnt for {arms.population.epochs} epochs before, the layers on top and what is "
        f"trained from scratch learn for {arms.population.epochs}. Paired by trial, "
        f"{arms.population.trials} trials, 95 % intervals, not corrected; shaded: the margin of "
        "equivalence."
    )
    return figure, caption


def _tables(arms, labels, found):
    header = ["activation", "layers", "trained bottom", "random bottom", "from scratch"]
    header += ["trained − random", "trained − scratch", "random − scratch"]
    level = {k: statistics.mean(v.mean(2)) for k, v in found.items()}  # [B, A]
    pairs = (("trained", "random"), ("trained", "scratch"), ("random", "scratch"))
    shape, trials = found["trained"].shape[:2], found["trained"].shape[-1]
    tests = [
        elements_paired.family((found[a] - found[b]).mean(2).reshape(-1, trials)) for a, b in pairs
    ]
    rows = []
    for i, (b, a) in enumerate(np.ndindex(shape)):
        levels = [points(statistics.entry(level[kind], (b, a))) for kind in found]
        told = [elements_paired.told(family[i]) for family in tests]
        rows.append([arms.activations[a], labels[b], *levels, *told])
    caption = (
        "Held-out accuracy in %, over all datasets. Layers below + above; from scratch has as many "
        f"in all. {elements_paired.CAPTION} Each column of differences is a family."
    )
    return {"Stacking: every shape and activation": (header, rows, caption)}


def table(arms: Arms) -> dict:
    """Held-out accuracy of every arm on every dataset."""
    names = arms.population.datasets
    each, every = statistics.mean(arms.accuracy), statistics.stratified(arms.accuracy)
    rows = [
        [
            f"{arm.element.symbol} {said(arm)}",
            *(points(statistics.entry(each, (i, s))) for s in range(len(names))),
            points(statistics.entry(every, i)),
        ]
        for i, arm in enumerate(arms.all)
    ]
    caption = (
        f"Held-out accuracy in %, {arms.population.trials} trials, 95 % intervals. A bottom is as "
        "many hidden layers of a donor network; where it is not frozen it is fine-tuned."
    )
    return {"All arms": (["arm", *names, "all"], rows, caption)}


def said(arm: Arm) -> str:
    """What an arm is, in words."""
    if not arm.bottom:
        return f"from scratch, member {arm.member}" if arm.member else "from scratch"
    kind = "frozen" if arm.frozen else "fine-tuned"
    if not arm.trained:
        return f"on a random bottom of {arm.bottom}, {kind}"
    source = f" from {arm.source}" if arm.source else ""
    return f"on a bottom of {arm.bottom}{source}, {kind}"
