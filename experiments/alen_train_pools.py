"""The questions that organisms are trained on: a pool of arrays for each seed, and batches of it.

Shapes: `Z` seeds, `L` levels of difficulty, `B` questions of a batch.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alen import tasks
from experiments import alen_train_questions
from experiments.alen_train_questions import Questions
from experiments.alen_train_subject import Subject
from experiments.lab import keys


class Pool(NamedTuple):
    """Training questions of every seed: `Questions` with a leading `[Z]`. Of each `count` rows one
    after the other, all in the same wording, those with an answer come first, level by level: the
    i-th level ends before row `ends[Z, i]`."""

    questions: Questions
    ends: np.ndarray
    count: int


def draw(subject: Subject, roots, name: tuple) -> Pool:
    """The pool called `name`, with a seed for each of `roots [Z]`."""
    task, chosen = subject.task, []
    for root in roots:
        key = keys.stream(root, "pool", *name)
        known = task.training(keys.stream(key, "known"), subject.pool, fewer=True)
        unknown = []
        if subject.unanswerable and tasks.UNANSWERABLE in task.strata:
            most = max(1, subject.pool // 4)
            settings = (task, tasks.UNANSWERABLE, "train", most)
            unknown = alen_train_questions.examples(keys.stream(key, "unknown"), *settings)
        chosen.append((keys.stream(key, "arrays"), known, unknown))
    # Of one shape: where there are few questions, one seed may have found more than another.
    most = [min(map(len, own)) for own in list(zip(*chosen, strict=True))[1:]]
    prepare = functools.partial(
        alen_train_questions.reworded, task=task, wordings=2 * subject.surfaces
    )
    each, ends = [], []
    for key, known, unknown in chosen:
        known = known[: most[0]]
        levels = np.array([task.level(example.question) for example in known])
        order = np.argsort(levels, kind="stable")
        known = [known[i] for i in order]
        each.append(prepare(key, chosen=known + unknown[: most[1]]))
        ends.append(np.append(1 + np.flatnonzero(np.diff(levels[order])), len(known)))
    parts = max(one.spans.shape[1] for one in each)
    each = [one._replace(spans=alen_train_questions.widen(one.spans, parts)) for one in each]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *each)
    return Pool(stacked, np.stack(ends).astype(np.int32), sum(most))


def batch(key, subject: Subject, questions: Questions, ends, count: int) -> Questions:
    """A batch `[B]` of one seed's pool, without other surfaces; runs inside `jit`.

    Levels are drawn evenly: were questions, the few easy ones would hardly ever come.
    """
    size = subject.configuration.batch
    # One draw for all: every call of the generator costs a second of compilation.
    draw = jax.random.uniform(key, (6, size))
    among = lambda u, low, high: low + (u * (high - low)).astype(jnp.int32)
    wordings = questions.questions.shape[0] // count
    known, starts = ends[-1], jnp.pad(ends[:-1], (1, 0))
    level = among(draw[3], 0, len(ends))
    unknown = (draw[0] < subject.unanswerable) & (count > known)
    reworded = (draw[1] < subject.perturbed) & (wordings > 1)
    asked = among(draw[4], starts[level], ends[level])
    row = jnp.where(unknown, among(draw[2], known, count), asked)
    row += count * jnp.where(reworded, among(draw[5], 1, wordings), 0)
    return jax.tree.map(lambda leaf: leaf[row], questions)
