"""From a question to an answer in one program; see `model` for the shapes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alen import model as organism
from alen import tokeniser


class Decoded(NamedTuple):
    """An answer's `tokens [B, A]` (EOS included, PAD behind it) and how likely they were.

    `log_probabilities [B, A]` in nats of each token given those before, at temperature 1 (0 behind
    EOS); `log_probability [B]` is their sum.
    """

    tokens: jax.Array
    log_probability: jax.Array
    log_probabilities: jax.Array


class Answer(NamedTuple):
    """As `Decoded`, with the final `thought` and the `initial` one `[B, d]`, memory and course."""

    tokens: jax.Array
    log_probability: jax.Array
    log_probabilities: jax.Array
    thought: jax.Array
    initial: jax.Array
    memory: organism.Memory
    course: organism.Course


def from_thought(
    model: organism.Alen,
    params,
    thought: jax.Array,
    memory: organism.Memory,
    key: jax.Array | None = None,
    temperature: jax.Array | float = 0.0,
    length: int | None = None,
) -> Decoded:
    """At most `length` tokens (None: the architecture's longest) from `thought [B, d]`.

    Greedy at temperature 0 and without a key, else sampled. Stops when all answers have ended.
    """
    length = model.architecture.answer if length is None else length
    apply = lambda *args, method: model.apply({"params": params}, *args, method=method)
    batch = len(thought)

    def one(carry):
        i, token, ended, cache, tokens, chances = carry
        logits, cache = apply(token, cache, method="extend")
        token = jnp.argmax(logits, -1).astype(jnp.int32)
        if key is not None:
            warm = logits / jnp.maximum(temperature, 1e-6)
            drawn = jax.random.categorical(jax.random.fold_in(key, i), warm).astype(jnp.int32)
            token = jnp.where(jnp.asarray(temperature) > 0, drawn, token)
        chance = jnp.take_along_axis(jax.nn.log_softmax(logits), token[:, None], -1)[:, 0]
        token = jnp.where(ended, tokeniser.PAD, token)
        tokens = jax.lax.dynamic_update_slice_in_dim(tokens, token[:, None], i, 1)
        chance = jnp.where(ended, 0.0, chance)[:, None]
        chances = jax.lax.dynamic_update_slice_in_dim(chances, chance, i, 1)
        return i + 1, token, ended | (token == tokeniser.EOS), cache, tokens, chances

    carry = (
        jnp.int32(0),
        jnp.full(batch, tokeniser.BOS, jnp.int32),
        jnp.zeros(batch, bool),
        apply(thought, memory, length, method="start"),
        jnp.full((batch, length), tokeniser.PAD, jnp.int32),
        jnp.zeros((batch, length)),
    )
    carry = jax.lax.while_loop(lambda c: (c[0] < length) & ~jnp.all(c[2]), one, carry)
    *_, tokens, chances = carry
    return Decoded(tokens, chances.sum(-1), chances)


def answer(
    model: organism.Alen,
    params,
    questions: jax.Array,
    how: organism.Reasoning = organism.INFERENCE,
    key: jax.Array | None = None,
    temperature: jax.Array | float = 0.0,
    length: int | None = None,
    steps: int | None = None,
    starts: int = 1,
) -> Answer:
    """Answers to `questions [B, T]`: encode, reason, decode.

    `how`, `steps` (at most; `how.steps` may be traced) and `starts` are those of reasoning,
    `length` and `temperature` those of `from_thought`. `key` is that of noise, starts and sampling.
    """
    think, say = (None, None) if key is None else jax.random.split(key)
    apply = lambda *args, method: model.apply({"params": params}, *args, method=method)
    memory, initial = apply(questions, method="encode")
    course = apply(initial, how, think, steps, starts, method="reason")
    decoded = from_thought(model, params, course.thought, memory, say, temperature, length)
    return Answer(*decoded, course.thought, initial, memory, course)


def exact(tokens: jax.Array, truth: jax.Array) -> jax.Array:
    """Which of `tokens [B, A]` are exactly the answers `truth [B, A]`; never where none is true."""
    same = jnp.all(tokens == truth, -1)
    return same & jnp.any(truth != tokeniser.PAD, -1)
