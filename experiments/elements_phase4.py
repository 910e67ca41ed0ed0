"""Depth limits: how deep can a network of one activation be before it learns nothing?

sigmoid, relu, sine and tanh × 1 to 10 hidden layers of 8 × {plain, skip} × four datasets × 20
trials. The question is 6, 7, 8 and 10 layers; the shallower ones bracket the depth at which an
activation gives way.
"""

import dataclasses

from experiments import elements_depth, elements_study
from experiments.elements_grid import Grid
from experiments.shell import cli


@dataclasses.dataclass(frozen=True)
class Phase4(Grid):
    activations: tuple[str, ...] = cli.field(
        ("sigmoid", "relu", "sine", "tanh"), "activations, by name"
    )
    depths: tuple[int, ...] = cli.field(
        (1, 2, 3, 4, 5, 6, 7, 8, 10),
        "numbers of hidden layers; below 6 they only serve to find where accuracy falls",
    )
    skips: tuple[int, ...] = cli.field(
        (0, 1), "0 for plain networks, 1 for skip connections, or both"
    )
    datasets: tuple[str, ...] = cli.field(
        ("xor", "spirals", "moons", "circles"), "datasets, by name"
    )


STUDY = elements_study.Study(
    "elements_phase4",
    "The periodic table of small networks: depth limits",
    "At what depth is a network of one activation no better than chance, what do skip connections "
    "change about it, and what do they cost where they are not needed? The question is the deep "
    "networks, of 6, 7, 8 and 10 hidden layers; the shallower ones are there to bracket the depth "
    "at which accuracy falls.",
    elements_depth.analyse,
)


def main(study: Phase4, options: cli.Options):
    return elements_study.execute(STUDY, study.population, options)


if __name__ == "__main__":
    cli.main(Phase4, main, __doc__)
