"""Generators seeded by jax keys: many draws without a compilation."""

from collections.abc import Sequence
from typing import TypeVar

import jax
import numpy as np

Item = TypeVar("Item")
BLOCK = 1024


def generator(key) -> np.random.Generator:
    """NumPy's generator, for arrays, seeded by 128 bits of a jax key."""
    return np.random.default_rng(np.asarray(jax.random.bits(key, (4,), np.uint32)))


class Draws:
    """Numbers one by one, of which each has a method like NumPy's, and a tenth of its cost: they
    come from uniform ones that `generator` draws in blocks."""

    def __init__(self, generator: np.random.Generator):
        self._uniform = _blocks(generator)

    def random(self) -> float:
        """Uniform on [0, 1)."""
        return next(self._uniform)

    def integers(self, high: int) -> int:
        """Uniform on 0 … high - 1, as far as 53 bits tell these apart."""
        return int(next(self._uniform) * high)

    def choice(self, items: Sequence[Item]) -> Item:
        return items[self.integers(len(items))]

    def permutation(self, items: Sequence[Item]) -> list[Item]:
        """The items in random order."""
        return sorted(items, key=lambda _: next(self._uniform))


def _blocks(generator):
    while True:
        yield from generator.random(BLOCK).tolist()
