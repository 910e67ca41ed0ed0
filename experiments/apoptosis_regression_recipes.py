"""The recipes of the regression benchmark: how each is built there, its settings, their ranges.

Learning is online: rates are of neurons, and events come after every `interval` steps of single
examples. What the field states per step (continual backpropagation) stays per step.

Two recipes have no place here. `layer_level` sets layers against each other, and there is but one:
its vitality is always the mean, so it is `standard`. `growth` ends after few births: either it has
more hidden units than all others, or it begins with fewer; and once grown it renews nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import optax

from apoptosis import recipes, regression, regression_renewal, unborn
from experiments.apoptosis_recipe_settings import INTERVAL, Setting, steps

BASELINE, LINEAR = "backprop", "linear"
RECORD = 128  # inputs of which the hidden units' outputs are known to an event that needs them
FADE = 5  # updates over which the dying fade, each after `interval` steps; then others begin to


class Recipe(NamedTuple):
    """What an arm does beside gradient descent.

    `build(network, learning_rate, settings) -> regression.Learner`; learning rate and settings may
    be traced, but for `interval`.
    """

    build: Callable[[regression.Network, object, Mapping[str, object]], regression.Learner]
    settings: Mapping[str, Setting]


def _backpropagation(network, learning_rate, settings):
    return regression.backpropagation(network, learning_rate)


def _l2(network, learning_rate, settings):
    return regression.backpropagation(network, learning_rate, settings["decay"])


def _renewing(make: Callable, keep: Sequence[str] = (), record=0, vacant=False):
    """The build of a recipe of `apoptosis.recipes`.

    `make(own, settings)` is its transform, to be applied at every event; `own` are the groups and
    the initialiser of the network, for recipes that take them. `keep` and `record`: the evidence.
    `vacant`: the recipe leaves places without a neuron, which must not learn.
    """

    def build(network, learning_rate, settings):
        settings = dict(settings)
        every = settings.pop(INTERVAL)
        initial = lambda key: regression.weights(key, network)
        groups = {"groups": regression_renewal.groups(network)}
        transform = make(groups, groups | {"initial": initial}, settings, every)
        optimiser = optax.sgd(learning_rate)
        if vacant:
            optimiser = unborn.masked(optimiser, **groups)
        return regression_renewal.renewing(
            network, optimiser, transform, every, keep=keep, record=record
        )

    return build


def _of_parents(recipe: Callable):
    """Children of survivors: the model's initialiser is not asked."""
    return lambda groups, fresh, settings, every: recipe(interval=1, **groups, **settings)


def _afresh(recipe: Callable):
    """Newborns as the model's initialiser draws them."""
    return lambda groups, fresh, settings, every: recipe(interval=1, **fresh, **settings)


def _per_step(recipe: Callable):
    """As `_afresh`, of a rate that is given per step: an event makes up for all of them."""

    def make(groups, fresh, settings, every):
        settings = settings | {"rate": settings["rate"] * every}
        return recipe(interval=1, **fresh, **settings)

    return make


def _gradual_fade(groups, fresh, settings, every):
    return recipes.gradual_fade(interval=FADE, fade_steps=FADE, **fresh, **settings)


def _hybrid(groups, fresh, settings, every):
    """Births at every second update, deaths at those between."""
    return recipes.hybrid(interval=2, overlap=1, **fresh, **settings)


def _l2_init(groups, fresh, settings, every):
    return recipes.l2_init(settings["rate"] * every, **groups)


_SHARE = Setting(0.1, (0.003, 0.3), 1)  # of the hidden units, at an event
_EVERY = steps(500)

RECIPES: Mapping[str, Recipe] = {
    BASELINE: Recipe(_backpropagation, {}),
    LINEAR: Recipe(_backpropagation, {}),
    "l2": Recipe(_l2, {"decay": Setting(1e-3, (1e-5, 1e-1))}),
    "l2_init": Recipe(
        _renewing(_l2_init), {"rate": Setting(1e-5, (1e-7, 1e-3), 0.01), INTERVAL: steps(10)}
    ),
    "shrink_and_perturb": Recipe(
        _renewing(_afresh(recipes.shrink_and_perturb)),
        {
            "rate": Setting(0.01, (1e-4, 0.3), 1),
            "noise": Setting(0.01, (1e-3, 0.3)),
            INTERVAL: _EVERY,
        },
    ),
    "continual_backprop": Recipe(
        _renewing(_per_step(recipes.continual_backprop), ("contribution", "mean")),
        {
            "rate": Setting(1e-4, (1e-6, 1e-3), 0.1),
            "maturity": Setting(100),
            INTERVAL: steps(10),
        },
    ),
    "redo": Recipe(
        _renewing(_afresh(recipes.redo), ("activation",)),
        {"threshold": Setting(0.025, (1e-3, 0.3)), INTERVAL: steps(1000)},
    ),
    "self_normalized_resets": Recipe(
        _renewing(_afresh(recipes.self_normalized_resets)),
        {"rejection": Setting(0.02, (1e-4, 0.1), 1), INTERVAL: steps(10)},
    ),
    "random": Recipe(_renewing(_afresh(recipes.random)), {"rate": _SHARE, INTERVAL: _EVERY}),
    "standard": Recipe(
        _renewing(_of_parents(recipes.standard), ("square", "gradient")),
        {"rate": _SHARE, INTERVAL: _EVERY},
    ),
    "functional": Recipe(
        _renewing(_afresh(recipes.functional), ("taylor",), RECORD),
        {"rate": _SHARE, INTERVAL: _EVERY},
    ),
    "functional_similar": Recipe(
        _renewing(_of_parents(recipes.functional_similar), ("square", "gradient"), RECORD),
        {"rate": _SHARE, "noise": Setting(0.1), INTERVAL: _EVERY},
    ),
    "crossover": Recipe(
        _renewing(_of_parents(recipes.crossover), ("square", "gradient")),
        {"rate": _SHARE, INTERVAL: _EVERY},
    ),
    "continuous": Recipe(
        _renewing(_of_parents(recipes.continuous), ("square", "gradient")),
        {"rate": Setting(0.02, (6e-4, 0.06), 1), INTERVAL: steps(100)},
    ),
    "gradual_fade": Recipe(
        _renewing(_gradual_fade, ("taylor",)), {"rate": _SHARE, INTERVAL: steps(100)}
    ),
    "distillation": Recipe(
        _renewing(_afresh(recipes.distillation), ("taylor",), RECORD),
        {"rate": _SHARE, INTERVAL: _EVERY},
    ),
    "hybrid": Recipe(
        _renewing(_hybrid, ("square", "gradient"), vacant=True),
        {"rate": _SHARE, INTERVAL: steps(250)},
    ),
}
