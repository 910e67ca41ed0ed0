"""One event: score, select, absorb, renew, and set the optimiser's memory right.

Shapes: `N` neurons of a group, `G` groups.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from apoptosis import evidence, fitness, moments, neurons, preservation, renewal, selection
from apoptosis import transform as types

SCOPES = ("group", "global")
SHARES = ("all", "mature")


class Preservation(NamedTuple):
    """How what the dying gave is kept: `absorb` as in `preservation.absorb`; newborns are fitted
    by `steps` of local regression (`preservation.regress`), or not if 0."""

    absorb: str = "least_squares"
    steps: int = 0
    ridge: float = 1e-6


def replace(
    rate,
    scoring: fitness.Fitness,
    born: renewal.Renewal,
    *,
    groups: Sequence[neurons.NeuronGroup] | None = None,
    policy: str = "zero",
    keep: Preservation | None = None,
    initial: Callable[[jax.Array], object] | None = None,
    maturity=0,
    threshold=None,
    scope: str = "group",
    share_of: str = "all",
    weigh: Callable[[jax.Array], jax.Array] | None = None,
) -> types.ApoptosisTransform:
    """A transform that at each update replaces the least fit share of neurons.

    - `rate` in [0, 1]: the share of all neurons (or with `share_of="mature"` of those old enough)
      that dies at an update. Fractions of a neuron add up over updates; what is due beyond the
      number of eligible neurons lapses.
    - eligible are neurons of at least `maturity` steps and, if there is a `threshold`, of a score
      at or below it.
    - `scope`: the share holds in each group, or of all groups together (`global`).
    - `weigh` gives each group a factor on its rate `[G]`, of the groups' mean scores `[G]`.
    - `initial(key)` draws a parameter tree by the model's own initialiser, usually
      `lambda key: model.init(key, x)`; without it flax's defaults for dense layers are drawn.
    - `policy` of the optimiser's state, as in `moments.renew`; `keep`, functional preservation.

    State: the fractions carried, by group or one for all.
    """
    types.checked("rate", rate, 0, 1)
    types.checked("maturity", maturity, 0)
    moments.checked(policy)
    for name, value, allowed in (
        ("scope", scope, SCOPES),
        ("share_of", share_of, SHARES),
        ("absorb", keep.absorb if keep else "none", preservation.METHODS),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be of {allowed}, got {value!r}")
    if keep and keep.steps < 0:
        raise ValueError(f"preservation steps must be at least 0, got {keep.steps}")
    if weigh and scope == "global":
        raise ValueError("rates of groups can be weighed only if scope is 'group', got 'global'")
    if policy == "inherit" and not born.parental:
        raise ValueError("moments 'inherit' needs a renewal from parents")

    def init(params):
        found = neurons.find(groups, params)
        if scope == "global":
            return {"": jnp.zeros(())}
        return {group.name: jnp.zeros(()) for group in found}

    def update(key, params, opt_state, state, known):
        found = present(neurons.find(groups, params), known)
        of_scores, of_births, of_fresh = jax.random.split(key, 3)
        leaves, tree = jax.tree.flatten(params)
        scores, eligible = [], []
        for index, group in enumerate(found):
            own = known[group.name]
            score = scoring.score(jax.random.fold_in(of_scores, index), group, leaves, own)
            fit = own.age >= maturity
            scores.append(score)
            eligible.append(fit if threshold is None else fit & (score <= threshold))
        mature = [known[group.name].age >= maturity for group in found]
        many = [jnp.sum(m) if share_of == "mature" else len(m) for m in mature]
        if scope == "global":
            count, rest = selection.quota(state[""], rate, sum(many))
            state, some = {"": rest}, (count > 0) & jnp.any(jnp.concatenate(eligible))
        else:
            shares = [rate] * len(found)
            if weigh:
                factors = weigh(jnp.stack([jnp.mean(score) for score in scores]))
                shares = [jnp.minimum(rate * factor, 1) for factor in factors]
            due = [
                selection.quota(state[group.name], share, number)
                for group, share, number in zip(found, shares, many, strict=True)
            ]
            state = state | {g.name: rest for g, (_, rest) in zip(found, due, strict=True)}
            due_now = [(n > 0) & jnp.any(fit) for (n, _), fit in zip(due, eligible, strict=True)]
            some = jnp.any(jnp.stack(due_now))

        def event(carry):
            leaves, opt_state, _ = carry
            if scope == "global":
                dying = selection.lowest_across(scores, count, eligible)
            else:
                dying = [
                    selection.lowest(score, one, fit)
                    for score, (one, _), fit in zip(scores, due, eligible, strict=True)
                ]
            report = types.still(known)
            own_draw = None if initial is None else drawn(initial(of_fresh), params)
            for index, group in enumerate(found):
                own, one = jax.random.fold_in(of_births, index), dying[index]
                leaves, parents, change = _renew(
                    own, group, leaves, own_draw, scores[index], one, known[group.name], born, keep
                )
                report.died[group.name], report.born[group.name] = one, one
                report.parents[group.name] = parents.astype(jnp.int32)
                report.change[group.name] = jnp.where(jnp.any(one), jnp.float32(change), 0)
            opt_state = moments.renew(policy, params, opt_state, found, report.born, report.parents)
            return leaves, opt_state, report

        leaves, opt_state, report = types.lazily(
            some, event, (leaves, opt_state, types.still(known))
        )
        return jax.tree.unflatten(tree, leaves), opt_state, state, report

    return types.ApoptosisTransform(init, update)


def present(found: Sequence[neurons.Found], known: evidence.Evidence) -> list[neurons.Found]:
    """The groups of which there is evidence; raises ValueError if there is none."""
    here = [group for group in found if group.name in known]
    if not here:
        raise ValueError(
            f"the evidence must know one of {[group.name for group in found]}, got {list(known)}"
        )
    return here


def drawn(fresh, params) -> list[jax.Array]:
    """The leaves of a fresh draw of parameters; raises ValueError for another structure."""
    if jax.tree.structure(fresh) != jax.tree.structure(params):
        raise ValueError(
            f"initial(key) must have the structure of the parameters, "
            f"{jax.tree.structure(params)}, got {jax.tree.structure(fresh)}"
        )
    return jax.tree.leaves(fresh)


def _renew(key, group, leaves, own_draw, scores, dying, watched, born, keep):
    """One group's leaves after the event, its newborns' parents, and the change it made."""
    of_fresh, of_birth = jax.random.split(key)
    before, biases = group.rows(leaves), [leaves[place] for place in group.next_bias]
    fresh = group.rows(own_draw) if own_draw else renewal.fresh(of_fresh, group, before)
    absorbed, moved = before, biases
    if keep:
        absorbed, moved = preservation.absorb(
            keep.absorb, group, before, biases, watched, dying, keep.ridge
        )
    scene = renewal.Scene(absorbed, fresh, scores, dying, watched)
    rows, parents = born.make(of_birth, group, scene)
    if keep and keep.steps:
        rows, moved = preservation.regress(
            group, rows, before, absorbed, moved, watched, dying, keep.steps
        )
    change = _change(group, watched, dying, parents, born, keep, (before, biases), (rows, moved))
    leaves = group.put(leaves, rows)
    for place, bias in zip(group.next_bias, moved, strict=True):
        leaves[place] = bias
    return leaves, parents, change


def _change(group, watched, dying, parents, born, keep, before, after):
    """See `transform.Report.change`."""
    h, regressed = watched.outputs, bool(keep and keep.steps)
    if not h.shape[0]:
        return jnp.nan
    if born.silent and not regressed:
        now = jnp.where(dying, 0, h)
    elif born.known and not regressed:
        now = jnp.where(dying, h[:, jnp.maximum(parents, 0)], h)
    elif group.activation is not None and watched.inputs.shape[0] and not group.of(neurons.SCALE):
        now = jnp.where(dying, preservation.outputs(group, after[0], watched.inputs), h)
    else:
        return jnp.nan
    return preservation.change(group, h, before, now, after)
