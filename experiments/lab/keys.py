"""Random keys from names and coordinates, never from the order of a loop."""

import zlib

import jax
import jax.numpy as jnp


def check(seed: int) -> None:
    """Raises ValueError unless 0 ≤ seed < 2³²."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie in [0, 2**32), got {seed}")


def root(seed: int) -> jax.Array:
    """The key all others derive from."""
    check(seed)
    return jax.random.key(seed)


def stream(key: jax.Array, *path: str | int | jax.Array) -> jax.Array:
    """The key at `path` below `key`; names are folded in by their checksum, numbers as they are.

    Adding a name or a number elsewhere changes no other key.
    """
    for step in path:
        number = zlib.crc32(step.encode()) if isinstance(step, str) else step
        key = jax.random.fold_in(key, jnp.uint32(number))
    return key


def trial(key: jax.Array, study: str, number) -> jax.Array:
    """The key of trial `number` of the arms called `study`; all configs of a trial share it."""
    return stream(key, study, "trial", number)
