"""The energy of a candidate thought, given the first: three learned terms, lower is preferred.

    energy = α · constraint + β · risk + γ · uncertainty

Each term predicts something that is measured in training (`losses.critic`):

- constraint: −log of the predicted probability that the candidate decodes to the right answer to
  the question (in nats), learnt by cross-entropy on whether it did;
- risk: the predicted loss of the right answer under the candidate, in nats per token, learnt by
  least squares;
- uncertainty: the predicted standard deviation of that loss about its prediction, in nats per
  token, learnt by the Gaussian likelihood (Nix & Weigend 1994) with the mean held fixed, which
  keeps one from spoiling the other (Seitzer et al. 2022).

Shapes: `B` questions, `K` candidates, `d` components of a thought, `M` hidden units.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

LEAST_DEVIATION = 0.02  # nats per token: the likelihood of a certain prediction stays finite


class Weights(NamedTuple):
    """α, β and γ, not negative; may be traced."""

    alpha: jax.Array | float = 1.0
    beta: jax.Array | float = 1.0
    gamma: jax.Array | float = 1.0


class Terms(NamedTuple):
    """The three terms `[..., K]`, each at least 0, and the log-odds behind the first."""

    constraint: jax.Array
    risk: jax.Array
    uncertainty: jax.Array
    log_odds: jax.Array


def total(terms: Terms, weights: Weights) -> jax.Array:
    """The energy `[..., K]`."""
    a, b, c = weights
    return a * terms.constraint + b * terms.risk + c * terms.uncertainty


class Energy(nn.Module):
    """The terms of candidates. Parameters: `up`, kernel [3d, M] and bias [M]; `heads` [M, 3], [3].

    It sees the candidate, the first thought, and their product by components.
    """

    dimension: int
    hidden: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, candidates: jax.Array, first: jax.Array) -> Terms:
        """Terms `[B, K]` in float32 of `candidates [B, K, d]` given `first [B, d]`."""
        size = self.dimension**0.5
        first = jnp.broadcast_to(first[:, None], candidates.shape) * size
        candidates = candidates * size
        seen = jnp.concatenate([candidates, first, candidates * first], -1)
        inner = nn.gelu(nn.Dense(self.hidden, dtype=self.dtype, name="up")(seen))
        # The last product in float32: energies differ by little.
        heads = nn.Dense(3, dtype=jnp.float32, name="heads")(inner.astype(jnp.float32))
        odds, risk, spread = jnp.moveaxis(heads, -1, 0)
        return Terms(
            jax.nn.softplus(-odds),
            jax.nn.softplus(risk),
            jax.nn.softplus(spread) + LEAST_DEVIATION,
            odds,
        )


class Selection(NamedTuple):
    """What an energy selects: the lowest, `chosen [B]`, and soft weights `[B, K]`."""

    chosen: jax.Array
    weights: jax.Array


def select(energies: jax.Array, temperature: jax.Array | float) -> Selection:
    """Argmin (the first of equals) and softmax(−E / temperature) of `energies [B, K]`."""
    return Selection(jnp.argmin(energies, -1), jax.nn.softmax(-energies / temperature, -1))
