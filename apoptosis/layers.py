"""Attention, dropout and a product in the forms that are quick on CPUs, and no slower elsewhere.

Shapes: `B` sequences, `T` tokens, `H` heads, `C` channels a head.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

PORTION = 64  # queries of one product
SHARES = 2**16  # what a draw of dropout is one of


def causal(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Causal attention of queries, keys and values `[B, T, H, C]`, of their shape.

    Scores and softmax are float32. Queries come in portions that see no later keys, which saves up
    to half of the products with those that are masked.
    """
    query, key, value = (array.swapaxes(1, 2) for array in (query, key, value))
    length, channels = query.shape[2:]
    mixed = []
    for start in range(0, length, PORTION):
        stop = min(start + PORTION, length)
        scores = jnp.einsum(
            "bhtc,bhsc->bhts",
            query[:, :, start:stop],
            key[:, :, :stop],
            preferred_element_type=jnp.float32,
        )
        past = jnp.arange(start, stop)[:, None] >= jnp.arange(stop)
        scores = jnp.where(past, scores * channels**-0.5, jnp.finfo(jnp.float32).min)
        weights = jax.nn.softmax(scores).astype(value.dtype)
        mixed.append(jnp.einsum("bhts,bhsc->bhtc", weights, value[:, :, :stop]))
    return jnp.concatenate(mixed, 2).swapaxes(1, 2)


class Dropout(nn.Module):
    """Drops out with the key `dropout`, by a share that is `rate` to the nearest of `SHARES`.

    Two draws share a word of random bits, as these are dear on CPUs.
    """

    rate: float

    @nn.compact
    def __call__(self, h: jax.Array, training: bool) -> jax.Array:
        """`h [..., D]` with a share of its values 0 and the others as much larger."""
        dropped = min(round(self.rate * SHARES), SHARES - 1)
        if not (training and dropped):
            return h
        shape = *h.shape[:-1], -(-h.shape[-1] // 2)
        words = jax.random.bits(self.make_rng("dropout"), shape, jnp.uint32)
        kept = [half >= dropped for half in (words & (SHARES - 1), words >> 16)]
        # Else CPUs draw the mask a second time, for the gradient.
        kept = jax.lax.optimization_barrier(jnp.concatenate(kept, -1)[..., : h.shape[-1]])
        return jnp.where(kept, h / (1 - dropped / SHARES), 0)


def narrowing(rows: jax.Array, kernel: jax.Array, dimensions, **how) -> jax.Array:
    """`rows [R, F]` @ `kernel [F, D]`, as `nn.Dense` wants it, by the transposed kernel.

    So the kernel's gradient is made transposed as well: CPUs take twice as long over one that has
    more rows than columns.
    """
    turned = jax.lax.optimization_barrier(kernel.T)
    return jax.lax.dot_general(rows, turned, (((1,), (1,)), ((), ())), **how)
