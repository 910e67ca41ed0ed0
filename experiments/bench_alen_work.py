"""What the bench of ALEN times: steps of training, and questions answered, with a verdict or not.

Each is one compiled program on inputs that lie on the devices already. A batch is spread over as
many devices as divide it. Weights are those before training: then answers go on to their longest,
which is the dearest case, and no time depends on what was learnt.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from alen import answer as answering
from alen import losses, tasks, verified, verifier, verify
from experiments import alen_train_questions
from experiments.alen_train_subject import Subject
from experiments.lab import keys, placement

ROOM = "RESOURCE_EXHAUSTED"  # what JAX says where memory does not suffice


class Networks(NamedTuple):
    """Parameters of an organism and its verifier."""

    organism: dict
    checks: verifier.Params


class Work(NamedTuple):
    """A compiled program: `run(n)` takes n steps or calls, one after the other, and returns n.

    `batch` are the examples of a call, `bytes` of memory a device needs for it: arguments, results,
    and what lies between.
    """

    run: Callable[[int], int]
    batch: int
    bytes: int
    devices: int


def spread(count: int, devices=None) -> tuple[NamedSharding, NamedSharding]:
    """How a batch of `count` is spread over the devices, and how what all of them need is."""
    devices = jax.local_devices() if devices is None else devices
    mesh = placement.mesh(devices[: math.gcd(count, len(devices))])
    split, whole = PartitionSpec(placement.AXIS), PartitionSpec()
    return NamedSharding(mesh, split), NamedSharding(mesh, whole)


def questions(subject: Subject, count: int) -> alen_train_questions.Questions:
    """`count` training questions of the task with other surfaces; repeated where it has fewer."""
    key, task = keys.stream(keys.root(subject.seeds[0]), "bench"), subject.task
    few = alen_train_questions.examples(key, task, tasks.TRAINED, "train", min(count, 1024))
    arrays = alen_train_questions.prepare(key, task, few, subject.surfaces)
    return jax.tree.map(lambda leaf: leaf[np.arange(count) % len(leaf)], arrays)


def networks(subject: Subject) -> Networks:
    """Initial parameters, on the first device."""

    few = questions(subject, 1)

    def initial(key):
        params = subject.learner.init(key).params
        return Networks(params, verifier.init(key, subject.checker, _asked(subject, params, few)))

    return jax.jit(initial)(keys.root(subject.seeds[0]))


def training(subject: Subject, batch: int) -> Work:
    """Steps of the organism, each on the same batch, as many in one program as are asked for."""
    split, whole = spread(batch)
    start = jax.jit(subject.learner.init, out_shardings=whole)
    few = questions(subject, batch)
    data = jax.device_put(losses.Batch(few.questions, few.answers), split)
    root = keys.root(subject.seeds[0])

    @functools.partial(jax.jit, donate_argnums=0)
    def several(state, data, steps):
        def once(_, carry):
            state, _ = carry
            key = keys.stream(root, "step", state.step)
            state, info = subject.learner.step(key, state, data, subject.hyper)
            return state, info.measured.loss

        return jax.lax.fori_loop(0, steps, once, (state, jnp.float32(0)))

    state = start(root)
    compiled = several.lower(state, data, np.int32(1)).compile()
    held = [state]

    def run(steps):
        held[0], loss = jax.block_until_ready(compiled(held[0], data, np.int32(steps)))
        if not jnp.isfinite(loss):
            raise FloatingPointError(f"the loss of a step of training is {loss}")
        return steps

    return Work(run, batch, _bytes(compiled), split.mesh.size)


def asking(subject: Subject, params: Networks, batch: int, checked: bool) -> Work:
    """The program that answers `batch` questions, with a verdict if `checked`."""
    split, whole = spread(batch)
    few = jax.device_put(questions(subject, batch), split)
    params = jax.device_put(params, whole)
    thresholds = verify.Thresholds(0.0, 0.0, 0.5)

    @jax.jit
    def ask(params, few, number):
        length = subject.checker.answer
        if not checked:
            found = answering.answer(subject.model, params.organism, few.questions, length=length)
            return found.tokens, found.log_probability
        result = verified.ask(
            keys.stream(keys.root(subject.seeds[0]), "ask", number),
            subject.model,
            params.organism,
            subject.checker,
            params.checks,
            few.questions,
            alen_train_questions.parts(few.spans, few.questions.shape[-1]),
            thresholds,
            few.surfaces if few.surfaces.shape[1] else None,
        )
        return result.answer.tokens, result.verdict.verified, result.verdict.margins

    compiled = ask.lower(params, few, np.uint32(0)).compile()

    def run(calls):
        for number in range(calls):  # one after the other: latency, not throughput of a queue
            jax.block_until_ready(compiled(params, few, np.uint32(number)))
        return calls

    return Work(run, batch, _bytes(compiled), split.mesh.size)


def fitting(make: Callable[[int], Work], batch: int) -> Work | str:
    """`make(batch)`, run once, with half the batch as often as memory does not suffice; or in a
    sentence that not even one example fits."""
    while True:
        try:
            work = make(batch)
            work.run(1)
            return work
        except jax.errors.JaxRuntimeError as error:
            if ROOM not in str(error):
                raise
        if batch == 1:
            return "does not fit into memory"
        batch //= 2


def _asked(subject, params, few):
    length = subject.checker.answer
    found = answering.answer(subject.model, params, few.questions, length=length)
    parts = alen_train_questions.parts(few.spans, few.questions.shape[-1])
    return verified.asked(few.questions, found, parts)


def _bytes(compiled) -> int:
    sizes = compiled.memory_analysis()
    names = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    shared = sizes.alias_size_in_bytes
    return sum(getattr(sizes, name) for name in names) - shared
