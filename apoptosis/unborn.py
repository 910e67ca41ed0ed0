"""Room to grow at static shapes: neurons that are allocated but not born yet.

A neuron is unborn as long as every one of its weights, incoming, bias and outgoing, is exactly 0.
That is all there is to say of it: no other mask has to be kept, saved or passed about. It gives
nothing, and where the activation of 0 is 0 (relu, gelu, tanh) its gradients are 0 too, so that it
stays unborn under any optimiser; `masked` sees to that for all other activations and optimisers.

    small = model(width=128).init(key, x)         # what training starts from
    params = unborn.widened(small, 1.5)           # for model(width=192): the same function
    optimiser = unborn.masked(optax.adamw(1e-3))
    transform = recipes.growth(limit=1.5)

Shapes: `N` neurons of a group.
"""

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import optax

from apoptosis import evidence, neurons
from apoptosis import transform as types

Groups = Sequence[neurons.NeuronGroup] | None
_ROUNDING = 1e-3


def capacity(size, limit):
    """How many neurons `limit` times `size` are: 8 × 1.7 are 13. Both may be traced."""
    if isinstance(size, int) and isinstance(limit, int | float):
        return math.floor(size * limit + _ROUNDING)
    return jnp.floor(size * limit + _ROUNDING).astype(jnp.int32)


def resolved(groups: Groups, params) -> tuple[neurons.Found, ...]:
    """The groups in `params`, as `neurons.find`.

    Raises ValueError for a group with a norm's scale: in the norm's mean unborn neurons count.
    """
    found = neurons.find(groups, params)
    for group in found:
        if group.of(neurons.SCALE):
            raise ValueError(f"group {group.name!r} has a norm's scale, so it cannot have unborn")
    return found


def find(params, groups: Groups = None) -> dict[str, jax.Array]:
    """Which neurons are unborn, by group `[N]`."""
    return flags(resolved(groups, params), jax.tree.leaves(params))


def flags(found: Sequence[neurons.Found], leaves) -> dict[str, jax.Array]:
    """As `find`, of groups resolved."""
    empty = lambda rows: jnp.all(rows == 0, 1)
    return {g.name: jnp.all(jnp.stack([empty(r) for r in g.rows(leaves)]), 0) for g in found}


def erased(found: Sequence[neurons.Found], leaves, gone: Mapping[str, jax.Array]) -> list:
    """The leaves with all weights of the neurons `gone [N]` of each group 0."""
    for group in found:
        if group.name in gone:
            cleared = gone[group.name][:, None]
            rows = [jnp.where(cleared, 0, own).astype(own.dtype) for own in group.rows(leaves)]
            leaves = group.put(leaves, rows)
    return list(leaves)


def silenced(params, living: int | Mapping[str, int], groups: Groups = None):
    """`params` of the full capacity with only the first `living` neurons of each group left.

    `living` is a number for all groups, or by group; groups not named stay whole.
    """
    found = resolved(groups, params)
    numbers = living if isinstance(living, Mapping) else {group.name: living for group in found}
    sizes, gone = {group.name: group.size for group in found}, {}
    for name, number in numbers.items():
        if name not in sizes:
            raise ValueError(f"living names no group: {name!r} is none of {tuple(sizes)}")
        if not 1 <= number <= sizes[name]:
            raise ValueError(f"living must lie in [1, {sizes[name]}] for {name!r}, got {number}")
        gone[name] = jnp.arange(sizes[name]) >= number
    leaves, tree = jax.tree.flatten(params)
    return jax.tree.unflatten(tree, erased(found, leaves, gone))


def widened(params, limit: float, groups: Groups = None):
    """`params` with room in each group for `capacity(N, limit)` neurons, the new ones unborn.

    They are the parameters of the same model declared so much wider, and compute the same function.
    Raises ValueError for groups whose neurons lie along several axes (heads and their channels).
    """
    types.checked("limit", limit, 1)
    leaves, tree = jax.tree.flatten(params)
    for group in resolved(groups, params):
        more = capacity(group.size, float(limit)) - group.size
        for part in group.parts:
            if len(part.axes) > 1:
                raise ValueError(
                    f"group {group.name!r} cannot be widened: its neurons lie along axes "
                    f"{part.axes} of {part.path}; name the groups that are to grow"
                )
            room = [
                (0, more if axis == part.axes[0] else 0) for axis in range(leaves[part.leaf].ndim)
            ]
            leaves[part.leaf] = jnp.pad(leaves[part.leaf], room)
    return jax.tree.unflatten(tree, leaves)


def masked(
    optimiser: optax.GradientTransformation, groups: Groups = None
) -> optax.GradientTransformationExtraArgs:
    """`optimiser`, to which the gradients of unborn neurons are 0, and which leaves them alone.

    Gradients are masked before anything else sees them, so that clipping by the global norm, too,
    goes as in the smaller network. State: that of `optimiser`. `update` needs the parameters.
    """
    inner = optax.with_extra_args_support(optimiser)

    def update(updates, state, params=None, **extra):
        if params is None:
            raise ValueError("unborn.masked needs the parameters: update(gradients, state, params)")
        found = resolved(groups, params)
        gone = flags(found, jax.tree.leaves(params))
        tree = jax.tree.structure(params)
        clear = lambda t: jax.tree.unflatten(tree, erased(found, jax.tree.leaves(t), gone))
        updates, state = inner.update(clear(updates), state, params, **extra)
        return clear(updates), state

    return optax.GradientTransformationExtraArgs(inner.init, update)


def hidden(known: evidence.Evidence, gone: Mapping[str, jax.Array]) -> evidence.Evidence:
    """The evidence as it is given to those who must not see the neurons `gone`: their age is -1,
    which is too young for any death, and their recorded outputs are 0."""
    after = dict(known)
    for name in set(known) & set(gone):
        own, flag = known[name], gone[name]
        after[name] = own._replace(
            age=jnp.where(flag, -1, own.age), outputs=jnp.where(flag, 0, own.outputs)
        )
    return after


def spared(inner: types.ApoptosisTransform, groups: Groups = None) -> types.ApoptosisTransform:
    """`inner` on the living alone: the unborn neither die nor become parents, nor count in rates,
    and what is done to all weights is not done to theirs."""

    def update(key, params, opt_state, state, known):
        found = resolved(groups, params)
        gone = flags(found, jax.tree.leaves(params))
        params, opt_state, state, report = inner.update(
            key, params, opt_state, state, hidden(known, gone)
        )
        still = {n: f & ~report.born[n] if n in report.born else f for n, f in gone.items()}
        leaves, tree = jax.tree.flatten(params)
        params = jax.tree.unflatten(tree, erased(found, leaves, still))
        return params, opt_state, state, report

    return types.ApoptosisTransform(inner.init, update)
