"""One event: score, select, absorb, renew, and set the optimiser's memory right.

Shapes: `N` neurons of a group, `G` groups.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from apoptosis import (
    distillation,
    evidence,
    fitness,
    moments,
    neurons,
    preservation,
    renewal,
    selection,
)
from apoptosis import transform as types

SCOPES = ("group", "global")
SHARES = ("all", "mature")
FITTED = ("newborns", "group")


class Preservation(NamedTuple):
    """How what the dying gave is kept: `absorb` as in `preservation.absorb`; then, unless `steps`
    is 0, so many steps of local regression fit the newborns (`preservation.regress`) or, with
    `fitted="group"`, the newborns and all outgoing weights (`distillation.fit`)."""

    absorb: str = "least_squares"
    steps: int = 0
    ridge: float = 1e-6
    fitted: str = "newborns"


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
        ("fitted", keep.fitted if keep else "newborns", FITTED),
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
        old = mature if share_of == "mature" else [known[g.name].age >= 0 for g in found]
        many = [jnp.sum(flags) for flags in old]
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
            own_draw = None if initial is None else drawn(initial(of_fresh), params)
            leaves, report = renewed(
                of_births, found, leaves, own_draw, scores, dying, known, born, keep
            )
            opt_state = moments.renew(policy, params, opt_state, found, report.born, report.parents)
            return leaves, opt_state, report

        leaves, opt_state, report = types.lazily(
            some, event, (leaves, opt_state, types.still(known))
        )
        return jax.tree.unflatten(tree, leaves), opt_state, state, report

    return types.ApoptosisTransform(init, update)


def renewed(
    key: jax.Array,
    found: Sequence[neurons.Found],
    leaves: Sequence[jax.Array],
    own_draw: Sequence[jax.Array] | None,
    scores: Sequence[jax.Array],
    chosen: Sequence[jax.Array],
    known: evidence.Evidence,
    born: renewal.Renewal,
    keep: Preservation | None = None,
) -> tuple[list[jax.Array], types.Report]:
    """The leaves after the `chosen [N]` of each group gave their places to newborns, and the
    report, by which all of them died and were born.

    `own_draw` are leaves drawn by the model's initialiser, if it has one.
    """
    report = types.still(known)
    for index, group in enumerate(found):
        own, one, name = jax.random.fold_in(key, index), chosen[index], group.name
        leaves, parents, mates, change = _renew(
            own, group, leaves, own_draw, scores[index], one, known[name], born, keep
        )
        report.died[name], report.born[name] = one, one
        report.parents[name] = parents.astype(jnp.int32)
        report.mates[name] = mates.astype(jnp.int32)
        report.fitness[name] = jnp.where(one, jnp.float32(scores[index]), 0)
        report.change[name] = jnp.where(jnp.any(one), jnp.float32(change), 0)
    return leaves, report


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
    """One group's leaves after the event, its newborns' parents and mates, and the change made."""
    of_fresh, of_birth = jax.random.split(key)
    before, biases = group.rows(leaves), [leaves[place] for place in group.next_bias]
    fresh = group.rows(own_draw) if own_draw else renewal.fresh(of_fresh, group, before)
    absorbed, moved = before, biases
    if keep:
        absorbed, moved = preservation.absorb(
            keep.absorb, group, before, biases, watched, dying, keep.ridge
        )
    scene = renewal.Scene(absorbed, fresh, scores, dying, watched)
    rows, parents, mates = born.make(of_birth, group, scene)
    if keep and keep.steps and keep.fitted == "group":
        if not born.silent and not preservation.computable(group, watched):
            raise ValueError(
                f"group {group.name!r} needs births with outgoing weights 0: the outputs of its "
                "newborns cannot be computed, for want of an activation or of recorded inputs"
            )
        rows, moved = distillation.fit(
            group, rows, moved, before, biases, watched, dying, keep.steps
        )
    elif keep and keep.steps:
        rows, moved = preservation.regress(
            group, rows, before, absorbed, moved, watched, dying, keep.steps
        )
    change = _change(group, watched, dying, parents, born, keep, (before, biases), (rows, moved))
    leaves = group.put(leaves, rows)
    for place, bias in zip(group.next_bias, moved, strict=True):
        leaves[place] = bias
    return leaves, parents, mates, change


def _change(group, watched, dying, parents, born, keep, before, after):
    """See `transform.Report.change`."""
    h = watched.outputs
    computable = preservation.computable(group, watched)
    fitted = keep is not None and keep.steps > 0 and (computable or keep.fitted == "newborns")
    if not h.shape[0]:
        return jnp.nan
    if born.silent and not fitted:
        now = jnp.where(dying, 0, h)
    elif born.known and not fitted:
        now = jnp.where(dying, h[:, jnp.maximum(parents, 0)], h)
    elif computable:
        now = jnp.where(dying, preservation.outputs(group, after[0], watched.inputs), h)
    else:
        return jnp.nan
    return preservation.change(group, h, before, now, after)
