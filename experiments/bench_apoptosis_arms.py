"""The training steps that the transformer's bench times: ours, ours watched, and a plain loop.

All train the same network on the same text. `advance()` takes a fixed number of steps and returns
how many; `losses` are those of the steps so far.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from apoptosis import evidence, presets, text, transformer
from experiments.apoptosis_training import State, Subject, Trainer
from experiments.lab import keys


class Steps:
    """Training steps of `Trainer`, as the studies take them."""

    def __init__(self, trainer: Trainer, steps: int):
        self.trainer, self.steps = trainer, steps
        self.state = trainer.start()
        self.losses: list[float] = []

    def advance(self) -> int:
        self.state, losses, _ = self.trainer.advance(self.state, self.steps)
        self.losses += np.asarray(losses).tolist()
        return self.steps


class Watched:
    """The same steps with evidence of every neuron gathered in them.

    `record` samples of outputs are kept at every step, and with `inputs` those of the inputs;
    `watch` is how many sequences of a batch are looked at, by default all.
    """

    def __init__(
        self,
        trainer: Trainer,
        steps: int,
        record: int = 0,
        inputs: bool = False,
        watch: int | None = None,
    ):
        self.trainer, self.steps, self.watch = trainer, steps, watch
        state = trainer.start()
        known = evidence.init(state.params, record=record, inputs=inputs)
        self.carry = state, jax.device_put(known, trainer.everywhere)
        self.losses: list[float] = []
        jitted = jax.jit(self._advance, donate_argnums=0, out_shardings=trainer.everywhere)
        self.compiled = jitted.lower(self.carry, trainer.part).compile()

    @property
    def known(self) -> evidence.Evidence:
        return self.carry[1]

    def advance(self) -> int:
        self.carry, losses = jax.block_until_ready(self.compiled(self.carry, self.trainer.part))
        self.losses += np.asarray(losses).tolist()
        return self.steps

    def _advance(self, carry, part):
        subject, model = self.trainer.subject, self.trainer.model
        root = keys.stream(keys.root(subject.seed), "step")
        training, context = subject.preset.training, model.architecture.context

        def step(carry, _):
            state, known = carry
            key = keys.stream(root, state.step)
            batch = text.batch(keys.stream(key, "batch"), part, training.batch, context)
            tokens, targets = jax.lax.with_sharding_constraint(batch, self.trainer.spread)
            loss, gradient, seen = transformer.observed(
                model, keys.stream(key, "dropout"), state.params, tokens, targets
            )
            # Spread over the batch, and so over the devices.
            apart = training.batch // (self.watch or training.batch)
            watched = lambda own: own[::apart][: self.watch]
            outputs, inputs = jax.tree.map(watched, tuple(seen))
            known = evidence.gather(known, state.params, outputs, gradient, inputs)
            updates, memory = self.trainer.optimiser.update(gradient, state.optimiser, state.params)
            params = optax.apply_updates(state.params, updates)
            return (State(params, memory, state.step + 1), known), loss

        return jax.lax.scan(step, carry, length=self.steps)


class Plain(nn.Module):
    """The same transformer as anyone would write it in Flax, of the library's own modules."""

    symbols: int
    shape: transformer.Architecture
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, tokens, training: bool):
        shape, length = self.shape, tokens.shape[1]
        drop = lambda h: nn.Dropout(shape.dropout, deterministic=not training)(h)
        norm = lambda h: nn.LayerNorm(dtype=self.dtype)(h)
        embed = nn.Embed(self.symbols, shape.width, dtype=self.dtype)
        place = nn.Embed(shape.context, shape.width, dtype=self.dtype)
        h = drop(embed(tokens) + place(jnp.arange(length)))
        mask = nn.make_causal_mask(tokens)
        for _ in range(shape.layers):
            attention = nn.MultiHeadDotProductAttention(
                shape.heads, dtype=self.dtype, use_bias=False
            )
            up, down = (nn.Dense(width, dtype=self.dtype) for width in (shape.ffn, shape.width))
            feed = lambda h, up=up, down=down: down(
                transformer.ACTIVATIONS[shape.activation](up(h))
            )
            for sublayer in (lambda h, a=attention: a(h, h, mask=mask), feed):
                pre = shape.norm == "pre"
                h = h + drop(sublayer(norm(h) if pre else h))
                h = h if pre else norm(h)
        h = norm(h) if shape.norm == "pre" else h
        head = embed.attend if shape.tied else nn.Dense(self.symbols, False, dtype=self.dtype)
        return head(h).astype(jnp.float32)


class PlainLoop:
    """A Python loop over a jitted step on one device: batches cut by NumPy, one call a step."""

    def __init__(self, subject: Subject, steps: int):
        self.subject, self.steps = subject, steps
        shape = subject.preset.architecture
        dtype = transformer.COMPUTE[subject.compute]
        module = Plain(len(subject.vocabulary), shape, dtype)
        self.optimiser = presets.optimiser(subject.preset.training)
        tokens = jnp.zeros((1, shape.context), jnp.int32)
        initial = jax.jit(lambda key: module.init(key, tokens, False))
        self.params = initial(jax.random.key(subject.seed))
        self.memory, self.key = jax.jit(self.optimiser.init)(self.params), jax.random.key(1)
        self.batches = batches(subject)
        self.losses: list[float] = []

        @functools.partial(jax.jit, donate_argnums=(0, 1))
        def step(params, memory, key, tokens, targets):
            def loss(params):
                logits = module.apply(params, tokens, True, rngs={"dropout": key})
                return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

            value, gradient = jax.value_and_grad(loss)(params)
            updates, memory = self.optimiser.update(gradient, memory, params)
            return optax.apply_updates(params, updates), memory, value

        self.step = step

    def advance(self) -> int:
        for _ in range(self.steps):
            self.key, own = jax.random.split(self.key)
            tokens, targets = next(self.batches)
            self.params, self.memory, loss = self.step(
                self.params, self.memory, own, tokens, targets
            )
            self.losses.append(float(loss))
        return self.steps


class Batch(NamedTuple):
    """Tokens and the symbols that follow them, `[B, T]`."""

    tokens: np.ndarray
    targets: np.ndarray


def batches(subject: Subject):
    """Endless batches of random windows of the training part, cut by NumPy."""
    rng = np.random.default_rng(subject.seed)
    part, context = np.asarray(subject.parts.train), subject.preset.architecture.context
    while True:
        starts = rng.integers(0, len(part) - context, subject.preset.training.batch)
        rows = part[starts[:, None] + np.arange(context + 1)]
        yield Batch(rows[:, :-1], rows[:, 1:])
