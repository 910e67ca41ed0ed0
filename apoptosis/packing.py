"""All state of a training as plain arrays, for checkpoints, and back.

Checkpoint writers (Orbax) take neither random keys nor arrays without elements, which evidence has
where nothing is recorded, and give NamedTuples back as something else. Pure: nothing is written.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np


def packed(tree) -> dict[str, jax.Array]:
    """The leaves by their number; keys as their data, those without elements left out."""
    plain = lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf
    return {str(i): plain(x) for i, x in enumerate(jax.tree.leaves(tree)) if np.size(x)}


def unpacked(stored: Mapping[str, np.ndarray], like):
    """The tree that was packed, of the structure, shapes and dtypes of `like`.

    Raises ValueError where `stored` is of another tree: the checkpoint of another configuration.
    """
    leaves, tree = jax.tree.flatten(like)
    expected = packed(like)
    if set(stored) != set(expected):
        raise ValueError(
            f"the checkpoint must hold {len(expected)} arrays for this configuration, "
            f"got {len(stored)}"
        )
    for name, own in expected.items():
        found = (np.shape(stored[name]), np.asarray(stored[name]).dtype)
        if found != (np.shape(own), own.dtype):
            raise ValueError(
                f"array {name} of the checkpoint must be {own.dtype}{list(np.shape(own))} for "
                f"this configuration, got {found[1]}{list(found[0])}"
            )

    def back(number, old):
        if not np.size(old):
            return old
        new = jnp.asarray(stored[str(number)])
        if not _is_key(old):
            return new
        return jax.random.wrap_key_data(new, impl=jax.random.key_impl(old))

    return jax.tree.unflatten(tree, [back(i, old) for i, old in enumerate(leaves)])


def _is_key(leaf) -> bool:
    return jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key)
