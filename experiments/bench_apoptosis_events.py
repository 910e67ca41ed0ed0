"""The events that the transformer's bench times: of every recipe, one on a trained network.

Rates are the share of neurons that dies or is born. Settings make every update an event, and take
thresholds and maturity out of the way, so that a tenth is renewed by all recipes that renew.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from apoptosis import evidence, neurons, recipes, transformer, unborn
from apoptosis.transform import ApoptosisTransform
from experiments.apoptosis_training import Trainer


@dataclasses.dataclass(frozen=True)
class Event:
    """A recipe and its settings; `updates` in a row are one event, after `before` others.

    `inner` events are of the feed-forward layers alone: they cannot be had in attention.
    `room`: times as wide as these layers are at first, for recipes that need free places there.
    """

    recipe: str
    settings: Mapping[str, float]
    updates: int = 1
    before: int = 0
    inner: bool = False
    room: float | None = None
    renews: bool = True


_DUE = {"rate": 0.1, "interval": 1}
EVENTS: Mapping[str, Event] = {
    "random": Event("random", _DUE),
    "standard": Event("standard", _DUE),
    "functional": Event("functional", _DUE),
    "functional, regression": Event("functional", {**_DUE, "preservation_steps": 10}, inner=True),
    "functional_similar": Event("functional_similar", _DUE),
    "gradual_fade": Event("gradual_fade", {**_DUE, "fade_steps": 1}),
    "continuous": Event("continuous", {"rate": 0.02, "interval": 1}),
    "distillation": Event("distillation", _DUE),
    "crossover": Event("crossover", _DUE),
    "growth": Event("growth", {**_DUE, "limit": 1.5}, inner=True, room=1.5),
    "hybrid": Event(
        "hybrid",
        {"rate": 0.1, "interval": 2, "overlap": 1},
        updates=2,
        before=1,
        inner=True,
        room=1.1,
    ),
    "layer_level": Event("layer_level", _DUE),
    "continual_backprop": Event("continual_backprop", {**_DUE, "maturity": 0}),
    "redo": Event("redo", {**_DUE, "threshold": float("inf")}),
    "self_normalized_resets": Event(
        "self_normalized_resets", {**_DUE, "maturity": 0, "rejection": 1.0}
    ),
    "shrink_and_perturb": Event("shrink_and_perturb", _DUE, renews=False),
    "l2_init": Event("l2_init", {"rate": 1e-5, "interval": 1}, renews=False),
}


class Events:
    """The event called `name`, again and again from one state: trained, with its evidence.

    `born` neurons are born in it. Raises RuntimeError where nobody is but should be.
    """

    def __init__(self, name: str, trainer: Trainer, params, known: evidence.Evidence):
        own, architecture = EVENTS[name], trainer.model.architecture
        self.updates = own.updates
        activation = transformer.ACTIVATIONS[architecture.activation]
        groups = neurons.transformer(architecture.layers, activation)
        model = trainer.model
        if own.inner:
            groups = tuple(group for group in groups if group.name.endswith("/mlp"))
            known = {group.name: known[group.name] for group in groups}
        if own.room:
            params = unborn.widened(params, own.room, groups)
            known = {name: _widened(watched, own.room) for name, watched in known.items()}
            wide = unborn.capacity(architecture.ffn, own.room)
            model = model.clone(architecture=dataclasses.replace(architecture, ffn=wide))
        transform = built(own, groups, lambda key: transformer.initial(key, model))
        # Not the trainer's memory: the network may be wider now.
        carry = params, jax.jit(trainer.optimiser.init)(params), transform.init(params)
        carry, self.known = jax.device_put((carry, known), trainer.everywhere)
        self.keys = list(jax.random.split(jax.random.key(0), own.before + own.updates))
        jitted = jax.jit(transform.update, out_shardings=trainer.everywhere)
        self.compiled = jitted.lower(self.keys[0], *carry, self.known).compile()
        for key in self.keys[: own.before]:
            *carry, _ = self.compiled(key, *carry, self.known)
        self.carry, self.keys = tuple(carry), self.keys[own.before :]
        self.born = sum(
            int(np.sum(flags)) for report in self._reports() for flags in report.born.values()
        )
        if own.renews and not self.born:
            raise RuntimeError(f"in the event {name!r} of the bench nobody was born")

    def _reports(self) -> list:
        carry, reports = self.carry, []
        for key in self.keys:
            *carry, report = self.compiled(key, *carry, self.known)
            reports.append(report)
        return jax.block_until_ready((carry, reports))[1]

    def advance(self) -> int:
        """One event; returns 1."""
        self._reports()
        return 1


def built(event: Event, groups, initial: Callable[[jax.Array], dict]) -> ApoptosisTransform:
    """The transform of an event; `initial(key)` draws parameters for newborns that start afresh."""
    make = recipes.RECIPES[event.recipe]
    fresh = {"initial": initial} if "initial" in inspect.signature(make).parameters else {}
    return make(**event.settings, groups=groups, **fresh)


def _widened(known: evidence.Watched, room: float) -> evidence.Watched:
    """Evidence with places for neurons not born yet, of whom nothing is known."""
    more = unborn.capacity(known.age.size, room) - known.age.size
    pad = lambda a: jnp.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, more)])
    return jax.tree.map(pad, known)._replace(inputs=known.inputs)
