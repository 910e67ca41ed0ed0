"""What all studies of elements train: elements × datasets × trials, and how."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from elements import datasets, learner
from elements.element import Element
from experiments.lab import keys, population


@dataclasses.dataclass(frozen=True)
class Population:
    """`elements` × `datasets` × `trials` networks and how they are trained.

    Arms are paired: trial t of every element sees the same data and the same initial draws.
    None stands for the protocol's learning rate and each dataset's own noise.
    """

    elements: tuple[Element, ...]
    datasets: tuple[str, ...]
    trials: int = 20
    epochs: int = 500
    record_every: int = 50
    protocol: str = "gd"
    learning_rate: float | None = None
    samples: int = 200
    tests: int = 1000
    noise: float | None = None
    grid: int = 4
    margin: float = 1.0
    seed: int = 0

    def __post_init__(self):
        for name in ("elements", "datasets"):
            values = getattr(self, name)
            if not values:
                raise ValueError(f"the grid is empty: no {name}")
            if len(set(values)) < len(values):
                twice = next(v for v in values if values.count(v) > 1)
                raise ValueError(f"{name} names {getattr(twice, 'symbol', twice)!r} twice")
        for name, least in (("trials", 1), ("epochs", 1), ("record_every", 1), ("grid", 1)):
            _at_least(name, getattr(self, name), least)
        for name in ("samples", "tests"):
            _at_least(name, getattr(self, name), 2)
        for name in ("noise", "learning_rate"):
            if getattr(self, name) is not None and not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in self.datasets:
            datasets.find(name)
        learner.protocol(self.protocol)
        keys.check(self.seed)

    @property
    def size(self) -> int:
        return len(self.elements) * len(self.datasets) * self.trials

    @property
    def rate(self) -> float:
        """The learning rate in force."""
        given = self.learning_rate
        return learner.protocol(self.protocol).learning_rate if given is None else given

    @property
    def epochs_recorded(self) -> np.ndarray:
        return np.cumsum(population.schedule(self.epochs, self.record_every))

    def settings(self) -> dict:
        """The resolved population as JSON values."""
        content = dataclasses.asdict(self)
        content["elements"] = [element.symbol for element in self.elements]
        content["datasets"] = list(self.datasets)
        content["learning_rate"] = self.rate
        return content


def _at_least(name, value, least):
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


class Group(NamedTuple):
    """Elements that share one program: equal widths up to a cut, in slots of `widths`."""

    widths: tuple[int, ...]
    elements: tuple[int, ...]  # positions in the population


def groups(elements: Sequence[Element]) -> list[Group]:
    """Square elements of one width share a program as deep as the deepest; others by widths."""
    together: dict[tuple, list[int]] = {}
    for i, element in enumerate(elements):
        square = len(set(element.widths)) == 1
        together.setdefault((element.width,) if square else element.widths, []).append(i)
    return [
        Group(max((elements[i].widths for i in members), key=len), tuple(members))
        for members in together.values()
    ]
