"""K parallel residual maps of thoughts, and how evenly they are used.

Shapes: `B` questions, `K` operators, `d` components of a thought, `M` hidden units.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

EPSILON = 1e-6


def normalise(vectors: jax.Array) -> jax.Array:
    """`vectors [..., d]` in float32, scaled onto the unit sphere; finite gradient even at zero."""
    vectors = vectors.astype(jnp.float32)
    return vectors * jax.lax.rsqrt(jnp.sum(vectors**2, -1, keepdims=True) + EPSILON**2)


class Operators(nn.Module):
    """ψ ↦ normalise(LN(ψ + W2 · gelu(W1 · ψ))) for K operators at once, in one batched product.

    Parameters: `up [K, d, M]`, `down [K, M, d]`, `scale` and `bias [K, d]` of the layer norms. As
    a unit vector's components are of size 1/√d, ψ is taken as √d · ψ; the factor cancels in LN.
    """

    count: int
    dimension: int
    hidden: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, thought: jax.Array) -> jax.Array:
        """Proposals `[B, K, d]`, unit vectors in float32, from `thought [B, d]`."""
        count, d, hidden = self.count, self.dimension, self.hidden
        draw = nn.initializers.variance_scaling(1.0, "fan_in", "normal", batch_axis=0)
        up = self.param("up", draw, (count, d, hidden)).astype(self.dtype)
        down = self.param("down", draw, (count, hidden, d)).astype(self.dtype)
        scale = self.param("scale", nn.initializers.ones, (count, d))
        bias = self.param("bias", nn.initializers.zeros, (count, d))
        thought = thought * d**0.5
        inner = nn.gelu(jnp.einsum("bd,kdm->bkm", thought.astype(self.dtype), up))
        moved = thought[:, None] + jnp.einsum("bkm,kmd->bkd", inner, down).astype(jnp.float32)
        moved = moved - moved.mean(-1, keepdims=True)
        moved = moved * jax.lax.rsqrt(jnp.mean(moved**2, -1, keepdims=True) + EPSILON)
        return normalise(moved * scale + bias)


def jitter(key: jax.Array, thoughts: jax.Array, radius: jax.Array) -> jax.Array:
    """`thoughts [..., d]` moved by Gaussian noise of root mean square length `radius`.

    The result lies on the sphere. `radius` may be traced and is broadcast to `[...]`; 0 leaves
    unit vectors where they are.
    """
    noise = jax.random.normal(key, thoughts.shape) / thoughts.shape[-1] ** 0.5
    return normalise(thoughts + jnp.asarray(radius)[..., None] * noise)


class Usage(NamedTuple):
    """How evenly operators are used.

    `share [K]` of choices; `entropy` of the shares over log K: 1 is even, 0 a single operator (1
    where K is 1); `collapsed` counts operators with less than a tenth of an even share.
    """

    share: jax.Array
    entropy: jax.Array
    collapsed: jax.Array


def usage(chosen: jax.Array, count: int, mask: jax.Array | None = None) -> Usage:
    """The usage among choices `chosen [...]` of `count` operators, where `mask [...]` holds."""
    weight = jnp.ones(chosen.shape) if mask is None else mask.astype(jnp.float32)
    picked = jax.nn.one_hot(chosen, count) * weight[..., None]
    share = picked.reshape(-1, count).sum(0) / jnp.maximum(weight.sum(), 1)
    entropy = jax.scipy.special.entr(share).sum() / jnp.log(count) if count > 1 else jnp.ones(())
    return Usage(share, entropy, jnp.sum(share < 0.1 / count))


def imbalance(weights: jax.Array, chosen: jax.Array, mask: jax.Array) -> jax.Array:
    """K · Σ_k f_k · p_k − 1 (Fedus et al. 2022, eq. 4): 0 where operators are used evenly.

    f are the shares of `chosen [...]`, p the means of the soft `weights [..., K]`, which alone have
    a gradient, both where `mask [...]` holds.
    """
    count = weights.shape[-1]
    share = usage(jax.lax.stop_gradient(chosen), count, mask).share
    soft = jnp.where(mask[..., None], weights, 0).reshape(-1, count).sum(0)
    return count * jnp.sum(share * soft) / jnp.maximum(mask.sum(), 1) - 1
