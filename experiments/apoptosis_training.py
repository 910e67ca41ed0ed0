"""One transformer and one text: the programs that train it and that measure its loss.

A step's batch and dropout come from keys made of the seed and the step's number, so the state of a
run is its parameters, its optimiser's state and its step. The losses of the validation and the test
part are full passes over contiguous windows, without dropout.
"""

import dataclasses
import functools
import math
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from apoptosis import presets, text, transformer
from experiments.lab import keys, placement
from experiments.shell import run
from experiments.shell.corpus import Corpus

TOKENS = 16384  # of a block of the validation pass


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is trained on what: a preset, as changed by flags, on a text.

    Raises run.Refused for a text that is too short to be cut in three.
    """

    preset: presets.Preset
    corpus: Corpus
    seed: int
    compute: str
    evaluate_every: int

    def __post_init__(self):
        try:
            _ = self.parts
        except ValueError as error:
            raise run.Refused(f"--corpus={self.corpus.name}: {error}") from error

    @functools.cached_property
    def vocabulary(self) -> text.Vocabulary:
        return text.Vocabulary.of(self.corpus.text)

    @functools.cached_property
    def parts(self) -> text.Parts:
        tokens = self.vocabulary.encode(self.corpus.text)
        return text.split(tokens, self.preset.architecture.context)

    def settings(self) -> dict:
        """The resolved study as JSON values."""
        return {
            "preset": self.preset.name,
            "corpus": self.corpus.name,
            "corpus_sha256": self.corpus.sha256,
            "symbols": self.vocabulary.symbols,
            **dataclasses.asdict(self.preset.architecture),
            **dataclasses.asdict(self.preset.training),
            "seed": self.seed,
            "compute": self.compute,
            "evaluate_every": self.evaluate_every,
        }

    @property
    def model(self) -> transformer.Transformer:
        """The transformer, with the attention that suits the devices here."""
        return organism(len(self.vocabulary), self.preset.architecture, self.compute)

    def stops(self) -> list[int]:
        """The steps after which losses are measured: every so many, and the last."""
        steps = self.preset.training.steps
        return [*range(self.evaluate_every, steps, self.evaluate_every), steps]


def organism(symbols: int, architecture, compute: str) -> transformer.Transformer:
    """A transformer with the attention that suits the devices here."""
    implementation = transformer.attention(jax.default_backend(), compute, architecture.channels)
    return transformer.Transformer(symbols, architecture, compute, implementation)


class State(NamedTuple):
    """All that the next step needs; `step` counts those taken."""

    params: dict
    optimiser: optax.OptState
    step: jax.Array


class Loss(NamedTuple):
    """Mean loss in nats per character over a part, and its standard error over windows."""

    value: float
    error: float


class Trainer:
    """The programs of a subject: batches are spread over as many devices as divide them.

    `block` is the number of windows that a validation pass takes at once, per device.
    """

    def __init__(self, subject: Subject, devices=None, block: int | None = None):
        self.subject, self.model = subject, subject.model
        training, context = subject.preset.training, subject.preset.architecture.context
        self.optimiser = presets.optimiser(training)
        devices = jax.local_devices() if devices is None else devices
        mesh = placement.mesh(devices[: math.gcd(training.batch, len(devices))])
        self.devices, self.kind = mesh.size, mesh.devices.flat[0].device_kind
        self.block = mesh.size * (block or max(1, TOKENS // context // mesh.size))
        self.everywhere = NamedSharding(mesh, PartitionSpec())
        self.spread = NamedSharding(mesh, PartitionSpec(placement.AXIS))
        self.part = jax.device_put(subject.parts.train, self.everywhere)
        self.windows = [text.windows(part, context) for part in subject.parts[1:]]
        self._compiled = {}

    def start(self) -> State:
        """The state before the first step."""
        return self._initial(keys.stream(keys.root(self.subject.seed), "initial"))

    @functools.cached_property
    def _initial(self):
        def initial(key):
            params = transformer.initial(key, self.model)
            return State(params, self.optimiser.init(params), jnp.int32(0))

        return jax.jit(initial, out_shardings=self.everywhere)

    def advance(self, state: State, steps: int) -> tuple[State, jax.Array, float]:
        """So many steps on: the state, the training losses `[steps]`, and the seconds they took.

        `state` is used up. Compilation comes before the clock starts.
        """
        if steps not in self._compiled:
            jitted = jax.jit(
                functools.partial(self._advance, steps=steps),
                donate_argnums=0,
                out_shardings=self.everywhere,
            )
            self._compiled[steps] = jitted.lower(state, self.part).compile()
        jax.block_until_ready(state)
        begun = time.monotonic()
        state, losses = jax.block_until_ready(self._compiled[steps](state, self.part))
        return state, losses, time.monotonic() - begun

    def _advance(self, state, part, steps):
        root = keys.stream(keys.root(self.subject.seed), "step")

        def step(state, _):
            key = keys.stream(root, state.step)
            batch = text.batch(
                keys.stream(key, "batch"),
                part,
                self.subject.preset.training.batch,
                self.model.architecture.context,
            )
            tokens, targets = jax.lax.with_sharding_constraint(batch, self.spread)
            dropout = keys.stream(key, "dropout")
            loss, gradient = jax.value_and_grad(
                lambda params: transformer.loss(self.model, dropout, params, tokens, targets)
            )(state.params)
            updates, optimiser = self.optimiser.update(gradient, state.optimiser, state.params)
            params = optax.apply_updates(state.params, updates)
            return State(params, optimiser, state.step + 1), loss

        return jax.lax.scan(step, state, length=steps)

    def evaluate(self, params) -> list[Loss]:
        """The losses of the validation and the test part: a full pass over each."""
        counts = [len(w.inputs) for w in self.windows]
        sums = np.asarray(self._sums(params, *self._blocks)).ravel()[: sum(counts)]
        per_part = np.split(sums.astype(np.float64), counts[:1])
        return [_loss(s, w.valid.sum(1)) for s, w in zip(per_part, self.windows, strict=True)]

    @functools.cached_property
    def _blocks(self):
        """The windows of both parts, one after the other, in whole blocks `[K, block, T]`."""
        both = [np.concatenate(arrays) for arrays in zip(*self.windows, strict=True)]
        count = -(-len(both[0]) // self.block)
        padding = ((0, count * self.block - len(both[0])), (0, 0))
        shape = (count, self.block, -1)
        return [jax.device_put(np.pad(a, padding).reshape(shape), self.everywhere) for a in both]

    @functools.cached_property
    def _sums(self):
        def block(params, inputs, targets, valid):
            inputs = jax.lax.with_sharding_constraint(inputs, self.spread)
            logits = self.model.apply({"params": params}, inputs)
            return jnp.where(valid, transformer.losses(logits, targets), 0).sum(1)

        return jax.jit(
            lambda params, *arrays: jax.lax.map(lambda one: block(params, *one), arrays),
            out_shardings=self.everywhere,
        )


def _loss(sums, counts) -> Loss:
    means = sums / counts
    error = means.std(ddof=1) / len(means) ** 0.5 if len(means) > 1 else math.nan
    return Loss(sums.sum() / counts.sum(), error)
