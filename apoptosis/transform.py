"""The type of all transforms, and what they report of an event.

Shapes: `N` neurons of a group.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import custom_batching, lax
from jax.extend import core


class Report(NamedTuple):
    """What an event did, per group; all zeros where nothing happened.

    `died [N]` and `born [N]` say which neurons; `parents [N]` where a newborn comes from (-1 if
    from nowhere; only to be read where one was born) and `mates [N]` the second parent of a child
    of two (else -1); `fitness [N]` the scores by which those that died were chosen (else 0).
    `change` is the root mean square change of what the group gives to the next layer over the
    recorded samples, relative to what it gave: NaN where nothing was recorded or the newborns'
    outputs are not known.
    """

    died: dict[str, jax.Array]
    born: dict[str, jax.Array]
    parents: dict[str, jax.Array]
    change: dict[str, jax.Array]
    mates: dict[str, jax.Array] | None = None
    fitness: dict[str, jax.Array] | None = None


class ApoptosisTransform(NamedTuple):
    """A pair of pure functions, as in optax.

    `init(params) -> state` and `update(key, params, opt_state, state, evidence) -> (params,
    opt_state, state, report)`: the same structure, shapes and dtypes come out as go in. It acts on
    the groups of which there is `evidence` (see `evidence.Evidence`).
    """

    init: Callable[[Any], Any]
    update: Callable[..., tuple[Any, Any, Any, Report]]


def still(known: dict) -> Report:
    """The report of an update in which nothing happened to the groups known."""
    flags = lambda dtype: {name: jnp.zeros(own.age.shape, dtype) for name, own in known.items()}
    unmoved = {name: jnp.zeros(()) for name in known}
    nobody, none = flags(jnp.int32), flags(jnp.float32)
    return Report(flags(bool), flags(bool), nobody, unmoved, flags(jnp.int32), none)


def both(first: Report, second: Report) -> Report:
    """The report of two updates in a row: the later birth of a neuron is the one that counts."""
    either = lambda a, b: {name: a[name] | b[name] for name in a}
    later = lambda flags, a, b: {name: jnp.where(flags[name], b[name], a[name]) for name in a}
    parents = later(second.born, first.parents, second.parents)
    mates = later(second.born, first.mates, second.mates)
    fitness = later(second.died, first.fitness, second.fitness)
    change = {name: jnp.hypot(first.change[name], second.change[name]) for name in first.change}
    died, born = either(first.died, second.died), either(first.born, second.born)
    return Report(died, born, parents, change, mates, fitness)


def counts(report: Report) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Per group, how many neurons died and how many were born."""
    return {name: (jnp.sum(report.died[name]), jnp.sum(report.born[name])) for name in report.died}


def lazily(predicate: jax.Array, event: Callable[[Any], Any], carry):
    """`event(carry)` where `predicate` holds, else `carry`, of the same structure and dtypes.

    As `lax.cond`, but under `vmap` the event still runs only in steps in which it happens to any
    member: a plain `cond` would become a `select`, and every step would pay for an event.
    """
    closed, shape = jax.make_jaxpr(event, return_shape=True)(carry)
    tree = jax.tree.structure(carry)
    if jax.tree.structure(shape) != tree:
        raise TypeError(f"an event must keep the structure {tree}, got {jax.tree.structure(shape)}")
    pure = lambda constants, flat: core.jaxpr_as_fun(core.ClosedJaxpr(closed.jaxpr, constants))(
        *flat
    )
    flat = jax.tree.leaves(carry)
    return jax.tree.unflatten(tree, _lazy(pure)(jnp.asarray(predicate), list(closed.consts), flat))


def _lazy(pure):
    @custom_batching.custom_vmap
    def run(predicate, constants, flat):
        return lax.cond(predicate, lambda c, f: list(pure(c, f)), lambda c, f: f, constants, flat)

    @run.def_vmap
    def _(size, batched, predicate, constants, flat):
        held, fixed, moving = batched
        if not held:  # all members together
            axes = ([0 if b else None for b in fixed], 0)
            spread = _spread(size, moving, flat)
            members = lambda c, f: jax.vmap(pure, axes, axis_size=size)(c, f)
            return _lazy(members)(predicate, constants, spread), [True] * len(flat)

        def selected(constants, carry):
            which, *flat = carry

            def member(which, constants, flat):
                news = pure(constants, flat)
                pick = lambda new, old: lax.select(jnp.broadcast_to(which, old.shape), new, old)
                return [pick(new, old) for new, old in zip(news, flat, strict=True)]

            axes = (0, [0 if b else None for b in fixed], 0)
            return [which, *jax.vmap(member, axes, axis_size=size)(which, constants, flat)]

        spread = _spread(size, moving, flat)
        _, *out = _lazy(selected)(jnp.any(predicate), constants, [predicate, *spread])
        return out, [True] * len(flat)

    return run


def _spread(size, batched, flat):
    """All leaves with the population's axis, which those that are the same for all lack."""
    return [
        leaf if own else jnp.broadcast_to(leaf, (size, *jnp.shape(leaf)))
        for leaf, own in zip(flat, batched, strict=True)
    ]


def checked(name: str, value, low: float, high: float = math.inf):
    """`value`, after a look at whether it lies in [low, high], unless it is traced."""
    if isinstance(value, jax.core.Tracer):
        return value
    if not np.all((np.asarray(value) >= low) & (np.asarray(value) <= high)):
        allowed = f"lie in [{low:g}, {high:g}]" if high < math.inf else f"be at least {low:g}"
        raise ValueError(f"{name} must {allowed}, got {value}")
    return value
