"""What becomes of the optimiser's memory of a neuron that dies.

Leaves of the optimiser's state that belong to a parameter are told by structure: the path of such a
leaf ends with the parameter's own path, through whatever optax wraps around it. No position in a
chain and no name of a field is relied upon.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from apoptosis import neurons

POLICIES = ("zero", "restart", "inherit")


def renew(
    policy: str,
    params: Any,
    opt_state: Any,
    found: Sequence[neurons.Found],
    born: dict[str, jax.Array],
    parents: dict[str, jax.Array],
) -> Any:
    """The optimiser's state after births: what it holds of a newborn's weights, by policy.

    - `zero`: its moments (floating-point leaves) start at zero. A step count common to all is left
      alone, with which Adam's first updates of the newborn are up to 6.6 × the learning rate.
    - `restart`: its step counts start at zero as well. It needs an optimiser that counts by weight,
      as `per_neuron_adam` does.
    - `inherit`: it takes over both from its parent, or starts at zero if it has none.

    Raises ValueError for a state of which nothing belongs to the groups, unless it holds no arrays
    at all (plain SGD), and for a state that holds a parameter's memory in another shape.
    """
    checked(policy)
    leaves = jax.tree_util.tree_leaves_with_path(opt_state)
    owners = _owners(params, leaves)
    shapes = [leaf.shape for leaf in jax.tree.leaves(params)]
    after, touched, counted = [leaf for _, leaf in leaves], 0, 0
    for group in found:
        if group.name not in born:
            continue
        for part in group.parts:
            for index, owner in enumerate(owners):
                if owner != part.leaf:
                    continue
                old = after[index]
                if jnp.shape(old) != shapes[owner]:
                    raise ValueError(
                        f"the optimiser's state of {part.path} must have its shape "
                        f"{shapes[owner]}, got {jnp.shape(old)}: factored moments have no rows"
                    )
                count = jnp.issubdtype(old.dtype, jnp.integer)
                touched, counted = touched + 1, counted + count
                if count and policy == "zero":
                    continue
                rows, newborn = part.rows(old), born[group.name][:, None]
                new = jnp.zeros_like(rows)
                if policy == "inherit":
                    parent = parents[group.name]
                    new = jnp.where(parent[:, None] >= 0, rows[jnp.maximum(parent, 0)], new)
                after[index] = part.put(old, jnp.where(newborn, new, rows))
    if not touched and any(jnp.ndim(leaf) for leaf in after):
        raise ValueError("nothing of the optimiser's state belongs to the neurons' parameters")
    if policy == "restart" and touched and not counted:
        raise ValueError("'restart' needs an optimiser that counts by weight: per_neuron_adam")
    return jax.tree.unflatten(jax.tree.structure(opt_state), after)


def checked(policy: str) -> str:
    """`policy`, if it is one of `POLICIES`."""
    if policy not in POLICIES:
        raise ValueError(f"moments must be of {POLICIES}, got {policy!r}")
    return policy


def _owners(params, leaves) -> list[int | None]:
    """For each leaf of the optimiser's state, the parameter that its path ends with, if any."""
    steps = lambda path: tuple(neurons.path_of([key]) for key in path)
    known = {
        steps(path): i for i, (path, _) in enumerate(jax.tree_util.tree_leaves_with_path(params))
    }
    owners = []
    for path, _ in leaves:
        path = steps(path)
        ends = (known.get(path[start:]) for start in range(len(path)))  # the longest first
        owners.append(next((owner for owner in ends if owner is not None), None))
    return owners


class PerNeuronAdamState(NamedTuple):
    """Adam's memory with a step count of every single weight: `counts`, `mu`, `nu` like params."""

    counts: Any
    mu: Any
    nu: Any


def scale_by_per_neuron_adam(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015, algorithm 1) whose bias correction goes by each weight's own age.

    As long as no count is set back it equals `optax.scale_by_adam`. After 'restart' a newborn's
    first update is ± the learning rate, as at the start of training.
    """

    def init(params):
        zeros = lambda dtype=None: jax.tree.map(lambda p: jnp.zeros_like(p, dtype), params)
        return PerNeuronAdamState(zeros(jnp.int32), zeros(), zeros())

    def update(updates, state, params=None):
        del params
        average = lambda decay, new, old: decay * old + (1 - decay) * new
        mu = jax.tree.map(lambda g, m: average(b1, g, m), updates, state.mu)
        nu = jax.tree.map(lambda g, v: average(b2, g**2, v), updates, state.nu)
        counts = jax.tree.map(lambda n: n + 1, state.counts)

        def direction(n, m, v):
            corrected = m / (1 - b1**n).astype(m.dtype), v / (1 - b2**n).astype(v.dtype)
            return corrected[0] / (jnp.sqrt(corrected[1]) + eps)

        return jax.tree.map(direction, counts, mu, nu), PerNeuronAdamState(counts, mu, nu)

    return optax.GradientTransformation(init, update)


def per_neuron_adam(
    learning_rate, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """AdamW (decoupled `weight_decay`) that counts by weight; see `scale_by_per_neuron_adam`."""
    return optax.chain(
        scale_by_per_neuron_adam(b1, b2, eps),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
