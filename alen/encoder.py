"""A question's tokens become a thought: a transformer, its mean, a linear map, the unit sphere.

Shapes: `B` questions, `T` tokens, `D` width, `d` components of a thought (here d = D).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from alen import blocks, operators


class Encoder(nn.Module):
    """Parameters: `stack` (see `blocks`) and `thought`, kernel [D, d] and bias [d]."""

    shape: blocks.Shape
    compute: str = "float32"
    rounds: int = 1  # times that all blocks are applied

    def setup(self):
        self.stack = blocks.Stack(self.shape, self.compute, rounds=self.rounds)
        self.thought = nn.Dense(self.shape.width, dtype=jnp.float32)

    def __call__(self, h: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The tokens' memory `[B, T, D]` and the thoughts `[B, d]` of embedded questions.

        `h [B, T, D]`, `mask [B, T]` True where there is a token. A question without any has the
        thought of an empty mean, the bias alone.
        """
        memory = self.stack(h, mask)
        there = mask[..., None].astype(jnp.float32)
        mean = jnp.sum(memory * there, 1) / jnp.maximum(there.sum(1), 1)
        return memory, operators.normalise(self.thought(mean))
