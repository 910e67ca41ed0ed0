"""A thought becomes an answer: a causal transformer that attends to it, token by token.

Shapes: `B` questions, `T` tokens of an answer, `S` of a question, `D` width, `d` components of a
thought, `m` slots: tokens as which the decoder sees the thought.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from alen import blocks


class Decoder(nn.Module):
    """Parameters: `stack` (see `blocks`) and `slots`, kernel [d, m, D] and bias [m, D]."""

    shape: blocks.Shape
    slots_count: int
    compute: str = "float32"

    def setup(self):
        self.stack = blocks.Stack(self.shape, self.compute, causal=True, cross=True)
        self.slots = nn.DenseGeneral(
            (self.slots_count, self.shape.width), dtype=blocks.dtype_of(self.compute)
        )

    def __call__(self, h, thought, memory=None, mask=None) -> jax.Array:
        """What follows each of the embedded tokens `h [B, T, D]`, `[B, T, D]`.

        `thought [B, d]`; `memory [B, S, D]` and its `mask [B, S]`, or None: the thought alone.
        """
        return self.stack(h, None, *self._context(thought, memory, mask))

    def start(self, length: int, thought, memory=None, mask=None) -> blocks.Cache:
        """The cache before the first of at most `length` tokens."""
        return self.stack.start(len(thought), length, *self._context(thought, memory, mask))

    def extend(self, h, cache: blocks.Cache) -> tuple[jax.Array, blocks.Cache]:
        """One embedded token `h [B, 1, D]` on."""
        return self.stack.extend(h, cache)

    def _context(self, thought, memory, mask):
        slots = self.slots(thought * self.shape.width**0.5)
        if memory is None:
            return slots, None
        there = jnp.ones(slots.shape[:2], bool)
        return jnp.concatenate([slots, memory], 1), jnp.concatenate([there, mask], 1)
