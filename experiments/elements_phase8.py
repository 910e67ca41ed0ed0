"""Composition and transfer: do networks gain from layers learnt before, or from each other?

relu, sine, tanh and leaky_relu × {frozen bottoms of 1 and 3 layers below 1 and 3 new ones; donors
from every dataset to every dataset, frozen and fine-tuned; 7 initialisations} × four datasets × 20
trials of 500 points, a fifth of which is held back for validation. Every answer is measured
against networks that learn from scratch, and against a random bottom or the members themselves.
"""

import dataclasses

import numpy as np

from elements import element, names
from experiments import (
    elements_composition,
    elements_ensembles,
    elements_findings,
    elements_study,
    elements_transfer,
    elements_votes,
)
from experiments.elements_grid import Grid
from experiments.elements_population import Arm, Population
from experiments.shell import cli

PARTS = ("stacking", "transfer", "ensembles")


@dataclasses.dataclass(frozen=True)
class Phase8(Grid):
    activations: tuple[str, ...] = cli.field(
        ("relu", "sine", "tanh", "leaky_relu"), "activations, by name"
    )
    depths: tuple[int, ...] = cli.field(
        (3,), "numbers of hidden layers of the networks of transfer and ensembles"
    )
    datasets: tuple[str, ...] = cli.field(
        ("xor", "spirals", "moons", "circles"),
        "datasets, by name; transfer goes from each to each, itself included as a control",
    )
    samples: int = cli.field(500, "points of a trial, those held back included")
    held_back: int = cli.field(20, "per cent of the points that are kept for validation")
    parts: tuple[str, ...] = cli.field(PARTS, "parts of the study to run")
    bottoms: tuple[int, ...] = cli.field((1, 3), "hidden layers of the frozen bottoms of stacking")
    tops: tuple[int, ...] = cli.field((1, 3), "hidden layers that are stacked on top of them")
    members: int = cli.field(
        7, "initialisations on the same data; ensembles are of the first 3, 5, … of them"
    )

    def __post_init__(self):
        for part in self.parts:
            names.find(part, PARTS, "part")
        for name in ("parts", "bottoms", "tops", "activations", "depths", "widths", "skips"):
            values = getattr(self, name)
            if not values:
                raise ValueError(f"the grid is empty: --{name} names nothing")
            if len(set(values)) < len(values):
                twice = next(v for v in values if values.count(v) > 1)
                raise ValueError(f"{name} names {twice!r} twice")
        for name in ("bottoms", "tops"):
            if min(getattr(self, name)) < 1:
                low = min(getattr(self, name))
                raise ValueError(f"{name} takes numbers of layers from 1 on, got {low}")
        if "ensembles" in self.parts:
            if self.members < 3:
                raise ValueError(f"an ensemble needs members of at least 3, got {self.members}")
            counts = self.population.counts(self.population.arms[0])
            if not counts["validation"]:
                raise ValueError(
                    f"ensembles need validation data: held_back={self.held_back} is no point of "
                    f"{self.samples}"
                )
        super().__post_init__()

    @property
    def population(self) -> Population:
        """All arms of the chosen parts; one that two parts need is trained once."""
        kinds = [(a, s, w) for a in self.activations for s in self.skips for w in self.widths]
        of = lambda kind, depth: element.square(kind[0], depth, kind[2], bool(kind[1]))
        arms = []
        for kind in kinds:
            if "stacking" in self.parts:
                for bottom in self.bottoms:
                    for top in self.tops:
                        arms += _stacked(of(kind, bottom + top), bottom)
            for depth in self.depths:
                one = of(kind, depth)
                if "transfer" in self.parts:
                    arms += _transferred(one, self.datasets)
                if "ensembles" in self.parts:
                    arms += [Arm(one, member=m) for m in range(self.members)]
        return Population(tuple(dict.fromkeys(arms)), **self.settings())


def _stacked(whole, bottom) -> list[Arm]:
    frozen = {"bottom": bottom, "frozen": bottom}
    return [Arm(whole), Arm(whole, **frozen), Arm(whole, **frozen, trained=False)]


def _transferred(one, sources) -> list[Arm]:
    depth = one.depth
    donors = [Arm(one, bottom=depth, source=s, frozen=f) for f in (depth, 0) for s in sources]
    return [Arm(one), *donors, Arm(one, bottom=depth, frozen=depth, trained=False)]


def analyse(outcome):
    population = outcome.population
    arms = elements_composition.Arms(population, outcome.cube("test_accuracy"))
    failed = elements_findings.failures(population, int(np.sum(outcome.rows["diverged"])))
    parts = [
        elements_composition.stacking(arms),
        elements_transfer.transfer(arms),
        elements_ensembles.ensembles(elements_votes.judge(outcome)),
        {"findings": failed, "tables": elements_composition.table(arms)},
    ]
    merged = {"findings": [], "figures": {}, "tables": {}}
    for part in parts:
        merged["findings"] += part.get("findings", [])
        for kind in ("figures", "tables"):
            merged[kind] |= part.get(kind, {})
    return merged


STUDY = elements_study.Study(
    "elements_phase8",
    "The periodic table of small networks: composition and transfer",
    "Do layers that were learnt before help a new network, on the same data (stacking) or on "
    "others (transfer), and do networks that differ in their initialisation alone help each other "
    "(ensembles)? Donors learn for as many epochs as the networks that take their layers over; "
    "from scratch means as many epochs on the target itself.",
    analyse,
)


def main(study: Phase8, options: cli.Options):
    return elements_study.execute(STUDY, study.population, options)


if __name__ == "__main__":
    cli.main(Phase8, main, __doc__)
