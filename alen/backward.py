"""The backward check: can a hidden part of the question be told from the answer and the rest?

If the answer follows from the question, it says something about every part that it depends on: of
57 + 88, with 57 hidden, the sum and 88 leave one number. The margin is the logarithm of how many
times likelier the true part became by the answer,

    log p(part | rest, answer) - log p(part | rest, answer hidden), per token of the part,

the pointwise mutual information in nats: no dimension, no vocabulary in it. A right answer should
raise it, a wrong one points to another part and lowers it, and an answer without content leaves it
at 0. The network here has an encoder of its own that never sees a thought nor the hidden tokens,
so that it can fail; hidden tokens are told independently of one another, given all else.

Shapes: `B` questions, `S` tokens of a question, `A` tokens of an answer, `P` parts of a question,
`V` symbols. `parts [B, P, S]` are True where a part's tokens are; an empty part is none.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from alen import blocks, tokeniser

POOLS = ("mean", "least")
BLIND = 4  # of so many questions one is learnt without its answer


class Backward(nn.Module):
    """Tells hidden tokens. `question` and `answer` are lengths in tokens."""

    symbols: int
    question: int
    answer: int
    shape: blocks.Shape
    compute: str = "float32"

    @nn.compact
    def __call__(self, questions, part, answers) -> jax.Array:
        """Logits `[B, S, V]` in float32 at every token of the question.

        `questions [B, S]`, of which the tokens `part [B, S]` are replaced before anything sees
        them, and `answers [B, A]`.
        """
        dtype, width = blocks.dtype_of(self.compute), self.shape.width
        length = self.question + self.answer
        tokens = jnp.concatenate([hide(questions, part), answers], axis=1)
        if tokens.shape[1] != length or questions.shape[1] != self.question:
            raise ValueError(
                f"questions and answers must have {self.question} and {self.answer} tokens, got "
                f"{questions.shape[1]} and {answers.shape[1]}"
            )
        with blocks.precision(self.compute):
            table = blocks.Table(self.symbols, width, dtype, scaled=True, name="embedding")
            places = blocks.Table(length, width, dtype, scaled=True, name="position").first(length)
            stack = blocks.Stack(self.shape, self.compute, name="stack")
            h = stack(table(tokens) + places, tokens != tokeniser.PAD)[:, : self.question]
            logits = nn.Dense(self.symbols, dtype=dtype, name="head")(h)
            return logits.astype(jnp.float32)


class Told(NamedTuple):
    """What the answer told of a question's parts, `[B]` each."""

    margin: jax.Array  # nats per hidden token, pooled over the parts
    exact: jax.Array  # bool: every hidden token of every part was the likeliest
    informed: jax.Array  # log p(part | rest, answer), mean per hidden token over all parts
    blind: jax.Array  # the same with the answer hidden


def spans(parts, length: int) -> np.ndarray:
    """`[B, P, S = length]` of a list of spans (first token, token after the last) per question."""
    most = max([len(spans) for spans in parts], default=0)
    found = np.zeros((len(parts), most, length), bool)
    for row, spans in zip(found, parts, strict=True):
        for part, (start, stop) in zip(row, spans, strict=False):
            if not 0 <= start < stop <= length:
                raise ValueError(f"a part must lie in [0, {length}], got ({start}, {stop})")
            part[start:stop] = True
    return found


def hide(tokens, part):
    """`tokens` with MASK where `part`; padding stays, and never counts as a part."""
    return jnp.where(part & (tokens != tokeniser.PAD), tokeniser.MASK, tokens)


def hide_answers(answers):
    """Nothing of `answers [B, A]`, not even how long they are."""
    return jnp.full_like(answers, tokeniser.MASK)


def told(backward: Backward, params, questions, parts, answers, pool="mean") -> Told:
    """What `answers [B, A]` tell of `parts [B, P, S]` of `questions [B, S]`; one batched product.

    Parts are pooled by the 'mean' over all hidden tokens, or by the 'least' of the parts' means,
    which asks that every part can be told. Without parts the margin is 0, and never exact.
    """
    if pool not in POOLS:
        raise ValueError(f"pool must be one of {', '.join(POOLS)}, got {pool!r}")
    batch, most, length = parts.shape
    repeat = lambda x: jnp.repeat(x, most, axis=0)
    hidden = (parts & (questions != tokeniser.PAD)[:, None]).reshape(batch * most, length)
    twice = lambda x: jnp.concatenate([x, x])
    both = jnp.concatenate([repeat(answers), repeat(hide_answers(answers))])
    logits = backward.apply(params, twice(repeat(questions)), twice(hidden), both)
    likely = _log_likelihood(logits, twice(repeat(questions)))
    informed, blind = (
        jnp.where(hidden, x, 0.0).reshape(batch, most, length) for x in jnp.split(likely, 2)
    )
    hidden = hidden.reshape(batch, most, length)
    best = logits[: batch * most].argmax(axis=-1).reshape(batch, most, length)
    hit = (best == questions[:, None]) | ~hidden
    size, any_part = hidden.sum(axis=(1, 2)), hidden.any(axis=(1, 2))
    per_token = lambda x: x.sum(axis=(1, 2)) / jnp.maximum(size, 1)
    if pool == "mean":
        margin = per_token(informed) - per_token(blind)
    else:
        counts = hidden.sum(axis=2)
        means = (informed - blind).sum(axis=2) / jnp.maximum(counts, 1)
        margin = jnp.where(counts > 0, means, jnp.inf).min(axis=1, initial=jnp.inf)
        margin = jnp.where(any_part, margin, 0.0)
    return Told(margin, hit.all(axis=(1, 2)) & any_part, per_token(informed), per_token(blind))


def draw_part(key, parts) -> jax.Array:
    """One part `[B, S]` of each question's `parts [B, P, S]`, all equally likely; of none, none."""
    there = parts.any(axis=-1)
    choice = jax.random.categorical(key, jnp.where(there, 0.0, -jnp.inf), axis=-1)
    choice = jnp.where(there.any(axis=-1), choice, 0)
    return jnp.take_along_axis(parts, choice[:, None, None], axis=1)[:, 0]


def loss(backward: Backward, params, questions, part, truth, answerable) -> jax.Array:
    """Mean of -log p of hidden tokens in nats, beside the true answers and beside hidden ones.

    `part [B, S]`, `truth [B, A]`. Answers are hidden of every fourth question: what a part looks
    like beside the rest is soon learnt, and it is all that those teach that are not `answerable
    [B]`. That the check rejects wrong answers is never trained, and what it achieves is its own.
    """
    hidden = part & (questions != tokeniser.PAD)
    with_blind = lambda x: jnp.concatenate([x, x[::BLIND]])
    told = jnp.concatenate([truth, hide_answers(truth[::BLIND])])
    logits = backward.apply(params, with_blind(questions), with_blind(hidden), told)
    weight = jnp.concatenate([hidden & answerable[:, None], hidden[::BLIND]]).astype(jnp.float32)
    surprise = -_log_likelihood(logits, with_blind(questions))
    return (weight * surprise).sum() / jnp.maximum(weight.sum(), 1.0)


def _log_likelihood(logits, tokens):
    """log p `[B, S]` of `tokens [B, S]` under `logits [B, S, V]`."""
    picked = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    return picked - jax.nn.logsumexp(logits, axis=-1)
