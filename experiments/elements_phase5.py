"""Architecture space: which shape of network makes the most of its parameters?

Bottlenecks, widening, narrowing, flat and deep shapes, and families of equal width from 1 to 8
hidden layers with about 200 and about 1,000 parameters; relu, sine, tanh and leaky_relu × four
datasets × 20 trials. Every architecture is judged by itself.
"""

import bisect
import dataclasses
import functools
from collections.abc import Sequence

from elements import element
from elements.element import Element
from experiments import elements_architecture, elements_study
from experiments.elements_grid import Conditions
from experiments.elements_population import Population
from experiments.shell import cli

OFF = 0.25  # a family's networks have its number of parameters to within a quarter


def matched(target: int, depth: int, activation: str = "relu") -> Element:
    """The element of `depth` equally wide hidden layers with closest to `target` parameters.

    Of two equally close widths the narrower. Raises ValueError where none is within a quarter.
    """
    if target < 1:
        raise ValueError(f"families takes numbers of parameters from 1 on, got {target}")
    at = lambda width: element.square(activation, depth, width)
    above = 1 + bisect.bisect_left(range(1, target), target, key=lambda w: at(w).parameters)
    best = min((at(w) for w in (max(above - 1, 1), above)), key=lambda e: _away(e, target))
    if _away(best, target) > OFF * target:
        raise ValueError(
            f"no equal width of {depth} hidden layers comes within {100 * OFF:g} % of {target} "
            f"parameters: the closest, {best.width}, has {best.parameters}"
        )
    return best


def _away(e: Element, target: int) -> int:
    return abs(e.parameters - target)


def shaped(shape: str, activation: str = "relu") -> Element:
    """The element of a shape: `64`, `32_8_32`, `3x8`, each perhaps with `-skip`."""
    layers, skip, rest = shape.partition("-skip")
    text = f"1x{layers}" if layers.isascii() and layers.isdigit() else layers
    try:
        return dataclasses.replace(element.parse(f"rel-{text}{skip}{rest}"), activation=activation)
    except ValueError:
        raise ValueError(
            f"{shape!r} is not a shape (widths of at least 1, as in 64, 32_8_32, 3x8 or 8_8_8-skip)"
        ) from None


@dataclasses.dataclass(frozen=True)
class Phase5(Conditions):
    """Shapes and families, each with every activation; one that is named twice is trained once."""

    activations: tuple[str, ...] = cli.field(
        ("relu", "sine", "tanh", "leaky_relu"), "activations, by name"
    )
    shapes: tuple[str, ...] = cli.field(
        (
            *("32_8_32", "16_4_16", "8_2_8", "4_8_16", "16_8_4", "4_8_16_8_4"),
            *("64", "32", "12_12", "8_8_8", "8_8_8_8_8"),
            *("5_5_5", "17_17_17"),  # as many parameters as 8_2_8 and 32_8_32, without a bottleneck
        ),
        "widths of the hidden layers, such as 32_8_32, 64 or 3x8; with -skip for skip connections",
    )
    families: tuple[int, ...] = cli.field(
        (200, 1000), "numbers of parameters at which networks of different depth are compared"
    )
    family_depths: tuple[int, ...] = cli.field(
        (1, 2, 3, 4, 5, 6, 7, 8), "numbers of hidden layers, equally wide, in each family"
    )
    datasets: tuple[str, ...] = cli.field(
        ("xor", "spirals", "moons", "circles"), "datasets, by name"
    )

    def __post_init__(self):
        for name in ("activations", "datasets"):
            if not getattr(self, name):
                raise ValueError(f"the grid is empty: --{name} names nothing")
        if not self.architectures:
            raise ValueError("the grid is empty: --shapes and --families name nothing")
        _ = self.population  # refuses what cannot be trained

    @property
    def architectures(self) -> tuple[Element, ...]:
        """The architectures, of relu, in the order in which they are named first."""
        listed = [shaped(shape) for shape in self.shapes]
        families = family_members(self.families, self.family_depths).values()
        return tuple(dict.fromkeys([*listed, *(e for members in families for e in members)]))

    @property
    def population(self) -> Population:
        arms = tuple(
            dataclasses.replace(one, activation=activation)
            for activation in self.activations
            for one in self.architectures
        )
        return Population(arms, **self.settings())


def family_members(targets: Sequence[int], depths: Sequence[int]) -> dict[int, list[Element]]:
    """The matched elements of every target, by depth from shallow to deep."""
    return {target: [matched(target, d) for d in sorted(set(depths))] for target in targets}


def study(families: Sequence[int], depths: Sequence[int]) -> elements_study.Study:
    """The study whose analysis knows of these families."""
    members = {
        target: [e.widths for e in found]
        for target, found in family_members(families, depths).items()
    }
    return elements_study.Study(
        "elements_phase5",
        "The periodic table of small networks: architecture space",
        "Which shape of network makes the most of its parameters, when every architecture is "
        "judged by itself: deep or shallow, with a bottleneck or without, widening or narrowing?",
        functools.partial(elements_architecture.analyse, families=members),
    )


STUDY = study(Phase5.families, Phase5.family_depths)


def main(chosen: Phase5, options: cli.Options):
    own = study(chosen.families, chosen.family_depths)
    return elements_study.execute(own, chosen.population, options)


if __name__ == "__main__":
    cli.main(Phase5, main, __doc__)
