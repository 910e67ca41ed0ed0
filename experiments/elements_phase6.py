"""Learning dynamics: how fast, how steadily, and what goes on in the layers meanwhile?

relu, tanh, gelu, sigmoid, sine and leaky_relu × 1 to 5 hidden layers of 8 × four datasets × 20
trials, 1,000 epochs, of which every tenth is recorded: loss, accuracies and, layer by layer,
gradients, weights and features.
"""

import dataclasses

from experiments import elements_dynamics, elements_study
from experiments.elements_grid import Grid
from experiments.shell import cli


@dataclasses.dataclass(frozen=True)
class Phase6(Grid):
    activations: tuple[str, ...] = cli.field(
        ("relu", "tanh", "gelu", "sigmoid", "sine", "leaky_relu"), "activations, by name"
    )
    datasets: tuple[str, ...] = cli.field(
        ("xor", "spirals", "moons", "circles"), "datasets, by name"
    )
    epochs: int = cli.field(1000, "full-batch steps of training")
    record_every: int = cli.field(10, "epochs between two records")
    record_gradients: bool = cli.field(True, "record the gradient's norm, layer by layer")
    record_weight_stats: bool = cli.field(
        True, "record weights, saturation, dead units and the features' rank, layer by layer"
    )


STUDY = elements_study.Study(
    "elements_phase6",
    "The periodic table of small networks: learning dynamics",
    "How soon does a network of one activation and depth get where it gets, how steady is it then, "
    "and what do gradients, weights and features do in its layers meanwhile?",
    elements_dynamics.analyse,
)


def main(study: Phase6, options: cli.Options):
    return elements_study.execute(STUDY, study.population, options)


if __name__ == "__main__":
    cli.main(Phase6, main, __doc__)
