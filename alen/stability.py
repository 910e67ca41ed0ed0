"""The stability check: does the answer stay the same when thought or wording are shaken?

Shapes: `B` questions, `n` perturbations, `d` width of a thought, `S` and `A` tokens of a question
and an answer. All perturbations of a batch are decoded in one call of fixed shape `[B n, ...]` and
in the thought's own dtype, so that no answer depends on how many others were asked with it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from alen import tokeniser


def shake(key, thought: jax.Array, count: int, radius) -> jax.Array:
    """`[B, n = count, d]`: unit vectors at `radius` from `thought [B, d]` in random directions.

    normalise(psi + radius |psi| u), u uniform on the sphere: the angle is at most about `radius`.
    """
    size = jnp.linalg.norm(thought, axis=-1, keepdims=True)[:, None]
    batch, width = thought.shape
    draws = jax.random.normal(key, (batch, count, width), thought.dtype)
    step = radius * size * draws / jnp.linalg.norm(draws, axis=-1, keepdims=True)
    moved = thought[:, None] + step.astype(thought.dtype)
    return moved / jnp.linalg.norm(moved, axis=-1, keepdims=True)


def same(answers: jax.Array, others: jax.Array) -> jax.Array:
    """Are answers equal up to and with their EOS? Bool `[...]` of tokens `[..., A]`; what stands
    behind EOS does not count."""
    return (ending(answers) == ending(others)).all(axis=-1)


def ending(answers: jax.Array) -> jax.Array:
    """`answers [..., A]` with PAD behind the first EOS."""
    ended = jnp.cumsum(answers == tokeniser.EOS, axis=-1) - (answers == tokeniser.EOS) > 0
    return jnp.where(ended, tokeniser.PAD, answers)


def of_thought(key, decode: Callable, thought, answers, count: int, radius) -> jax.Array:
    """1 where a shaken thought decodes to the same one of `answers [B, A]`, else 0: `[B, n]`.

    `decode` takes thoughts `[B n, d]`, n of a question in a row, and gives tokens `[B n, A]`; what
    else it needs (the question's memory) it repeats with `spread`.
    """
    moved = shake(key, thought, count, radius)
    found = decode(moved.reshape(-1, moved.shape[-1]))
    return _agree(answers, found, count)


def of_surface(answer: Callable, perturbed, answers) -> jax.Array:
    """1 where another surface `perturbed [B, n, S]` gets the same of `answers [B, A]`: `[B, n]`.

    `answer` takes questions `[B n, S]` and gives tokens `[B n, A]`.
    """
    count = perturbed.shape[1]
    return _agree(answers, answer(perturbed.reshape(-1, perturbed.shape[-1])), count)


def spread(tree, count: int):
    """Arrays `[B, ...]` as `[B n, ...]`, each row `count` times in a row."""
    return jax.tree.map(lambda x: jnp.repeat(x, count, axis=0), tree)


def _agree(answers, found, count):
    found = found.reshape(len(answers), count, -1)
    return same(answers[:, None], found).astype(jnp.float32)
