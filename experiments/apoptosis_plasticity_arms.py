"""The arms of the study of plasticity: recipes with settings, and the candidates for tuning."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import qmc

from apoptosis import successive
from experiments.apoptosis_plasticity_recipes import INTERVAL, RECIPES

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
    """The settings of every recipe: its defaults, changed as `recipe.setting=value` says.

    Raises ValueError if one is not of that form, unknown, or no number that is allowed.
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
        whole, unit = name == INTERVAL, RECIPES[recipe].every or 1
        least, most = float(unit) if whole else 0.0, RECIPES[recipe].settings[name].most
        if not (least <= value <= most and value < np.inf) or (whole and value % unit):
            kind = f"a whole multiple of {unit}" if whole else "a number"
            bounds = f"in [{least:g}, {most:g}]" if most < np.inf else f"of at least {least:g}"
            raise ValueError(f"{path} must be {kind} {bounds}, got {number!r}")
        result[recipe][name] = value
    return result


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
    """`budget` candidates for each of `arms`, itself the first.

    The others are points of a Halton sequence over the learning rate and the settings that the
    recipe searches, all on logarithmic scales.
    """
    return tuple(one for arm in arms for one in (arm, *_further(arm, optimiser, budget - 1)))


def _further(arm, optimiser, count):
    spaces = {name: of.searched for name, of in RECIPES[arm.recipe].settings.items()}
    spaces = {name: searched for name, searched in spaces.items() if searched}
    low, high = np.log([LEARNING_RATES[optimiser], *spaces.values()]).T
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
