"""Organisms and their verifiers, trained side by side over seeds, and asked.

First the organism learns to answer (`Trainer.advance`), then, with the organism as it is, the
verifier learns to check (`Trainer.check`). Initial weights, questions and batches come from keys
made of the seed and the step's number, so that a seed of many equals its solo run, and a run that
goes on from a checkpoint equals one that was not interrupted.

Shapes: `Z` seeds, `N` questions, `S` and `A` tokens of a question and an answer, `R` steps.
"""

import functools
import math
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from alen import answer as answering
from alen import learner, losses, tokeniser, verified, verifier, verify
from experiments import alen_train_pools, alen_train_questions
from experiments.alen_train_questions import Questions
from experiments.alen_train_subject import Subject
from experiments.lab import keys, placement

BLOCK = {"cpu": 512}  # questions asked at once
ON_ACCELERATORS = 4096
SPREAD = 128  # width from which it pays to spread a batch over devices


class State(NamedTuple):
    """All that the next step needs, leaves `[Z, ...]`; `checked` counts the verifier's steps."""

    organism: learner.State
    checks: verifier.State
    checked: jax.Array

    @property
    def networks(self) -> "Networks":
        return Networks(self.organism.params, self.checks.params)


class Networks(NamedTuple):
    """Parameters of organism and verifier, with the axis of seeds or without."""

    organism: dict
    checks: verifier.Params


class Asked(NamedTuple):
    """Greedy answers of every seed: `tokens [Z, N, A]`, whether they are `right [Z, N]`, their
    `log_probability [Z, N]`, the margins `[Z, N]` of the checks, and the operators `chosen
    [Z, N, R]`."""

    tokens: np.ndarray
    right: np.ndarray
    log_probability: np.ndarray
    margins: verify.Margins
    chosen: np.ndarray


