"""What a network has lost when it no longer learns: dormant neurons, rank, size of the weights.

Shapes: `R` samples, `N` neurons of a layer, `K` singular values.
"""

import jax
import jax.numpy as jnp

THRESHOLD = 0.025  # at or below which a neuron is dormant (Sokar et al. 2023, for DQN)


def dormant(outputs: jax.Array, threshold=THRESHOLD) -> jax.Array:
    """The share `[]` of neurons that are dormant, of their outputs `[R, N]`.

    A neuron is dormant whose mean |h| is at most `threshold` of its mean over the layer (Sokar et
    al. 2023, definition 3.1); in a layer that is silent all are.
    """
    size = jnp.mean(jnp.abs(outputs), 0)
    return jnp.mean(size <= threshold * jnp.mean(size))


def effective_rank(values: jax.Array) -> jax.Array:
    """exp(− Σ p log p) `[...]` of p_k = σ_k / Σ σ, of singular values σ `[..., K]`.

    Roy & Vetterli (2007), "The effective rank"; as Dohare et al. (2024) measure what the last
    hidden layer gives, `[R, N]`. It lies in [1, K], and is 0 where all outputs are 0.
    """
    total = jnp.sum(values, -1, keepdims=True)
    share = values / jnp.where(total > 0, total, 1)
    entropy = -jnp.sum(jax.scipy.special.xlogy(share, share), -1)
    return jnp.where(total[..., 0] > 0, jnp.exp(entropy), 0.0)


def weight_norm(params) -> jax.Array:
    """The Euclidean norm `[]` of all weights together, biases and scales left out."""
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in kernels))
