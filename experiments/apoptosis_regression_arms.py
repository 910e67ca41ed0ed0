"""The arms of the regression benchmark: recipes with settings, and the candidates for tuning."""

import dataclasses
from collections.abc import Mapping, Sequence

from apoptosis import regression
from experiments import apoptosis_recipe_settings as settings_of
from experiments.apoptosis_recipe_settings import INTERVAL
from experiments.apoptosis_regression_recipes import LINEAR, RECIPES

LEARNING_RATES = (3e-4, 3e-2)  # those searched; above, gradient descent diverges


@dataclasses.dataclass(frozen=True)
class Arm:
    """A recipe with all its settings `((name, value), …)`, an activation and a learning rate."""

    recipe: str
    activation: str
    learning_rate: float
    settings: tuple[tuple[str, float], ...] = ()

    @property
    def network(self) -> regression.Network:
        if self.recipe == LINEAR:
            return regression.Network(hidden=0)
        return regression.Network(self.activation)

    @property
    def interval(self) -> int:
        return int(dict(self.settings).get(INTERVAL, 1))

    @property
    def species(self) -> tuple:
        """What is static: arms of one species share a program."""
        return self.recipe, self.network, self.interval

    @property
    def hyper(self) -> dict[str, float]:
        """What is traced."""
        settings = {name: value for name, value in self.settings if name != INTERVAL}
        return {"learning_rate": self.learning_rate, **settings}

    @property
    def name(self) -> str:
        told = [self.recipe]
        told += [] if self.recipe == LINEAR else [self.activation]
        return f"{' '.join(told)} {self.learning_rate:.3g}"

    @property
    def told(self) -> str:
        """The settings in words."""
        return ", ".join(f"{name} {value:.4g}" for name, value in self.settings)


def learner(recipe: str, network: regression.Network, interval: int, hyper) -> regression.Learner:
    """The learner of an arm, from its `species` and its `hyper`, which may be traced."""
    settings = {name: value for name, value in hyper.items() if name != "learning_rate"}
    settings[INTERVAL] = interval
    return RECIPES[recipe].build(network, hyper["learning_rate"], settings)


def settings(given: Sequence[str]) -> dict[str, dict[str, float]]:
    """As `apoptosis_recipe_settings.chosen`, of the recipes of this study."""
    return settings_of.chosen(RECIPES, given)


def grid(
    recipes: Sequence[str],
    activations: Sequence[str],
    learning_rates: Sequence[float],
    chosen: Mapping[str, Mapping[str, float]],
) -> tuple[Arm, ...]:
    """Every recipe × activation × learning rate; a linear learner has no activation."""
    arms = [
        Arm(recipe, "none" if recipe == LINEAR else activation, rate, tuple(chosen[recipe].items()))
        for recipe in recipes
        for activation in activations
        for rate in learning_rates
    ]
    return tuple(dict.fromkeys(arms))


def candidates(arms: Sequence[Arm], budget: int) -> tuple[Arm, ...]:
    """`budget` candidates for every recipe × activation in `arms`: those arms themselves first.

    The others are `apoptosis_recipe_settings.further`. Raises ValueError if the arms exceed the
    budget.
    """
    families: dict[tuple, list[Arm]] = {}
    for arm in arms:
        families.setdefault((arm.recipe, arm.activation), []).append(arm)
    found = []
    for own in families.values():
        if len(own) > budget:
            raise ValueError(
                f"tune must be at least {len(own)}, the number of learning rates, got {budget}"
            )
        more = settings_of.further(own[0], RECIPES, LEARNING_RATES, budget - len(own))
        found += own + more
    return tuple(found)