class Trainer:
    """The programs of a subject. Seeds are spread over the devices, the last one repeated where
    their number is not divisible: what comes out has only the real ones, on the host then. Of a
    single seed, the batch is spread, where the organism is not too small for that."""

    def __init__(self, subject: Subject, devices=None, block: int | None = None):
        self.subject, self.model, self.checker = subject, subject.model, subject.checker
        devices = jax.local_devices() if devices is None else devices
        several = len(subject.seeds) > 1
        if not several and subject.configuration.architecture.dimension < SPREAD:
            devices = devices[:1]
        if several:
            each = -(-len(subject.seeds) // len(devices))
            used = -(-len(subject.seeds) // each)
        else:
            each, used = 1, math.gcd(subject.configuration.batch, len(devices))
        self.padding = each * used - len(subject.seeds) if several else 0
        mesh = placement.mesh(devices[:used])
        self.devices, self.kind = mesh.size, mesh.devices.flat[0].device_kind
        self.block = block or BLOCK.get(jax.default_backend(), ON_ACCELERATORS)
        axes = (placement.AXIS,) if several else (None, placement.AXIS)
        self.spread = NamedSharding(mesh, PartitionSpec(*axes))
        self.whole = NamedSharding(mesh, PartitionSpec())
        self.per_seed = NamedSharding(mesh, PartitionSpec(*axes[:1]))
        padded = subject.seeds + subject.seeds[-1:] * self.padding
        self.roots = jnp.stack([keys.root(seed) for seed in padded])
        self._pools, self._compiled = {}, {}

    def start(self) -> State:
        """The state before the first step."""
        return self._real(self._start(self.roots))

    @property
    def shapes(self) -> State:
        """Shapes and types of a state."""
        real = lambda leaf: jax.ShapeDtypeStruct(
            (len(self.subject.seeds), *leaf.shape[1:]), leaf.dtype
        )
        return jax.tree.map(real, jax.eval_shape(self._start, self.roots))

    def put(self, tree):
        """Leaves `[Z, ...]` on the devices, padded."""
        fill = lambda leaf: np.pad(leaf, _behind(leaf, self.padding), "edge")
        return jax.device_put(jax.tree.map(fill, tree) if self.padding else tree, self.per_seed)

    def _real(self, tree, axis=0):
        """Without what was padded."""
        if not self.padding:
            return tree
        kept = (slice(None),) * axis + (slice(len(self.subject.seeds)),)
        return jax.tree.map(lambda leaf: leaf[kept], jax.device_get(tree))

    @functools.cached_property
    def _start(self):
        a, zeros = self.model.architecture, jnp.zeros
        question, thought = zeros((1, a.question), jnp.int32), zeros((1, a.dimension))
        asked = verifier.Asked(
            questions=question,
            answers=zeros((1, a.answer), jnp.int32),
            memory=zeros((1, a.question, a.dimension)),
            memory_mask=question > 0,
            initial=thought,
            thought=thought,
            parts=zeros((1, 1, a.question), bool),
        )

        def initial(root):
            mind = self.subject.learner.init(keys.stream(root, "organism"))
            key = keys.stream(root, "verifier")
            return mind, verifier.start(key, self.checker, self.subject.optimiser, asked)

        def start(roots):
            return State(*jax.vmap(initial)(roots), jnp.zeros(len(roots), jnp.int32))

        return jax.jit(start, out_shardings=self.per_seed)

    def pool(self, phase: str, begin: int) -> alen_train_pools.Pool:
        """The questions that are trained on from step `begin` of a phase ('organism', 'verifier')
        on. All of a training split that is not larger than `pool`; else others after a while."""
        every = self.subject.evaluate_every * self.subject.renew
        listed = self.subject.task.enumerate(self.subject.task.strata[0], "train")
        fixed = listed is not None and len(listed) <= self.subject.pool
        name = ("all", 0) if fixed else (phase, begin // every)
        if name not in self._pools:
            self._pools = {}  # the last one's memory is given back
            roots = self.roots[: len(self.subject.seeds)]
            drawn = alen_train_pools.draw(self.subject, roots, name)
            parts = self.put((drawn.questions, drawn.ends))
            self._pools[name] = drawn._replace(questions=parts[0], ends=parts[1])
        return self._pools[name]

    def advance(self, state: State, steps: int) -> tuple[State, learner.Info, float]:
        """So many steps of the organisms: the state, what they showed `[steps, Z]`, and seconds.

        `state` is used up; compilation comes before the clock starts. All steps take their
        questions from the pool of the first one.
        """
        pool = self.pool("organism", int(state.organism.step[0]))
        return self._run("organism", self._advance, state, pool, steps)

    def check(self, state: State, steps: int) -> tuple[State, verifier.Info, float]:
        """So many steps of the verifiers, as `advance`; the organisms stay as they are, and before
        the first step lend the verifiers their embeddings."""
        if not int(state.checked[0]):
            words = state.organism.params["table"]["embedding"]
            state = state._replace(checks=verifier.taught(state.checks, words))
        pool = self.pool("verifier", int(state.checked[0]))
        return self._run("verifier", self._check, state, pool, steps)

    def _run(self, name, body, state, pool, steps):
        state = self.put(state)
        arguments = (state, self.roots, pool.questions, pool.ends, pool.count)
        shape = (name, steps, pool.questions.spans.shape, pool.questions.questions.shape)
        if shape not in self._compiled:
            jitted = jax.jit(functools.partial(body, steps=steps), donate_argnums=0)
            self._compiled[shape] = jitted.lower(*arguments).compile()
        jax.block_until_ready(state)
        begun = time.monotonic()
        state, info = jax.block_until_ready(self._compiled[shape](*arguments))
        seconds = time.monotonic() - begun
        return self._real(state), self._real(info, axis=1), seconds

    def _advance(self, state, roots, questions, ends, count, steps):
        hyper, step = self.subject.hyper, jax.vmap(self.subject.learner.step, (0, 0, 0, None))

        def once(mind, _):
            key = jax.vmap(lambda root, n: keys.stream(root, "step", n))(roots, mind.step)
            key = jax.vmap(jax.random.split)(key)
            drawn = self._batches(key[:, 0], questions, ends, count)
            batch = losses.Batch(drawn.questions, drawn.answers)
            batch = jax.lax.with_sharding_constraint(batch, self.spread)
            return step(key[:, 1], mind, batch, hyper)

        mind, info = jax.lax.scan(once, state.organism, length=steps)
        return state._replace(organism=mind), info

    def _check(self, state, roots, questions, ends, count, steps):
        params = state.organism.params

        def one(params, checks, key, drawn):
            say, mix, learn = key[1:]
            length = self.checker.answer
            found = answering.answer(
                self.model, params, drawn.questions, key=say, temperature=1.0, length=length
            )
            right = answering.exact(found.tokens, drawn.answers)
            answerable = jnp.any(drawn.answers != tokeniser.PAD, -1)
            told, right = verifier.mixture(
                mix, drawn.answers, drawn.near, found.tokens, right, answerable
            )
            parts = alen_train_questions.parts(drawn.spans, drawn.questions.shape[-1])
            asked = verified.asked(drawn.questions, found, parts, told)
            taken = (learn, self.checker, self.subject.optimiser, checks, asked)
            return verifier.step(*taken, right, drawn.answers, answerable)

        def once(carry, _):
            checks, checked = carry
            key = jax.vmap(lambda root, n: keys.stream(root, "check", n))(roots, checked)
            key = jax.vmap(lambda k: jax.random.split(k, 4))(key)
            drawn = self._batches(key[:, 0], questions, ends, count)
            drawn = jax.lax.with_sharding_constraint(drawn, self.spread)
            checks, info = jax.vmap(one)(params, checks, key, drawn)
            return (checks, checked + 1), info

        (checks, checked), info = jax.lax.scan(once, (state.checks, state.checked), length=steps)
        return state._replace(checks=checks, checked=checked), info

    def _batches(self, key, questions, ends, count):
        draw = lambda *own: alen_train_pools.batch(own[0], self.subject, *own[1:], count)
        return jax.vmap(draw)(key, questions, ends)

    def answers(self, networks: Networks, questions: Questions) -> np.ndarray:
        """Greedy answers `[Z, N, A]`, without any check."""
        return self._blocks(self._answer, networks, questions)

    def ask(self, networks: Networks, questions: Questions) -> Asked:
        """Greedy answers with all margins, in blocks of one shape."""
        return self._blocks(self._ask, networks, questions)

    def _blocks(self, program, networks, questions):
        networks = self.put(networks)
        found, size = [], len(questions.questions)
        count = -(-size // self.block)
        # Not with zeros: a question of PAD alone has no tokens to attend to.
        fill = lambda leaf: np.pad(leaf, _behind(leaf, count * self.block - size), "edge")
        parts = jax.tree.map(lambda leaf: np.split(fill(leaf), count), questions)
        for number in range(count):
            part = Questions(*(field[number] for field in parts))
            found.append(jax.tree.map(np.asarray, program(networks, part, np.uint32(number))))
        whole = self._real(jax.tree.map(lambda *leaves: np.concatenate(leaves, 1), *found))
        return jax.tree.map(lambda leaf: leaf[:, :size], whole)

    @functools.cached_property
    def _answer(self):
        length = self.checker.answer
        tokens = lambda params, questions: (
            answering.answer(self.model, params, questions, length=length).tokens
        )
        return jax.jit(
            lambda networks, questions, _: jax.vmap(tokens, (0, None))(
                networks.organism, questions.questions
            )
        )

    @functools.cached_property
    def _ask(self):
        def one(networks, root, questions, number):
            found = self.answer(networks, questions.questions)
            key = keys.stream(root, "ask", number)
            margins = self.margins(key, networks, questions, found)
            right = answering.exact(found.tokens, questions.answers)
            chosen = found.course.chosen
            return Asked(found.tokens, right, found.log_probability, margins, chosen)

        each = jax.vmap(one, (0, 0, None, None))
        return jax.jit(lambda networks, part, number: each(networks, self.roots, part, number))

    def answer(self, networks: Networks, questions: jax.Array) -> answering.Answer:
        """Of one seed, greedily; runs inside `jit`."""
        length = self.checker.answer
        return answering.answer(self.model, networks.organism, questions, length=length)

    def margins(self, key, networks: Networks, questions: Questions, found) -> verify.Margins:
        """Of one seed's answers `found`; runs inside `jit`."""
        parts = alen_train_questions.parts(questions.spans, questions.questions.shape[-1])
        surfaces = questions.surfaces if questions.surfaces.shape[1] else None
        ours = (self.model, networks.organism, self.checker, networks.checks)
        return verified.margins(key, *ours, questions.questions, found, parts, surfaces)


def _behind(leaf, count):
    return ((0, count), *((0, 0),) * (leaf.ndim - 1))
