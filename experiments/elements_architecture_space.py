"""The results of a space of architectures: every architecture by itself, with every activation."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from elements.element import Element
from experiments import elements_findings, elements_paired
from experiments.elements_findings import MARGIN
from experiments.lab import fits, statistics


class Family(NamedTuple):
    """Architectures of about as many parameters, from shallow to deep.

    `places` are their positions among the architectures, `depths` their hidden layers.
    """

    target: int
    depths: list[int]
    places: np.ndarray


class Contrast(NamedTuple):
    """Two architectures, by their widths, and the question that they answer."""

    question: str
    first: tuple[int, ...]
    second: tuple[int, ...]


BOTTLENECK, WIDENING = "bottlenecks", "widening"
CONTRASTS = (
    Contrast(BOTTLENECK, (8, 2, 8), (8, 8, 8)),
    Contrast(BOTTLENECK, (8, 2, 8), (5, 5, 5)),  # the same number of parameters
    Contrast(BOTTLENECK, (8, 2, 8), (16, 4, 16)),
    Contrast(BOTTLENECK, (16, 4, 16), (9, 9, 9)),  # the same number of parameters
    Contrast(BOTTLENECK, (32, 8, 32), (32,)),
    Contrast(BOTTLENECK, (32, 8, 32), (17, 17, 17)),  # the same number of parameters
    Contrast(WIDENING, (4, 8, 16), (16, 8, 4)),
)


class Space:
    """Held-out accuracy of a full grid of activations × architectures.

    Shapes: `K` activations, `N` architectures, `S` datasets, `T` trials.
    """

    def __init__(self, outcome, families: Mapping[int, Sequence[tuple[int, ...]]]):
        self.population = outcome.population
        elements = self.population.elements
        self.activations = list(dict.fromkeys(e.activation for e in elements))
        shapes = list(dict.fromkeys((e.widths, e.skip) for e in elements))
        place = {(e.activation, e.widths, e.skip): i for i, e in enumerate(elements)}
        self.arms = np.array([[place[a, *shape] for shape in shapes] for a in self.activations])
        first = [elements[i] for i in self.arms[0]]
        self.names = [named(e) for e in first]
        self.parameters = np.array([e.parameters for e in first])
        self.samples = outcome.cube("test_accuracy")[self.arms]  # [K, N, S, T]
        self.together = self.samples.mean(2)  # [K, N, T]
        self.chance = elements_findings.chance(self.population)
        self.plain = {e.widths: n for n, e in enumerate(first) if not e.skip}
        found = (self._family(target, members) for target, members in families.items())
        self.families = [family for family in found if len(family.depths) > 1]

    def _family(self, target, members):
        here = sorted((m for m in members if m in self.plain), key=len)
        return Family(target, list(map(len, here)), np.array([self.plain[m] for m in here], int))

    @property
    def tested(self) -> bool:
        """Whether there are trials enough for a test."""
        return self.population.trials > 1

    @functools.cached_property
    def means(self) -> statistics.Estimate:
        """`[K, N]`, over datasets and trials."""
        return statistics.mean(self.together)

    @functools.cached_property
    def ranks(self) -> list[statistics.Estimate]:
        """`[N]` of every activation."""
        return [statistics.ranks(own) for own in self.together]

    @functools.cached_property
    def fronts(self) -> tuple[np.ndarray, np.ndarray]:
        """`[K, N]`: which architectures are on their activation's Pareto front, and the
        probability that they are."""
        means = self.means.value
        return (
            np.array([fits.pareto(self.parameters, own) for own in means]),
            np.array([fits.front_probability(self.parameters, own) for own in self.together]),
        )

    @functools.cached_property
    def front(self) -> tuple[np.ndarray, np.ndarray]:
        """`[K, N]`: the same for the front over all activations together."""
        cost, shape = np.tile(self.parameters, len(self.activations)), self.arms.shape
        front = fits.pareto(cost, self.means.value.ravel())
        every = self.together.reshape(-1, self.together.shape[-1])
        return front.reshape(shape), fits.front_probability(cost, every).reshape(shape)

    @functools.cached_property
    def frugality(self) -> np.ndarray:
        """`[K, N, T]`: accuracy above chance for 100 parameters."""
        return 100 * (self.together - self.chance) / self.parameters[:, None]

    @functools.cached_property
    def slopes(self) -> dict[tuple[int, int], elements_paired.Test]:
        """By (family, activation), the slope of accuracy over depth; all are a family of tests.

        Equivalent is a slope whose change from the shallowest to the deepest is within the margin.
        """
        places = [(f, k) for f in range(len(self.families)) for k in range(len(self.activations))]
        spans = [np.ptp(self.families[f].depths) for f, _ in places]
        changes = [
            span * _slopes(self.together[k, self.families[f].places], self.families[f].depths)
            for (f, k), span in zip(places, spans, strict=True)
        ]
        if not places:
            return {}
        tests = elements_paired.family(np.stack(changes))
        return dict(zip(places, tests, strict=True))

    @functools.cached_property
    def doublings(self) -> list[elements_paired.Test]:
        """Of every activation, the slope of accuracy over log2 of the parameters."""
        x = np.log2(self.parameters)
        slopes = [_slopes(own, x) for own in self.together]
        return elements_paired.family(np.stack(slopes), MARGIN / np.ptp(x))

    @functools.cached_property
    def contrasts(self) -> dict[Contrast, list[elements_paired.Test]]:
        """Of every contrast that is there, the tests by activation; a question is a family."""
        found = {}
        for question in (BOTTLENECK, WIDENING):
            own = [
                c
                for c in CONTRASTS
                if c.question == question and {c.first, c.second} <= self.plain.keys()
            ]
            if own:
                pairs = [[self.plain[c.first], self.plain[c.second]] for c in own]
                gaps = [self.together[:, a] - self.together[:, b] for a, b in pairs]
                tests = elements_paired.family(np.concatenate(gaps))
                count = len(self.activations)
                found |= {c: tests[i * count : (i + 1) * count] for i, c in enumerate(own)}
        return found


def named(e: Element) -> str:
    """An architecture's name without its activation: `64`, `32_8_32`, `3x8`, `3x8-skip`."""
    shape = e.shape if e.depth > 1 else str(e.width)
    return shape + "-skip" * e.skip


def _slopes(samples, x):
    """Least-squares slopes `[T]` of samples `[X, T]`, trial by trial."""
    away = np.asarray(x, float) - np.mean(x)
    return away @ samples / (away @ away)
