"""The results of a grid over depths, and what is tested on them."""

import functools
from typing import NamedTuple

import numpy as np

from elements import network
from experiments import elements_findings, elements_paired
from experiments.lab import fits, statistics

DEEP = 6  # hidden layers from which on a network counts as deep
REFERENCE = 5  # hidden layers that deeper networks are compared with: fixed before any result
SHALLOWEST = 3  # the reference may be this shallow where there is none of REFERENCE
VARIANTS = ("plain", "skip")


class Kind(NamedTuple):
    """What is followed over depth."""

    activation: str
    width: int


class Depths:
    """Held-out accuracy of a full grid over depths.

    Shapes: `K` kinds, `V` variants (plain, skip), `D` depths, `S` datasets, `T` trials.
    """

    def __init__(self, outcome):
        self.population = outcome.population
        elements = self.population.elements
        kinds = dict.fromkeys(Kind(e.activation, e.width) for e in elements)
        self.kinds = list(kinds)
        self.skips = sorted({e.skip for e in elements})
        self.variants = [VARIANTS[skip] for skip in self.skips]
        self.depths = sorted({e.depth for e in elements})
        self.datasets = self.population.datasets
        place = {(Kind(e.activation, e.width), e.skip, e.depth): i for i, e in enumerate(elements)}
        self.arms = np.array(
            [[[place[k, s, d] for d in self.depths] for s in self.skips] for k in self.kinds]
        )
        self.samples = outcome.cube("test_accuracy")[self.arms]  # [K, V, D, S, T]
        self.together = self.samples.mean(3)  # [K, V, D, T]
        self.diverged = outcome.cube("diverged")[self.arms].mean(3)  # [K, V, D, T], shares
        self.chance = elements_findings.chance(self.population)

    @property
    def names(self) -> list[str]:
        """The kinds by activation, and by width where there are several."""
        several = len({kind.width for kind in self.kinds}) > 1
        return [f"{k.activation} ×{k.width}" if several else k.activation for k in self.kinds]

    @property
    def reference(self) -> int | None:
        """Position of the depth that deeper networks are compared with."""
        allowed = [d for d in self.depths[:-1] if d >= SHALLOWEST]
        wanted = REFERENCE if REFERENCE in allowed else min(allowed, default=None)
        return None if wanted is None else self.depths.index(wanted)

    @property
    def joined(self) -> np.ndarray:
        """Positions of the depths at which skips join anything: two layers of equal width."""
        narrow = all(kind.width == network.INPUTS for kind in self.kinds)
        return np.flatnonzero((np.array(self.depths) > 1) | narrow)

    @property
    def both(self) -> bool:
        """Whether plain networks and such with skips can be compared."""
        return len(self.variants) == 2 and len(self.joined) > 0

    @property
    def deep(self) -> np.ndarray:
        """Positions of the deep networks; of all that skips change where none is."""
        chosen = np.flatnonzero(np.array(self.depths) >= DEEP)
        return chosen if len(chosen) else self.joined

    @functools.cached_property
    def above_chance(self) -> np.ndarray:
        """`[K, V, D]`: p values of one-sided tests, Holm over the depths."""
        return np.array([[above(one, self.chance) for one in kind] for kind in self.together])

    @functools.cached_property
    def gains(self) -> list[list[elements_paired.Test]]:
        """Skip − plain of every kind at the depths `joined`; a kind's depths are a family."""
        gain = (self.together[:, 1] - self.together[:, 0])[:, self.joined]
        return [elements_paired.family(one) for one in gain]

    @functools.cached_property
    def falls(self) -> fits.Fit:
        """Of every kind and variant, the fall of accuracy to chance over depth."""
        return fits.logistic(self.depths, self.together, self.chance)

    def critical(self, k: int, v: int) -> str:
        """A critical depth in words, with its interval or its bound."""
        value, low, high, _ = statistics.entry(self.falls.critical, (k, v))
        return {
            "within": f"{value:.1f} [{low:.1f}, {high:.1f}] layers",
            "beyond": f"beyond {low:.3g} layers",
            "below": f"below {high:.3g} layers",
            "unidentified": "not identified by these data",
        }[str(self.falls.verdict[k, v])]

    def listed(self, chosen) -> str:
        """The depths that are chosen (a mask), in words: `4, 5, 6`."""
        return ", ".join(str(d) for d, c in zip(self.depths, chosen, strict=True) if c)

    def since(self, chosen) -> str:
        """Where along the depths something holds: `never`, `from 4 on`, `at 2, 4 only`."""
        chosen = np.asarray(chosen, bool)
        if not chosen.any():
            return "never"
        first = int(np.argmax(chosen))
        if first == len(chosen) - 1 or not chosen[first:].all():
            return f"at {self.listed(chosen)} only"
        return f"from {self.depths[first]} on"


def above(samples: np.ndarray, chance: float) -> np.ndarray:
    """p values `[M]` of one-sided tests of the means of `[M, T]` against chance, Holm over all."""
    return statistics.against(samples, chance, alternative="greater")[1]
