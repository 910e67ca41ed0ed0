"""Death in small steps: outgoing weights fade away before the neuron is reborn."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from apoptosis import engine, fitness, moments, neurons, renewal, selection
from apoptosis import transform as types


class Fading(NamedTuple):
    """`step` updates so far; by group which neurons are fading `[N]`, the fraction carried, and the
    scores `[N]` by which they were chosen."""

    step: jax.Array
    fading: dict[str, jax.Array]
    carried: dict[str, jax.Array]
    scores: dict[str, jax.Array]


def fade(
    rate,
    interval,
    steps,
    scoring: fitness.Fitness,
    *,
    groups: Sequence[neurons.NeuronGroup] | None = None,
    policy: str = "zero",
    initial=None,
    maturity=0,
) -> types.ApoptosisTransform:
    """Every `interval` updates the least fit share `rate` of each group starts to fade.

    At each of `steps` updates, the first of them included, its outgoing weights shrink, so that
    without training they would go to 0 along a line; at the last they are 0, and the neuron starts
    afresh (`renewal.random`), which changes nothing of what the network gives. Only then does it
    count as dead and born, and is its optimiser's memory renewed. `steps` must be at most
    `interval`: one generation fades at a time.
    """
    for name, value, low, high in (
        ("rate", rate, 0, 1),
        ("interval", interval, 1, float("inf")),
        ("fade_steps", steps, 1, float("inf")),
        ("maturity", maturity, 0, float("inf")),
    ):
        types.checked(name, value, low, high)
    if not any(isinstance(value, jax.core.Tracer) for value in (interval, steps)):
        types.checked("fade_steps", steps, 1, float(interval))
    moments.checked(policy)
    if policy == "inherit":
        raise ValueError("moments 'inherit' needs a renewal from parents")
    born = renewal.random()

    def init(params):
        found = neurons.find(groups, params)
        nobody = {group.name: jnp.zeros(group.size, bool) for group in found}
        scores = {group.name: jnp.zeros(group.size) for group in found}
        none = {group.name: jnp.zeros(()) for group in found}
        return Fading(jnp.zeros((), jnp.int32), nobody, none, scores)

    def update(key, params, opt_state, state, known):
        found = engine.present(neurons.find(groups, params), known)
        of_scores, of_births, of_fresh = jax.random.split(key, 3)
        leaves, tree = jax.tree.flatten(params)
        step = state.step + 1
        starts = step % interval == 0
        since = step - interval * (step // interval)  # 0 where a generation starts
        left = jnp.where(step >= interval, steps - since, 0)  # of the fading, this one included
        fading, carried, scores = dict(state.fading), dict(state.carried), dict(state.scores)
        for index, group in enumerate(found):
            own = known[group.name]

            def chosen(carry, index=index, group=group, own=own):
                _, rest, _ = carry
                one = jax.random.fold_in(of_scores, index)
                score = jnp.float32(scoring.score(one, group, leaves, own))
                count, rest = selection.quota(rest, rate, jnp.sum(own.age >= 0))
                return selection.lowest(score, count, own.age >= maturity), rest, score

            name = group.name
            fading[name], carried[name], scores[name] = types.lazily(
                starts, chosen, (fading[name], carried[name], scores[name])
            )
        factor = (left - 1) / jnp.maximum(left, 1)
        for group in found:
            going = fading[group.name][:, None] & (left > 0)
            rows = group.rows(leaves)
            for place in group.of(neurons.OUTGOING):
                shrunk = (rows[place] * factor).astype(rows[place].dtype)
                rows[place] = jnp.where(going, shrunk, rows[place])
            leaves = group.put(leaves, rows)

        def rebirth(carry):
            leaves, opt_state, fading, _ = carry
            fading = dict(fading)
            own_draw = None if initial is None else engine.drawn(initial(of_fresh), params)
            gone, last = ([own[g.name] for g in found] for own in (fading, scores))
            leaves, report = engine.renewed(
                of_births, found, leaves, own_draw, last, gone, known, born
            )
            report = report._replace(change=types.still(known).change)  # by now they are silent
            fading.update({g.name: jnp.zeros_like(fading[g.name]) for g in found})
            opt_state = moments.renew(policy, params, opt_state, found, report.born, report.parents)
            return leaves, opt_state, fading, report

        some = jnp.any(jnp.concatenate([fading[group.name] for group in found]))
        leaves, opt_state, fading, report = types.lazily(
            (left == 1) & some, rebirth, (leaves, opt_state, fading, types.still(known))
        )
        params = jax.tree.unflatten(tree, leaves)
        return params, opt_state, Fading(step, fading, carried, scores), report

    return types.ApoptosisTransform(init, update)
