"""The forward check: a network that tells the model's right answers from its wrong ones.

It is trained on answers that the model itself gave, on near misses and on unanswerable questions
(`verifier_learner`), and sees everything: the question as the encoder left it, the thought before
and after reasoning, and the answer. Its logit is the margin of the check.

Shapes: `B` answers, `S` tokens of a question, `A` tokens of an answer, `D` width of the question's
memory, `d` of a thought.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from alen import blocks, tokeniser


class Correctness(nn.Module):
    """Log odds that an answer is right. `symbols` in the vocabulary, `length` tokens an answer."""

    symbols: int
    length: int
    shape: blocks.Shape
    compute: str = "float32"

    @nn.compact
    def __call__(self, memory, memory_mask, initial, thought, answers) -> jax.Array:
        """Logits `[B]` in float32.

        `memory [B, S, D]` with `memory_mask [B, S]`, thoughts `initial` and `thought [B, d]`,
        tokens `answers [B, A]`.
        """
        dtype, width = blocks.dtype_of(self.compute), self.shape.width
        if answers.shape[1] != self.length:
            raise ValueError(f"answers must have {self.length} tokens, got {answers.shape[1]}")
        with blocks.precision(self.compute):
            thoughts = jnp.concatenate([initial, thought, initial * thought], -1).astype(dtype)
            summary = nn.Dense(width, dtype=dtype, name="thoughts")(thoughts)[:, None]
            table = blocks.Table(self.symbols, width, dtype, scaled=True, name="embedding")
            places = blocks.Table(self.length, width, dtype, scaled=True, name="position")
            words = table(answers) + places.first(self.length)
            h = jnp.concatenate([summary, words], axis=1)
            mask = jnp.pad(answers != tokeniser.PAD, ((0, 0), (1, 0)), constant_values=True)
            context = nn.Dense(width, dtype=dtype, name="memory")(memory.astype(dtype))
            stack = blocks.Stack(self.shape, self.compute, cross=True, name="stack")
            h = stack(h, mask, context, memory_mask)[:, 0]
            return nn.Dense(1, dtype=jnp.float32, name="head")(h.astype(jnp.float32))[:, 0]


def loss(logits: jax.Array, right: jax.Array) -> jax.Array:
    """Binary cross-entropy in nats, mean over `logits` and `right [B]`: a proper score, so that
    the logistic of a logit can be read as a chance on answers mixed as in training."""
    return optax.sigmoid_binary_cross_entropy(logits, right.astype(jnp.float32)).mean()
