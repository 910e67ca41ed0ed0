"""Transforms made of transforms: in a row, now and then, for some of the neurons.

All of them keep the type: what they make can be combined again.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from apoptosis import transform as types


class Counted(NamedTuple):
    """`step` updates so far, and the state of the inner transform."""

    step: jax.Array
    inner: object


def identity() -> types.ApoptosisTransform:
    """The transform that does nothing, and reports nothing, of whatever there is evidence."""

    def update(key, params, opt_state, state, known):
        del key
        return params, opt_state, state, types.still(known)

    return types.ApoptosisTransform(lambda params: (), update)


def chain(*transforms: types.ApoptosisTransform) -> types.ApoptosisTransform:
    """One after the other, each with its own key; the report is that of all together."""
    if not transforms:
        raise ValueError("a chain needs at least one transform")

    def init(params):
        return tuple(own.init(params) for own in transforms)

    def update(key, params, opt_state, state, known):
        after, total = [], None
        for index, (own, inner) in enumerate(zip(transforms, state, strict=True)):
            one = jax.random.fold_in(key, index)
            params, opt_state, inner, report = own.update(one, params, opt_state, inner, known)
            after.append(inner)
            total = report if total is None else types.both(total, report)
        return params, opt_state, tuple(after), total

    return types.ApoptosisTransform(init, update)


def every(interval, inner: types.ApoptosisTransform) -> types.ApoptosisTransform:
    """`inner` at the updates number `interval`, 2 · `interval`, …, and nothing in between.

    `interval` may be traced. Under `vmap`, updates in which no member is due cost nothing.
    """
    types.checked("interval", interval, 1)
    return _when(lambda step: step % interval == 0, inner)


def after(step, inner: types.ApoptosisTransform) -> types.ApoptosisTransform:
    """`inner` from the update after number `step` on."""
    types.checked("step", step, 0)
    return _when(lambda now: now > step, inner)


def before(step, inner: types.ApoptosisTransform) -> types.ApoptosisTransform:
    """`inner` up to update number `step`, this one included."""
    types.checked("step", step, 0)
    return _when(lambda now: now <= step, inner)


def _when(due: Callable, inner: types.ApoptosisTransform) -> types.ApoptosisTransform:
    def init(params):
        return Counted(jnp.zeros((), jnp.int32), inner.init(params))

    def update(key, params, opt_state, state, known):
        step = state.step + 1
        event = lambda carry: inner.update(key, *carry[:3], known)
        carry = (params, opt_state, state.inner, types.still(known))
        params, opt_state, own, report = types.lazily(due(step), event, carry)
        return params, opt_state, Counted(step, own), report

    return types.ApoptosisTransform(init, update)


def anneal(
    make: Callable[[jax.Array], types.ApoptosisTransform], schedule: Callable
) -> types.ApoptosisTransform:
    """`make(schedule(step))` at update number `step` = 1, 2, …; the schedule as in optax.

    `make` builds the same transform of another strength, usually
    `lambda rate: recipes.random(rate=rate)`.
    """

    def init(params):
        step = jnp.zeros((), jnp.int32)
        return Counted(step, make(schedule(step)).init(params))

    def update(key, params, opt_state, state, known):
        step = state.step + 1
        own = make(schedule(step))
        params, opt_state, inner, report = own.update(key, params, opt_state, state.inner, known)
        return params, opt_state, Counted(step, inner), report

    return types.ApoptosisTransform(init, update)


def only(names: Sequence[str] | str, inner: types.ApoptosisTransform) -> types.ApoptosisTransform:
    """`inner` on these groups alone; raises ValueError for one of which there is no evidence."""
    names = (names,) if isinstance(names, str) else tuple(names)
    if not names:
        raise ValueError("only() needs at least one group")

    def update(key, params, opt_state, state, known):
        missing = [name for name in names if name not in known]
        if missing:
            raise ValueError(f"no group {missing[0]!r}: there is evidence of {list(known)}")
        some = {name: known[name] for name in names}
        params, opt_state, state, report = inner.update(key, params, opt_state, state, some)
        return params, opt_state, state, _widened(known, report)

    return types.ApoptosisTransform(inner.init, update)


def _widened(known, report: types.Report) -> types.Report:
    """The report of all groups known."""
    return types.Report(
        *({**rest, **own} for rest, own in zip(types.still(known), report, strict=True))
    )


def per_layer(transforms: dict[str, types.ApoptosisTransform]) -> types.ApoptosisTransform:
    """To each group its own transform; groups not named are left alone."""
    return chain(*(only(name, own) for name, own in transforms.items()))


def measured(
    inner: types.ApoptosisTransform, outputs: Callable[[object], jax.Array]
) -> types.ApoptosisTransform:
    """`inner`, with the change of the network's own output reported in place of that per group.

    `outputs(params)` are the network's outputs on a fixed batch; `report.change` holds, for each
    group in which neurons died or were born, the root mean square change that the whole event
    made, relative to the outputs' own deviation.
    """

    def update(key, params, opt_state, state, known):
        after, opt_state, state, report = inner.update(key, params, opt_state, state, known)
        happened = {name: jnp.any(report.died[name] | report.born[name]) for name in report.died}
        some = jnp.any(jnp.stack(list(happened.values())))

        def compared(_):
            old, new = outputs(params), outputs(after)
            return jnp.sqrt(jnp.mean((new - old) ** 2)) / jnp.maximum(jnp.std(old), 1e-12)

        change = types.lazily(some, lambda c: compared(c).astype(jnp.float32), jnp.zeros(()))
        each = {name: jnp.where(one, change, 0.0) for name, one in happened.items()}
        return after, opt_state, state, report._replace(change=each)

    return types.ApoptosisTransform(inner.init, update)
