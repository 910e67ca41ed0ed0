"""The recipes of the study of plasticity: how each is built there, its settings, their ranges.

Rates are of neurons. Events come after every `interval` steps; what the field states per step
(continual backpropagation, L2 Init) stays per step. `growth` has no place here: it ends after few
births, with more hidden units than all others have.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import optax

from apoptosis import recipes, successive, successive_renewal, unborn
from experiments.apoptosis_recipe_settings import INTERVAL, Setting, steps

BASELINE, FRESH, CONTROL = "backprop", "fresh", "random"
RECORD = 256  # examples of which the hidden units' outputs are known to an event that needs them
FADE_EVERY = 10  # steps between two updates of what fades


class Recipe(NamedTuple):
    """What an arm does beside backpropagation.

    `build(network, optimiser, learning_rate, settings) -> successive.Learner`; `optimiser` is a
    name of `OPTIMISERS`; learning rate and settings may be traced, but for `interval`. `every` are
    the steps between two updates, by default the interval.
    """

    build: Callable[[successive.Network, str, object, Mapping], successive.Learner]
    settings: Mapping[str, Setting]
    every: int | None = None


OPTIMISERS: Mapping[str, Callable[[], optax.GradientTransformation]] = {
    "adam": optax.scale_by_adam,
    "sgd": optax.identity,
}


def optimiser(name: str, learning_rate, decay=None) -> optax.GradientTransformation:
    """The optimiser called `name`; with a `decay` the weights shrink by it times the rate a step
    (decoupled: Loshchilov & Hutter 2019)."""
    parts = [OPTIMISERS[name]()]
    parts += [] if decay is None else [optax.add_decayed_weights(decay)]
    return optax.chain(*parts, optax.scale_by_learning_rate(learning_rate))


def _backpropagation(network, name, learning_rate, settings):
    return successive.plain(network, optimiser(name, learning_rate))


def _fresh(network, name, learning_rate, settings):
    return successive.plain(network, optimiser(name, learning_rate), fresh=True)


def _weight_decay(network, name, learning_rate, settings):
    return successive.plain(network, optimiser(name, learning_rate, settings["decay"]))


def _renewing(make: Callable, keep: Sequence[str] = (), record=0, every=None, vacant=False):
    """The build of a recipe of `apoptosis.recipes`.

    `make(own, fresh, settings, interval)` is its transform, to be updated after every `every`
    steps, by default the interval; `own` are the groups of the network, `fresh` these and its
    initialiser, for recipes that take them. `keep` and `record`: the evidence. `vacant`: the recipe
    leaves places without a neuron, which must not learn.
    """

    def build(network, name, learning_rate, settings):
        settings = dict(settings)
        interval = settings.pop(INTERVAL)
        own = {"groups": successive_renewal.groups(network)}
        fresh = own | {"initial": lambda key: successive.weights(key, network)}
        transform = make(own, fresh, settings, interval)
        rule = optimiser(name, learning_rate)
        rule = unborn.masked(rule, **own) if vacant else rule
        return successive_renewal.renewing(
            network, rule, transform, every or interval, keep=keep, record=record
        )

    return build


def _of_parents(recipe: Callable):
    """Children of survivors: the model's initialiser is not asked."""
    return lambda own, fresh, settings, interval: recipe(interval=1, **own, **settings)


def _afresh(recipe: Callable):
    """Newborns as the model's initialiser draws them."""
    return lambda own, fresh, settings, interval: recipe(interval=1, **fresh, **settings)


def _per_step(recipe: Callable):
    """As `_afresh`, of a rate that is given per step: an event makes up for all of them."""

    def make(own, fresh, settings, interval):
        settings = settings | {"rate": settings["rate"] * interval}
        return recipe(interval=1, **fresh, **settings)

    return make


def _l2_init(own, fresh, settings, interval):
    return recipes.l2_init(settings["rate"] * interval, **own)


