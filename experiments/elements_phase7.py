"""Generalisation: how do accuracy and its estimates depend on the number of points, and what do
noise on the inputs and wrong labels cost?

Six activations × depth 3 × {50, 100, 200, 500, 1000 points; at 200 points also 10, 20 and 40 %
wrong labels} × four datasets × 20 trials. Of every trial's points 20 % are held back for
validation, and each network is judged on 1,000 further ones, which are nobody's to choose by.
"""

import dataclasses
from typing import ClassVar

from experiments import elements_generalisation, elements_study
from experiments.elements_grid import Grid
from experiments.elements_population import Arm, Population
from experiments.shell import cli


@dataclasses.dataclass(frozen=True)
class Phase7(Grid):
    activations: tuple[str, ...] = cli.field(
        ("relu", "tanh", "gelu", "sigmoid", "sine", "leaky_relu"), "activations, by name"
    )
    depths: tuple[int, ...] = cli.field((3,), "numbers of hidden layers")
    datasets: tuple[str, ...] = cli.field(
        ("xor", "spirals", "moons", "circles"), "datasets, by name"
    )
    samples: ClassVar[None] = None  # takes the flag back: `sizes` and `flip_size` say it
    sizes: tuple[int, ...] = cli.field(
        (50, 100, 200, 500, 1000), "points of a trial, those held back included"
    )
    held_back: int = cli.field(20, "per cent of the points that are kept for validation")
    flips: tuple[int, ...] = cli.field(
        (0, 10, 20, 40), "per cent of the training points with a wrong label; 0 is the control"
    )
    flip_size: int = cli.field(200, "points of a trial with wrong labels")
    sigmas: tuple[float, ...] = cli.field(
        (0.0, 0.1, 0.2, 0.3),
        "standard deviations of noise on the test points; 0 is the test accuracy itself",
    )
    noises: int = cli.field(10, "draws of that noise, over which accuracy is averaged")

    def __post_init__(self):
        if not self.sizes:
            raise ValueError("the grid is empty: --sizes names nothing")
        if any(self.flips) and 0 not in self.flips:
            raise ValueError(f"flips must contain 0, the control, got {self.flips}")
        super().__post_init__()
        for arm in self.population.arms:
            counts = self.population.counts(arm)
            for name, percent in (("validation", self.held_back), ("flipped", arm.flipped)):
                if percent and not counts[name]:
                    flag = {"validation": "held_back", "flipped": "flips"}[name]
                    raise ValueError(
                        f"{flag} must be enough for a pair of points, got {percent} % of the "
                        f"{arm.samples - (name == 'flipped') * counts['validation']}"
                    )

    @property
    def population(self) -> Population:
        """Every element of the grid at every size, and at `flip_size` with wrong labels."""
        clean = [(n, 0) for n in self.sizes]
        wrong = [(self.flip_size, f) for f in self.flips if any(self.flips)]
        kinds = clean + [kind for kind in wrong if kind[1] or kind not in clean]
        elements = [arm.element for arm in super().population.arms]
        arms = tuple(Arm(e, samples=n, flipped=f) for e in elements for n, f in kinds)
        sigmas = tuple(sigma for sigma in self.sigmas if sigma)
        settings = {**self.settings(), "samples": self.flip_size, "sigmas": sigmas}
        return Population(arms, **settings)


STUDY = elements_study.Study(
    "elements_phase7",
    "The periodic table of small networks: generalisation",
    "How far does what was learnt from so many points reach: to further points of the same "
    "distribution, to noisy ones, and past labels that were wrong?",
    elements_generalisation.analyse,
)


def main(study: Phase7, options: cli.Options):
    return elements_study.execute(STUDY, study.population, options)


if __name__ == "__main__":
    cli.main(Phase7, main, __doc__)
