"""Births without deaths, and births before deaths, in room that was allocated for them.

Who is unborn is told by `unborn`. Shapes: `N` neurons of a group, unborn ones included.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from apoptosis import engine, fitness, moments, neurons, renewal, selection, unborn
from apoptosis import transform as types


class Growing(NamedTuple):
    """By group: neurons that lived at the start, and the fraction of a birth that is carried."""

    start: dict[str, jax.Array]
    carried: dict[str, jax.Array]


class Turnover(NamedTuple):
    """`step` updates so far; by group neurons that lived at the start, deaths that are due in this
    cycle, and the fraction carried."""

    step: jax.Array
    start: dict[str, jax.Array]
    due: dict[str, jax.Array]
    carried: dict[str, jax.Array]


def grow(
    rate,
    limit,
    born: renewal.Renewal,
    *,
    groups: unborn.Groups = None,
    policy: str = "zero",
    initial: Callable[[jax.Array], object] | None = None,
    scoring: fitness.Fitness | None = None,
) -> types.ApoptosisTransform:
    """At each update the share `rate` of the neurons that lived at the start is born, up to `limit`
    times their number, the lowest free places first; a birth changes nothing of the function.

    `scoring` ranks parents, for renewals that have them. Raises ValueError for a renewal that
    changes the function, and in `init`, unless it is traced, for less room than `limit` needs
    (traced, growth ends where the room does).
    """
    types.checked("rate", rate, 0, 1)
    types.checked("limit", limit, 1)
    _checked(born, policy)

    def init(params):
        found = unborn.resolved(groups, params)
        living = _living(found, jax.tree.leaves(params))
        for group in found:
            _require_room(group, living[group.name], limit)
        return Growing(living, {group.name: jnp.zeros(()) for group in found})

    def update(key, params, opt_state, state, known):
        everyone = unborn.resolved(groups, params)
        gone = unborn.flags(everyone, jax.tree.leaves(params))
        seen, carried, newborn = unborn.hidden(known, gone), dict(state.carried), {}
        for group in engine.present(everyone, known):
            name, free = group.name, gone[group.name]
            due, carried[name] = selection.quota(carried[name], rate, state.start[name])
            most = unborn.capacity(state.start[name], limit) - jnp.sum(~free)
            count = jnp.minimum(due, jnp.maximum(most, 0))
            newborn[name] = selection.lowest(jnp.zeros(group.size), count, free)
        params, opt_state, report = _births(
            key, everyone, params, opt_state, gone, newborn, seen, born, policy, initial, scoring
        )
        return params, opt_state, Growing(state.start, carried), report

    return types.ApoptosisTransform(init, update)


def turn_over(
    rate,
    interval,
    overlap,
    scoring: fitness.Fitness,
    born: renewal.Renewal,
    *,
    groups: unborn.Groups = None,
    policy: str = "zero",
    initial: Callable[[jax.Array], object] | None = None,
    maturity=0,
    keep: engine.Preservation | None = None,
) -> types.ApoptosisTransform:
    """Births first, deaths later: at the updates number `interval`, 2 · `interval`, … the share
    `rate` (of the neurons that lived at the start) is born in free places, and `overlap` updates
    later as many of all that live, newborns included, die and leave their places free.

    Where too few places are free for a cycle's births, as in a network without any, only so many
    are born as there is room for, and the cycle's deaths make the room of those to come. From then
    on the number of neurons after each cycle is constant, and it is never above what was allocated.
    """
    for name, value, low, high in (
        ("rate", rate, 0, 1),
        ("interval", interval, 2, float("inf")),
        ("overlap", overlap, 1, float("inf")),
        ("maturity", maturity, 0, float("inf")),
    ):
        types.checked(name, value, low, high)
    if not any(isinstance(value, jax.core.Tracer) for value in (interval, overlap)):
        types.checked("overlap", overlap, 1, float(interval) - 1)
    _checked(born, policy)

    def init(params):
        found = unborn.resolved(groups, params)
        none = lambda dtype: {group.name: jnp.zeros((), dtype) for group in found}
        living = _living(found, jax.tree.leaves(params))
        return Turnover(jnp.zeros((), jnp.int32), living, none(jnp.int32), none(jnp.float32))

    def update(key, params, opt_state, state, known):
        everyone = unborn.resolved(groups, params)
        found = engine.present(everyone, known)
        step = state.step + 1

        def births(carry):
            params, opt_state, due, carried, _ = carry
            due, carried, newborn = dict(due), dict(carried), {}
            gone = unborn.flags(everyone, jax.tree.leaves(params))
            for group in found:
                name = group.name
                count, carried[name] = selection.quota(carried[name], rate, state.start[name])
                due[name] = count
                newborn[name] = selection.lowest(jnp.zeros(group.size), count, gone[name])
            seen = unborn.hidden(known, gone)
            params, opt_state, report = _births(
                key,
                everyone,
                params,
                opt_state,
                gone,
                newborn,
                seen,
                born,
                policy,
                initial,
                scoring,
            )
            return params, opt_state, due, carried, report

        def deaths(carry):
            params, opt_state, due, carried, _ = carry
            leaves, tree = jax.tree.flatten(params)
            gone = unborn.flags(everyone, leaves)
            seen, scores, dying = unborn.hidden(known, gone), [], []
            for index, group in enumerate(found):
                own = seen[group.name]
                score = scoring.score(jax.random.fold_in(key, index), group, leaves, own)
                scores.append(score)
                dying.append(selection.lowest(score, due[group.name], own.age >= maturity))
            leaves, report = engine.renewed(
                key, found, leaves, leaves, scores, dying, seen, renewal.none(), keep
            )
            cleared = "restart" if policy == "restart" else "zero"
            opt_state = moments.renew(
                cleared, params, opt_state, found, report.died, report.parents
            )
            leaves = unborn.erased(everyone, leaves, gone)
            report = report._replace(born=types.still(known).born)
            return jax.tree.unflatten(tree, leaves), opt_state, due, carried, report

        phase = jnp.where(step >= interval, step % interval, -1)
        carry = (params, opt_state, state.due, state.carried, types.still(known))
        carry = types.lazily(phase == 0, births, carry)
        params, opt_state, due, carried, report = types.lazily(phase == overlap, deaths, carry)
        return params, opt_state, Turnover(step, state.start, due, carried), report

    return types.ApoptosisTransform(init, update)


def _births(key, everyone, params, opt_state, gone, newborn, seen, born, policy, initial, scoring):
    """Parameters, optimiser's state and report after the births of `newborn [N]` by group."""
    found = [group for group in everyone if group.name in newborn]
    of_scores, of_births, of_fresh = jax.random.split(key, 3)

    def event(carry):
        params, opt_state, _ = carry
        leaves, tree = jax.tree.flatten(params)
        own_draw = None if initial is None else engine.drawn(initial(of_fresh), params)
        scores = [
            scoring.score(jax.random.fold_in(of_scores, i), group, leaves, seen[group.name])
            if born.parental
            else jnp.zeros(group.size)
            for i, group in enumerate(found)
        ]
        chosen = [newborn[group.name] for group in found]
        leaves, report = engine.renewed(
            of_births, found, leaves, own_draw, scores, chosen, seen, born
        )
        opt_state = moments.renew(policy, params, opt_state, found, report.born, report.parents)
        still = {name: flag & ~newborn.get(name, False) for name, flag in gone.items()}
        leaves = unborn.erased(everyone, leaves, still)  # newborns listen to no unborn
        nobody = types.still(seen)
        report = report._replace(died=nobody.died, fitness=nobody.fitness)
        return jax.tree.unflatten(tree, leaves), opt_state, report

    some = jnp.any(jnp.concatenate([newborn[group.name] for group in found]))
    return types.lazily(some, event, (params, opt_state, types.still(seen)))


def _living(found, leaves) -> dict[str, jax.Array]:
    return {name: jnp.sum(~flag) for name, flag in unborn.flags(found, leaves).items()}


def _checked(born: renewal.Renewal, policy: str) -> None:
    moments.checked(policy)
    if not born.exact:
        raise ValueError("births must preserve the function: renewal.random, split, or outgoing 0")
    if policy == "inherit" and not born.parental:
        raise ValueError("moments 'inherit' needs a renewal from parents")


def _require_room(group: neurons.Found, living, limit) -> None:
    if isinstance(living, jax.core.Tracer) or isinstance(limit, jax.core.Tracer):
        return
    most = unborn.capacity(int(living), float(limit))
    if most > group.size:
        raise ValueError(
            f"group {group.name!r} must have room for {most} neurons to grow to {limit:g} times "
            f"{living}, got {group.size}: widen its layer, as unborn.widened does with parameters"
        )