def _fade(own, fresh, settings, interval):
    updates = interval // FADE_EVERY
    return recipes.gradual_fade(settings["rate"], updates, fade_steps=updates, **fresh)


def _hybrid(own, fresh, settings, interval):
    """Births at every second update, deaths at those between."""
    return recipes.hybrid(interval=2, overlap=1, **fresh, **settings)


_SHARE = Setting(0.1, (0.003, 0.3), 1)  # of the hidden units, at an event
_EVERY = steps(100)
_SCORED = ("square", "gradient")  # what grad_activation reads

RECIPES: Mapping[str, Recipe] = {
    BASELINE: Recipe(_backpropagation, {}),
    FRESH: Recipe(_fresh, {}),
    "weight_decay": Recipe(_weight_decay, {"decay": Setting(0.01, (1e-3, 3.0))}),
    "l2_init": Recipe(
        _renewing(_l2_init), {"rate": Setting(6e-5, (1e-6, 1e-2), 0.1), INTERVAL: steps(10)}
    ),
    "shrink_and_perturb": Recipe(
        _renewing(_afresh(recipes.shrink_and_perturb)),
        {
            "rate": Setting(0.2, (0.01, 0.8), 1),
            "noise": Setting(0.01, (1e-3, 1.0)),
            INTERVAL: _EVERY,
        },
    ),
    "continual_backprop": Recipe(
        _renewing(_per_step(recipes.continual_backprop), ("contribution", "mean")),
        {"rate": Setting(1e-4, (1e-5, 1e-2), 0.1), "maturity": Setting(100), INTERVAL: steps(10)},
    ),
    "redo": Recipe(
        _renewing(_afresh(recipes.redo), ("activation",)),
        {"threshold": Setting(0.025, (3e-3, 0.3)), INTERVAL: _EVERY},
    ),
    "self_normalized_resets": Recipe(
        _renewing(_afresh(recipes.self_normalized_resets)),
        {"rejection": Setting(0.02, (1e-4, 0.1), 1), INTERVAL: steps(10)},
    ),
    CONTROL: Recipe(_renewing(_afresh(recipes.random)), {"rate": _SHARE, INTERVAL: _EVERY}),
    "standard": Recipe(
        _renewing(_of_parents(recipes.standard), _SCORED), {"rate": _SHARE, INTERVAL: _EVERY}
    ),
    "functional": Recipe(
        _renewing(_afresh(recipes.functional), ("taylor",), RECORD),
        {"rate": _SHARE, INTERVAL: _EVERY},
    ),
    "functional_similar": Recipe(
        _renewing(_of_parents(recipes.functional_similar), _SCORED, RECORD),
        {"rate": _SHARE, "noise": Setting(0.1), INTERVAL: _EVERY},
    ),
    "crossover": Recipe(
        _renewing(_of_parents(recipes.crossover), _SCORED), {"rate": _SHARE, INTERVAL: _EVERY}
    ),
    "continuous": Recipe(
        _renewing(_of_parents(recipes.continuous), _SCORED),
        {"rate": Setting(0.02, (6e-4, 0.06), 1), INTERVAL: steps(20)},
    ),
    "gradual_fade": Recipe(
        _renewing(_fade, ("taylor",), every=FADE_EVERY),
        {"rate": _SHARE, INTERVAL: steps(100, FADE_EVERY)},
        FADE_EVERY,
    ),
    "distillation": Recipe(
        _renewing(_afresh(recipes.distillation), ("taylor",), RECORD),
        {"rate": _SHARE, INTERVAL: _EVERY},
    ),
    "hybrid": Recipe(
        _renewing(_hybrid, _SCORED, vacant=True), {"rate": _SHARE, INTERVAL: steps(50)}
    ),
    "layer_level": Recipe(
        _renewing(_of_parents(recipes.layer_level), _SCORED), {"rate": _SHARE, INTERVAL: _EVERY}
    ),
}
