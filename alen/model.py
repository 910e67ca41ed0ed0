"""The organism: question → thought → steps of reasoning over parallel operators → answer.

Shapes: `B` questions, `T` tokens of a question, `A` of an answer, `D` width, `d` components of a
thought (here d = D), `K` operators, `R` steps, `S` starts, `V` symbols. Thoughts are unit vectors
in float32.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from alen import blocks, decoder, encoder, energy, operators, presets, tokeniser


class Memory(NamedTuple):
    """What is left of a question beside its thought: `tokens [B, T, D]`, `mask [B, T]`."""

    tokens: jax.Array
    mask: jax.Array


class Course(NamedTuple):
    """What went on in reasoning, question by question.

    `proposals [B, R, K, d]`, their `energies [B, R, K]` with the three `terms`, the soft `weights
    [B, R, K]`, and the operator `chosen [B, R]` (argmin) of each step; `active [B, R]` says which
    steps were taken. `thought [B, d]` is the last one and `start [B]` the number of the start it
    came from.
    """

    proposals: jax.Array
    energies: jax.Array
    terms: energy.Terms
    weights: jax.Array
    chosen: jax.Array
    active: jax.Array
    thought: jax.Array
    start: jax.Array


class Reasoning(NamedTuple):
    """How to reason; everything may be traced. The values here are those of inference.

    `weights` of the energy's terms; `temperature` of soft selection, which takes place where `hard`
    (`[]` or `[B]`) is False; `steps` (`[]` or `[B]`) how many to take, at most as many as there
    are (None: all); `noise` the relative radius of noise on every proposal, `spread` that of the
    starts after the first.
    """

    weights: energy.Weights = energy.Weights()
    temperature: jax.Array | float = 1.0
    hard: jax.Array | bool = True
    steps: jax.Array | int | None = None
    noise: jax.Array | float = 0.0
    spread: jax.Array | float = 0.1


INFERENCE = Reasoning()


class Alen(nn.Module):
    """One organism. Parameters are float32; products are taken in `compute`, thoughts in float32.

    Parameters: `table/embedding [V, D]` (of tokens, and tied to the head), `question_place`,
    `answer_place` (of positions), `encoder`, `operators`, `energy`, `decoder`: see the modules.
    """

    architecture: presets.Architecture
    compute: str = "float32"

    def setup(self):
        a, dtype = self.architecture, blocks.dtype_of(self.compute)
        self.table = blocks.Table(a.vocabulary, a.dimension, dtype, scaled=True)
        self.question_place = blocks.Table(a.question, a.dimension, dtype, scaled=True)
        self.answer_place = blocks.Table(a.answer, a.dimension, dtype, scaled=True)
        self.encoder = encoder.Encoder(a.encoder, self.compute, a.rounds)
        self.operators = operators.Operators(a.operators, a.dimension, a.hidden, dtype)
        self.energy = energy.Energy(a.dimension, a.hidden, dtype)
        self.decoder = decoder.Decoder(a.decoder, a.slots, self.compute)

    def __call__(self, questions: jax.Array, answers: jax.Array) -> jax.Array:
        """Logits `[B, A, V]` of the tokens of `answers [B, A]`, after argmin reasoning."""
        memory, thought = self.encode(questions)
        return self.decode(self.reason(thought).thought, memory, answers)

    def encode(
        self, questions: jax.Array, mask: jax.Array | None = None
    ) -> tuple[Memory, jax.Array]:
        """The memory and the thoughts `[B, d]` of `questions [B, T]`.

        `mask [B, T]` says where tokens are; None: wherever there is no PAD.
        """
        _fits("question", questions.shape[1], self.architecture.question)
        mask = questions != tokeniser.PAD if mask is None else mask
        with blocks.precision(self.compute):
            place = self.question_place.first(questions.shape[1])
            tokens, thought = self.encoder(self.table(questions) + place, mask)
        return Memory(tokens, mask), thought

    def reason(
        self,
        thought: jax.Array,
        how: Reasoning = INFERENCE,
        key: jax.Array | None = None,
        length: int | None = None,
        starts: int = 1,
    ) -> Course:
        """At most `length` steps (None: the architecture's) from each of `starts` starts.

        Each step, all operators propose, and the energy given the first thought, `thought [B, d]`,
        selects; at the end, the start with the lowest last energy is kept. `key` is that of noise
        and starts; without one there is none of either, and ValueError if `starts` is not 1.
        """
        if starts < 1 or (starts > 1 and key is None):
            raise ValueError(
                f"starts must be 1 without a key and at least 1 with one, got {starts}"
            )
        length = self.architecture.steps if length is None else length
        if length < 1:
            raise ValueError(f"length must be at least 1 step, got {length}")
        with blocks.precision(self.compute):
            batch = len(thought)
            here = jnp.repeat(thought, starts, 0)
            if starts > 1:
                others = jnp.where(jnp.arange(batch * starts) % starts == 0, 0.0, how.spread)
                key, draw = jax.random.split(key)
                here = operators.jitter(draw, here, others)
            course = self._course(jnp.repeat(thought, starts, 0), here, how, key, length, starts)
        if starts == 1:
            return course
        apart = jax.tree.map(lambda leaf: leaf.reshape(batch, starts, *leaf.shape[1:]), course)
        taken = jnp.where(apart.active, apart.energies.min(-1), 0)  # [B, S, R]
        last = jnp.maximum(apart.active.sum(-1) - 1, 0)
        final = jnp.take_along_axis(taken, last[..., None], -1)[..., 0]
        best = jax.nn.one_hot(jnp.argmin(final, -1), starts)
        pick = lambda leaf: jnp.einsum("bs,bs...->b...", best, leaf.astype(jnp.float32))
        return jax.tree.map(lambda leaf: pick(leaf).astype(leaf.dtype), apart)

    def _course(self, first, here, how, key, length, starts):
        each = lambda value: jnp.repeat(jnp.broadcast_to(value, len(first) // starts), starts)
        hard, steps = each(how.hard), each(length if how.steps is None else how.steps)
        seen = []
        for r in range(length):
            proposals = self.operators(here)
            if key is not None:
                draw = jax.random.fold_in(key, r)
                radius = jnp.broadcast_to(how.noise, proposals.shape[:-1])
                proposals = operators.jitter(draw, proposals, radius)
            terms = self.energy(proposals, first)
            energies = energy.total(terms, how.weights)
            chosen, weights = energy.select(energies, how.temperature)
            only = jax.nn.one_hot(chosen, energies.shape[-1])
            mixture = jnp.where(hard[:, None], only, weights)
            # A single proposal is on the sphere already: this leaves it where it is.
            after = operators.normalise(jnp.einsum("bk,bkd->bd", mixture, proposals))
            active = r < steps
            here = jnp.where(active[:, None], after, here)
            seen.append((proposals, energies, terms, weights, chosen, active))
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves, 1), *seen)
        number = jnp.arange(len(first), dtype=jnp.int32) % starts
        return Course(*stacked, here, number)

    def terms(self, candidates: jax.Array, first: jax.Array) -> energy.Terms:
        """The energy's terms `[B, K]` of `candidates [B, K, d]` given `first [B, d]`."""
        with blocks.precision(self.compute):
            return self.energy(candidates, first)

    def decode(self, thought: jax.Array, memory: Memory, answers: jax.Array) -> jax.Array:
        """Logits `[B, A, V]` of each of the tokens `answers [B, A]` given those before it.

        The memory is seen only where the architecture says so.
        """
        _fits("answer", answers.shape[1], self.architecture.answer)
        with blocks.precision(self.compute):
            before = jnp.pad(answers[:, :-1], ((0, 0), (1, 0)), constant_values=tokeniser.BOS)
            h = self.table(before) + self.answer_place.first(before.shape[1])
            return self.table.scores(self.decoder(h, thought, *self._visible(memory)))

    def start(self, thought: jax.Array, memory: Memory, length: int) -> blocks.Cache:
        """The decoder's cache before the first of `length` tokens."""
        _fits("answer", length, self.architecture.answer)
        with blocks.precision(self.compute):
            return self.decoder.start(length, thought, *self._visible(memory))

    def extend(self, tokens: jax.Array, cache: blocks.Cache) -> tuple[jax.Array, blocks.Cache]:
        """Logits `[B, V]` of what follows `tokens [B]` (BOS at first), and the cache."""
        with blocks.precision(self.compute):
            place = self.answer_place(cache.index[None])
            h, cache = self.decoder.extend(self.table(tokens[:, None]) + place, cache)
            return self.table.scores(h)[:, 0], cache

    def _visible(self, memory):
        return memory if self.architecture.memory else (None, None)


def _fits(what, given, longest):
    if given > longest:
        raise ValueError(f"the longest {what} has {longest} tokens, got {given}")


def initial(key: jax.Array, model: Alen) -> dict:
    """The parameters that `model` starts from."""
    token = jnp.zeros((1, 1), jnp.int32)
    return model.init(key, token, token)["params"]
