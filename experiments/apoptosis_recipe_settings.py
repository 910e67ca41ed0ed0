"""Settings of recipes in the studies of plasticity: what may be changed, what tuning searches.

A study's recipes are values with `settings`, by name; an arm is a dataclass with a `recipe`, a
`learning_rate` and `settings`, pairs `((name, value), …)`.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import qmc

INTERVAL = "interval"  # steps between two events: static, as all other settings are not


class Setting(NamedTuple):
    """A setting's default, the range that tuning searches on a logarithmic scale, if any, and the
    most it may be. With a `unit` it is a whole multiple of that; without, a number from 0 on."""

    default: float
    searched: tuple[float, float] | None = None
    most: float = math.inf
    unit: int | None = None


def steps(default: int, unit: int = 1) -> Setting:
    """A number of steps, in whole units."""
    return Setting(default, unit=unit)


def chosen(recipes: Mapping, given: Sequence[str]) -> dict[str, dict[str, float]]:
    """The settings of every recipe: its defaults, changed as `recipe.setting=value` says.

    Raises ValueError if one is not of that form, unknown, or no number that is allowed.
    """
    result = {
        name: {setting: of.default for setting, of in recipe.settings.items()}
        for name, recipe in recipes.items()
    }
    for text in given:
        path, _, number = text.partition("=")
        recipe, _, name = path.partition(".")
        if recipe not in recipes or name not in result[recipe]:
            known = [f"{r}.{s}" for r, own in result.items() for s in own]
            raise ValueError(
                f"settings must be recipe.setting=value, with one of {', '.join(known)}, "
                f"got {text!r}"
            )
        result[recipe][name] = _allowed(path, recipes[recipe].settings[name], number)
    return result


def _allowed(path, setting, number):
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    least, most, unit = setting.unit or 0, setting.most, setting.unit
    if not (least <= value <= most and value < math.inf) or (unit and value % unit):
        kinds = {None: "a number", 1: "a whole number"}
        kind = kinds.get(unit, f"a whole multiple of {unit}")
        bounds = f"in [{least:g}, {most:g}]" if most < math.inf else f"of at least {least:g}"
        raise ValueError(f"{path} must be {kind} {bounds}, got {number!r}")
    return value


def further(arm, recipes: Mapping, learning_rates: tuple[float, float], count: int) -> list:
    """`count` candidates for tuning `arm`: points of a Halton sequence over the learning rates and
    the settings that its recipe searches, all on logarithmic scales."""
    settings = recipes[arm.recipe].settings
    spaces = {name: of.searched for name, of in settings.items() if of.searched}
    low, high = np.log([learning_rates, *spaces.values()]).T
    halton = qmc.Halton(len(low), scramble=False)
    halton.fast_forward(1)  # its first point is the corner of the space
    points = np.exp(low + halton.random(count) * (high - low)) if count else []
    rows = [[float(f"{value:.4g}") for value in point] for point in points]
    return [
        dataclasses.replace(
            arm,
            learning_rate=rate,
            settings=tuple((dict(arm.settings) | dict(zip(spaces, row, strict=True))).items()),
        )
        for rate, *row in rows
    ]
