"""Who dies: exact numbers, ties by index.

Shapes: `N` neurons of a group.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

_ROUNDING = 1e-3  # of a neuron, so that ten thousand events' rounding errors cost none
_FEW = 64  # up to here all pairs are compared, which is quicker than to sort


def quota(carried: jax.Array, rate, number) -> tuple[jax.Array, jax.Array]:
    """How many of `number` neurons are due at this event, and the fraction carried to the next."""
    due = carried + rate * number
    count = jnp.floor(due + _ROUNDING)
    return count.astype(jnp.int32), due - count


def ranks(scores: jax.Array, eligible: jax.Array) -> jax.Array:
    """Places `[N]` from the lowest score on: the eligible first, ties by index, NaN lowest."""
    scores = jnp.where(jnp.isnan(scores), -jnp.inf, scores)
    if len(scores) <= _FEW:
        index = jnp.arange(len(scores))
        equal = (scores[:, None] == scores) & (index[:, None] > index)
        before = (scores[:, None] > scores) | equal  # [i, j]: j stands before i
        first = eligible & ~eligible[:, None]
        before = first | (before & (eligible == eligible[:, None]))
        return jnp.sum(before, 1)
    order = jnp.lexsort((scores, ~eligible))  # stable
    return jnp.zeros_like(order).at[order].set(jnp.arange(len(scores)))


def lowest(scores: jax.Array, count: jax.Array, eligible: jax.Array) -> jax.Array:
    """The `count` eligible neurons of the lowest scores, `[N]`; all of them if they are fewer."""
    return (ranks(scores, eligible) < count) & eligible


def lowest_across(
    scores: Sequence[jax.Array], count: jax.Array, eligible: Sequence[jax.Array]
) -> list[jax.Array]:
    """As `lowest`, over all groups together; ties by group, then by index."""
    chosen = lowest(jnp.concatenate(scores), count, jnp.concatenate(eligible))
    sizes = [len(own) for own in scores]
    return jnp.split(chosen, [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)])
