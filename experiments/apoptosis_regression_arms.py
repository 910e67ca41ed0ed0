"""The arms of the regression benchmark: recipes with settings, and the candidates for tuning."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import qmc

from apoptosis import regression
from experiments.apoptosis_regression_recipes import INTERVAL, LINEAR, RECIPES

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
    """The settings of every recipe: its defaults, changed as `recipe.setting=value` says.

    Raises ValueError if one is not of that form, unknown, or no finite number.
    """
    result = {
        name: {setting: of.default for setting, of in recipe.settings.items()}
        for name, recipe in RECIPES.items()
    }
    for text in given:
        path, _, number = text.partition("=")
        recipe, _, name = path.partition(".")
        if recipe not in RECIPES or name not in result[recipe]:
            known = [f"{r}.{s}" for r, own in result.items() for s in own]
            raise ValueError(
                f"settings must be recipe.setting=value, with one of {', '.join(known)}, "
                f"got {text!r}"
            )
        try:
            value = float(number)
        except ValueError:
            value = np.nan
        least, most = float(name == INTERVAL), RECIPES[recipe].settings[name].most
        if not least <= value <= most or (name == INTERVAL and (value % 1 or value == np.inf)):
            kind = "a whole number" if name == INTERVAL else "a number"
            bounds = f"in [{least:g}, {most:g}]" if most < np.inf else f"of at least {least:g}"
            raise ValueError(f"{path} must be {kind} {bounds}, got {number!r}")
        result[recipe][name] = value
    return result


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

    The others are points of a Halton sequence over the learning rate and the settings that the
    recipe searches, all on logarithmic scales. Raises ValueError if the arms exceed the budget.
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
        found += own + _further(own[0], budget - len(own))
    return tuple(found)


def _further(arm, count):
    spaces = {name: of.searched for name, of in RECIPES[arm.recipe].settings.items()}
    spaces = {name: searched for name, searched in spaces.items() if searched}
    low, high = np.log([LEARNING_RATES, *spaces.values()]).T
    halton = qmc.Halton(len(low), scramble=False)
    halton.fast_forward(1)  # its first point is the corner of the space
    rows = np.exp(low + halton.random(count) * (high - low)) if count else []
    return [
        dataclasses.replace(
            arm,
            learning_rate=float(f"{rate:.4g}"),
            settings=tuple((dict(arm.settings) | _named(spaces, values)).items()),
        )
        for rate, *values in rows
    ]


def _named(spaces, values):
    return {name: float(f"{v:.4g}") for name, v in zip(spaces, values, strict=True)}
