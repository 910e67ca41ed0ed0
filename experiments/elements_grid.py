"""The grid of activations × depths × widths × skip × datasets that a study declares."""

import dataclasses

from elements import element
from experiments.elements_population import Population
from experiments.shell.cli import field


@dataclasses.dataclass(frozen=True)
class Conditions:
    """Under what a study trains, whatever it trains."""

    trials: int = field(20, "data draws and initialisations, shared by all elements")
    epochs: int = field(500, "full-batch steps of training")
    record_every: int = field(50, "epochs between two points of the learning curves")
    protocol: str = field("gd", "gd (gradient descent), adam, or tuned (searched per element)")
    learning_rate: float | None = field(None, "learning rate; by default the protocol's own")
    samples: int = field(200, "training points")
    tests: int = field(1000, "held-out points of the same distribution")
    noise: float | None = field(None, "noise of the data; by default each dataset's own")
    grid: int = field(4, "cells per side of the checkerboard")
    margin: float = field(1.0, "distance of either blob of `linear` from the origin")
    seed: int = field(0, "seed of all random numbers")

    def settings(self) -> dict:
        """What the study says of a population besides its arms, by name."""
        own = {f.name for f in dataclasses.fields(self)}
        shared = [f.name for f in dataclasses.fields(Population) if f.name in own]
        return {name: getattr(self, name) for name in shared}


@dataclasses.dataclass(frozen=True)
class Grid(Conditions):
    """A full factorial; a study subclasses it and gives its own defaults."""

    activations: tuple[str, ...] = field(("relu", "tanh"), "activations, by name")
    depths: tuple[int, ...] = field((1, 2, 3, 4, 5), "numbers of hidden layers")
    widths: tuple[int, ...] = field((8,), "widths of the hidden layers")
    skips: tuple[int, ...] = field((0,), "0 for plain networks, 1 for skip connections, or both")
    datasets: tuple[str, ...] = field(("xor",), "datasets, by name")

    def __post_init__(self):
        for name in ("activations", "depths", "widths", "skips", "datasets"):
            if not getattr(self, name):
                raise ValueError(f"the grid is empty: --{name} names nothing")
        for skip in self.skips:
            if skip not in (0, 1):
                raise ValueError(f"skips takes 0 and 1, got {skip}")
        _ = self.population  # refuses what cannot be trained

    @property
    def population(self) -> Population:
        """All elements of the grid, and the rest as it is."""
        elements = tuple(
            element.square(activation, depth, width, bool(skip))
            for activation in self.activations
            for skip in self.skips
            for width in self.widths
            for depth in self.depths
        )
        return Population(elements, **self.settings())
