"""The arms of the study of plasticity: recipes with settings, and the candidates for tuning."""

import dataclasses
from collections.abc import Mapping, Sequence

from apoptosis import successive
from experiments import apoptosis_recipe_settings as settings_of
from experiments.apoptosis_plasticity_recipes import RECIPES
from experiments.apoptosis_recipe_settings import INTERVAL

LEARNING_RATES = {"adam": (1e-4, 1e-2), "sgd": (3e-3, 0.3)}  # those searched


@dataclasses.dataclass(frozen=True)
class Arm:
    """A recipe with all its settings `((name, value), …)` on tasks of a kind."""

    kind: str
    recipe: str
    learning_rate: float
    settings: tuple[tuple[str, float], ...] = ()

    @property
    def interval(self) -> int:
        return int(dict(self.settings).get(INTERVAL, 1))

    @property
    def every(self) -> int:
        """Steps between two updates of the recipe's transform."""
        return RECIPES[self.recipe].every or self.interval

    @property
    def species(self) -> tuple[str, int]:
        """What is static: arms of one species share a program."""
        return self.recipe, self.interval

    @property
    def hyper(self) -> dict[str, float]:
        """What is traced; `permuted` says of which kind the tasks are."""
        settings = {name: value for name, value in self.settings if name != INTERVAL}
        permuted = float(self.kind == "permuted")
        return {"permuted": permuted, "learning_rate": self.learning_rate, **settings}

    @property
    def name(self) -> str:
        return f"{self.kind} {self.recipe}"

    @property
    def told(self) -> str:
        """Learning rate and settings in words."""
        own = [("learning rate", self.learning_rate), *self.settings]
        return ", ".join(f"{name} {value:.4g}" for name, value in own)


def learner(
    species: tuple[str, int], network: successive.Network, optimiser: str, hyper: Mapping
) -> successive.Learner:
    """The learner of an arm, from its `species` and its `hyper`, which may be traced."""
    recipe, interval = species
    settings = {n: v for n, v in hyper.items() if n not in ("permuted", "learning_rate")}
    settings |= {INTERVAL: interval} if INTERVAL in RECIPES[recipe].settings else {}
    return RECIPES[recipe].build(network, optimiser, hyper["learning_rate"], settings)


def settings(given: Sequence[str]) -> dict[str, dict[str, float]]:
    """As `apoptosis_recipe_settings.chosen`, of the recipes of this study."""
    return settings_of.chosen(RECIPES, given)


def grid(
    kinds: Sequence[str],
    recipes: Sequence[str],
    learning_rate: float,
    chosen: Mapping[str, Mapping[str, float]],
) -> tuple[Arm, ...]:
    """Every kind of tasks × recipe."""
    return tuple(
        Arm(kind, recipe, learning_rate, tuple(chosen[recipe].items()))
        for kind in kinds
        for recipe in recipes
    )


def candidates(arms: Sequence[Arm], optimiser: str, budget: int) -> tuple[Arm, ...]:
    """`budget` candidates for each of `arms`, itself the first."""
    rates = LEARNING_RATES[optimiser]
    return tuple(
        one for arm in arms for one in (arm, *settings_of.further(arm, RECIPES, rates, budget - 1))
    )
