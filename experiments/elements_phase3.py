"""Robustness: which activation trains well at which depth, over data draws and initialisations?

relu, tanh, gelu, sigmoid, sine and leaky_relu × 1 to 5 hidden layers of 8 × four datasets × 20
trials, plain full-batch gradient descent. The periodic table itself.
"""

import dataclasses

from experiments import elements_analysis, elements_study
from experiments.elements_grid import Grid
from experiments.shell import cli

# Training accuracy in % after 500 epochs of gd, 20 trials that shared one draw of the data.
DATASETS = ("circles", "moons", "spirals", "xor")
PUBLISHED = {
    "leaky_relu": "97.5/88.5/61.0/100 99.0/94.9/69.9/100 99.9/99.1/74.7/100 100/99.1/81.4/100 100/100/79.3/100",
    "relu": "96.8/89.3/65.8/100 99.5/93.6/66.6/98.8 99.9/98.6/72.4/100 98.6/99.5/75.3/100 100/99.4/80.0/100",
    "sine": "76.1/89.2/66.6/100 92.3/90.5/70.7/100 98.3/97.2/76.8/100 96.9/98.2/79.8/100 99.2/99.4/83.0/100",
    "tanh": "78.1/88.4/68.1/100 90.3/91.6/67.1/100 95.4/98.0/73.8/100 99.8/98.4/70.3/100 100/100/76.4/100",
    "gelu": "90.6/88.3/62.0/100 91.7/88.4/64.2/100 92.9/92.5/63.0/100 90.7/94.2/68.5/100 77.8/96.3/70.0/97.5",
    "sigmoid": "56.8/84.2/65.9/61.1 55.2/80.8/66.5/54.2 50.9/77.9/62.0/51.4 50.4/61.8/55.2/50.1 50.5/60.6/53.0/50.3",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Phase3(Grid):
    activations: tuple[str, ...] = cli.field(
        ("relu", "tanh", "gelu", "sigmoid", "sine", "leaky_relu"), "activations, by name"
    )
    datasets: tuple[str, ...] = cli.field(
        ("xor", "spirals", "moons", "circles"), "datasets, by name"
    )


def published() -> dict[tuple[str, int, str], float]:
    """Published training accuracy in [0, 1] by (activation, depth, dataset), all 8 wide."""
    return {
        (activation, depth, dataset): float(value) / 100
        for activation, row in PUBLISHED.items()
        for depth, cell in enumerate(row.split(), start=1)
        for dataset, value in zip(DATASETS, cell.split("/"), strict=True)
    }


def analyse(population, rows, curves):
    parts = elements_analysis.grid(population, rows)
    reference = elements_analysis.against_published(population, rows, published())
    if reference and population.protocol == "gd":
        parts["tables"] |= reference
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
