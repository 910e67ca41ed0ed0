"""What a trained organism answers, how all methods score it, and what its energy would have chosen.

Shapes: `N` questions in blocks of `B`, `S` and `A` tokens of a question and an answer, `P` parts,
`n` other surfaces, `K` operators, `R` steps of reasoning.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alen import answer as answering
from alen import presets, stability, verified
from experiments import alen_train_questions
from experiments.alen_train_questions import Questions
from experiments.alen_train_subject import Subject
from experiments.alen_verification_methods import Answers

BLOCK = {"cpu": 128, "gpu": 2048, "tpu": 2048}


class Asked(NamedTuple):
    """Answers `[N]`, and the operator `chosen [N, R]` at each step."""

    answers: Answers
    chosen: np.ndarray


class Candidates(NamedTuple):
    """The proposals of the last step, `[N, K]`: energies, and which decode to the truth."""

    energy: np.ndarray
    right: np.ndarray


class Costs(NamedTuple):
    """Products of a parameter with a token's component, per question: what methods cost."""

    answer: int
    forward: int
    backward: int
    stability: int

    @property
    def samples(self) -> int:
        """Of self-consistency, so many that it costs what answer and verification do together."""
        return max(2, round(sum(self) / self.answer))


def costs(subject: Subject, parts: int) -> Costs:
    """Costs by the number of parameters and of tokens (attention's own products left out, as they
    are small at these lengths); `parts` are those of a question."""
    a, checker = subject.model.architecture, subject.checker
    count = presets.parameters(a)
    think = count.operators * a.steps + count.energy * a.operators * a.steps
    decode = a.answer * (count.decoder + a.vocabulary * a.dimension)
    answer = a.question * a.rounds * count.encoder + think + decode
    stack = checker.shape.count(cross=False)
    head = (a.answer + 1) * checker.shape.count(cross=True)
    tokens = a.question + a.answer
    told = 2 * parts * tokens * (stack + checker.symbols * checker.shape.width)
    return Costs(answer, head, told, checker.perturbations * decode + subject.surfaces * answer)


def ask(subject: Subject, params, checks, questions: Questions, key, samples: int) -> Asked:
    """Every measure of the answers to `questions`; `samples` of self-consistency."""
    program = functools.partial(_measured(subject, samples), params, checks)
    columns, chosen = _in_blocks(program, questions, key)
    return Asked(Answers(**columns), chosen.astype(np.int8))


def candidates(subject: Subject, params, questions: Questions, key) -> Candidates:
    """The proposals of the last step, each decoded."""
    return Candidates(*_in_blocks(functools.partial(_proposed(subject), params), questions, key))


def _in_blocks(program, questions: Questions, key):
    """The outcome of `program(key, block)` for all questions; the last block is filled up."""
    size = BLOCK.get(jax.default_backend(), BLOCK["gpu"])
    count = len(questions.questions)
    found = []
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)
        block = type(questions)(*(leaf[rows] for leaf in questions))
        found.append(jax.device_get(program(jax.random.fold_in(key, start), block)))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *found)


@functools.cache
def _measured(subject: Subject, samples: int):
    model, checker = subject.model, subject.checker

    @jax.jit
    def program(params, checks, key, block):
        shake, sample = jax.random.split(key)
        length = checker.answer
        found = answering.answer(model, params, block.questions, length=length)
        margins = verified.margins(
            shake,
            model,
            params,
            checker,
            checks,
            block.questions,
            found,
            alen_train_questions.parts(block.spans, block.questions.shape[1]),
            block.surfaces if block.surfaces.shape[1] else None,
        )
        draw = lambda key: answering.answer(
            model, params, block.questions, key=key, temperature=1.0, length=length
        )
        drawn = jax.lax.map(lambda key: draw(key).tokens, jax.random.split(sample, samples))
        tokens, agreement = vote(drawn)
        spoken = found.tokens != 0
        chances = jnp.where(spoken, jnp.exp(found.log_probabilities), 0.0)
        columns = {
            "right": answering.exact(found.tokens, block.answers),
            "forward": margins.forward,
            "backward": margins.backward,
            "stability": margins.stability,
            "softmax": chances.sum(-1) / jnp.maximum(spoken.sum(-1), 1),
            "log_probability": found.log_probability,
            "agreement": agreement,
            "voted_right": answering.exact(tokens, block.answers),
        }
        return columns, found.course.chosen

    return program


def vote(drawn) -> tuple[jax.Array, jax.Array]:
    """The most frequent of `drawn [K, B, A]` answers `[B, A]`, the first of equals, and its share
    of them `[B]`."""
    same = stability.same(drawn[:, None], drawn[None]).mean(axis=1)  # [K, B]
    best = jnp.argmax(same, axis=0)
    tokens = jnp.take_along_axis(drawn, best[None, :, None], axis=0)[0]
    return stability.ending(tokens), same.max(axis=0)


@functools.cache
def _proposed(subject: Subject):
    model, length = subject.model, subject.checker.answer

    @jax.jit
    def program(params, key, block):
        found = answering.answer(model, params, block.questions, length=length)
        thoughts, energies = found.course.proposals[:, -1], found.course.energies[:, -1]
        size, operators, width = thoughts.shape
        memory = stability.spread(found.memory, operators)
        said = answering.from_thought(
            model, params, thoughts.reshape(-1, width), memory, length=length
        )
        truth = jnp.repeat(block.answers, operators, axis=0)
        return energies, answering.exact(said.tokens, truth).reshape(size, operators)

    return program
