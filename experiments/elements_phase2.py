"""The full factorial: 8 activations × 5 depths × 4 widths × 9 datasets × 5 trials."""

import dataclasses

from elements import datasets
from experiments import elements_analysis, elements_study
from experiments.elements_grid import Grid
from experiments.shell import cli


@dataclasses.dataclass(frozen=True)
class Phase2(Grid):
    activations: tuple[str, ...] = cli.field(
        ("relu", "leaky_relu", "tanh", "gelu", "sigmoid", "sine", "swish", "linear"),
        "activations, by name",
    )
    widths: tuple[int, ...] = cli.field((2, 4, 8, 16), "widths of the hidden layers")
    datasets: tuple[str, ...] = cli.field(datasets.NAMES, "datasets, by name")
    trials: int = cli.field(5, "data draws and initialisations, shared by all elements")


def analyse(outcome):
    return elements_analysis.grid(outcome.population, outcome.rows)


STUDY = elements_study.Study(
    "elements_phase2",
    "The periodic table of small networks: the full factorial",
    "How do activation, depth and width act together over all nine datasets?",
    analyse,
)


def main(study: Phase2, options: cli.Options):
    return elements_study.execute(STUDY, study.population, options)


if __name__ == "__main__":
    cli.main(Phase2, main, __doc__)
