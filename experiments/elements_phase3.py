"""Robustness: which activation trains well at which depth, over data draws and initialisations?

relu, tanh, gelu, sigmoid, sine and leaky_relu × 1 to 5 hidden layers of 8 × four datasets × 20
trials, plain full-batch gradient descent. The periodic table itself.
"""

import dataclasses

from experiments import elements_analysis, elements_published, elements_study
from experiments.elements_grid import Grid
from experiments.shell import cli


@dataclasses.dataclass(frozen=True)
class Phase3(Grid):
    activations: tuple[str, ...] = cli.field(
        ("relu", "tanh", "gelu", "sigmoid", "sine", "leaky_relu"), "activations, by name"
    )
    datasets: tuple[str, ...] = cli.field(
        ("xor", "spirals", "moons", "circles"), "datasets, by name"
    )


def analyse(outcome):
    parts = elements_analysis.grid(outcome.population, outcome.rows)
    parts["tables"] |= elements_published.table(outcome.population, outcome.rows)
    return parts


STUDY = elements_study.Study(
    "elements_phase3",
    "The periodic table of small networks: robustness",
    "Which activation trains well at which depth, when the data and the initialisation are drawn "
    "anew in every trial and accuracy is measured on held-out points?",
    analyse,
)


def main(study: Phase3, options: cli.Options):
    return elements_study.execute(STUDY, study.population, options)


if __name__ == "__main__":
    cli.main(Phase3, main, __doc__)
