"""Transforms under which no neuron dies, but weights are drawn to where they started, or to noise.

They act on all parameters, or on those of the groups alone if there is evidence only of some.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from apoptosis import engine, neurons
from apoptosis import transform as types


def shrink(
    rate,
    noise,
    *,
    groups: Sequence[neurons.NeuronGroup] | None = None,
    initial: Callable[[jax.Array], object] | None = None,
) -> types.ApoptosisTransform:
    """θ ← (1 − rate) θ + noise · ε at each update (Ash & Adams 2020).

    ε is drawn by `initial(key)`, the model's own initialiser, or else standard normal.
    """
    types.checked("rate", rate, 0, 1)
    types.checked("noise", noise, 0)

    def update(key, params, opt_state, state, known):
        leaves, tree = jax.tree.flatten(params)
        if initial is None:
            draw = lambda i, leaf: jax.random.normal(
                jax.random.fold_in(key, i), leaf.shape, leaf.dtype
            )
            drawn = [draw(i, leaf) for i, leaf in enumerate(leaves)]
        else:
            drawn = engine.drawn(initial(key), params)
        moved = [
            _moved(leaf, leaf - rate * leaf + noise * new, (rate != 0) | (noise != 0))
            for leaf, new in zip(leaves, drawn, strict=True)
        ]
        params = jax.tree.unflatten(tree, _restricted(leaves, moved, groups, params, known))
        return params, opt_state, state, types.still(known)

    return types.ApoptosisTransform(lambda params: (), update)


def towards_start(
    rate, *, groups: Sequence[neurons.NeuronGroup] | None = None
) -> types.ApoptosisTransform:
    """θ ← θ − rate (θ − θ₀) at each update, θ₀ the parameters that `init` was given.

    L2 Init (Kumar et al. 2023) adds λ‖θ − θ₀‖² to the loss; decoupled from the optimiser, as weight
    decay is in AdamW, it is this with rate = 2 λ · learning rate, exactly so for SGD up to terms of
    the second order in the learning rate. State: θ₀.
    """
    types.checked("rate", rate, 0, 1)

    def init(params):
        return jax.tree.map(jnp.array, params)  # a copy: the parameters may be donated

    def update(key, params, opt_state, state, known):
        del key
        leaves, tree = jax.tree.flatten(params)
        moved = [
            _moved(leaf, leaf - rate * (leaf - start), rate != 0)
            for leaf, start in zip(leaves, jax.tree.leaves(state), strict=True)
        ]
        params = jax.tree.unflatten(tree, _restricted(leaves, moved, groups, params, known))
        return params, opt_state, state, types.still(known)

    return types.ApoptosisTransform(init, update)


def _moved(old, new, at_all):
    """`new` in the dtype of `old`, or `old` bit for bit where nothing is to happen."""
    return jnp.where(at_all, new.astype(old.dtype), old)


def _restricted(leaves, moved, groups, params, known):
    """The leaves moved: all, or the rows of the groups known if not all groups are."""
    try:
        found = neurons.find(groups, params)
    except ValueError:
        if groups is not None:
            raise
        return moved  # no neurons declared: the whole tree is meant
    here = engine.present(found, known)
    if len(here) == len(found):
        return moved
    after = list(leaves)
    for group in here:
        for part in group.parts:
            after[part.leaf] = moved[part.leaf]
    return after
