"""From a task to arrays: what an organism is trained on, and what it is asked.

Shapes: `N` examples, `S` and `A` tokens of a question and an answer, `P` parts, `n` other surfaces.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from alen import tasks
from alen.tasks import draws
from experiments import alen_configuration
from experiments.lab import keys

FIRST, TUNING, CALIBRATION, TEST = tasks.SPLITS


class Questions(NamedTuple):
    """Examples as int32 arrays; an answer of PAD alone: there is none.

    `questions [N, S]`, `answers [N, A]`; `spans [N, P, 2]` are the parts that the backward check
    may hide, from token to token, the second not included; `surfaces [N, n, S]` other wordings of
    the questions; `near [N, A]` wrong answers of the right form.
    """

    questions: np.ndarray
    answers: np.ndarray
    spans: np.ndarray
    surfaces: np.ndarray
    near: np.ndarray


def language(task: tasks.Task) -> alen_configuration.Language:
    """What `task` asks of an organism."""
    return alen_configuration.Language(
        task.tokeniser.size, task.question_length, task.answer_length
    )


def settings(task: tasks.Task) -> dict:
    """The task and its settings as JSON values; `find(**settings(task))` is `task`."""
    plain = lambda value: value.decode() if isinstance(value, bytes) else value
    values = {}
    for field in dataclasses.fields(task):
        value = getattr(task, field.name)
        values[field.name] = [plain(v) for v in value] if isinstance(value, tuple) else value
    return {"name": task.name, **values}


def find(name: str, **values) -> tasks.Task:
    """As `tasks.find`, of JSON values."""
    return tasks.find(
        name, **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    )


def examples(key, task: tasks.Task, stratum: str, split: str, most: int) -> list[tasks.Example]:
    """All of a finite stratum that has at most `most` examples in `split`, else `most` drawn ones.

    Fewer where a stratum that is not listed has fewer; none where it is empty.
    """
    listed = task.enumerate(stratum, split)
    if listed is not None and len(listed) <= most:
        return listed
    return task.draw(key, stratum, split, most, fewer=True)


def mixture(
    key, task: tasks.Task, split: str, most: int, unanswerable: float
) -> list[tasks.Example]:
    """Draws from what thresholds are made for: questions in distribution and, with the chance
    `unanswerable` each, questions that have no answer."""
    known = examples(keys.stream(key, "known"), task, task.strata[0], split, most)
    if tasks.UNANSWERABLE not in task.strata or not unanswerable:
        return known
    unknown = examples(keys.stream(key, "unknown"), task, tasks.UNANSWERABLE, split, most)
    # Of n in all, a binomial number has no answer, as if each had been drawn by itself.
    total = min(most, int(len(known) / (1 - unanswerable)))
    count = draws.generator(keys.stream(key, "count")).binomial(total, unanswerable)
    order = draws.generator(keys.stream(key, "order"))
    pick = lambda rows, number: [rows[i] for i in order.permutation(len(rows))[:number]]
    return pick(known, total - count) + pick(unknown, count)


def prepare(key, task: tasks.Task, chosen: Sequence[tasks.Example], surfaces: int = 2) -> Questions:
    """The arrays of the `chosen` examples, with so many other surfaces of each."""
    texts = [example.question for example in chosen]
    answers, read = [example.answer for example in chosen], task.readings(texts)
    others = [
        task.reworded(keys.stream(key, "surface", number), read)[0] for number in range(surfaces)
    ]
    return _arrays(key, task, texts, answers, read, others)


def reworded(key, task: tasks.Task, chosen: Sequence[tasks.Example], wordings: int) -> Questions:
    """The `chosen` examples, and behind them all of them again in so many other wordings, each as
    an example of its own."""
    texts = [example.question for example in chosen]
    answers, read = [example.answer for example in chosen], task.readings(texts)
    fillers, bare = list(read.fillers), list(read.bare)
    for number in range(wordings):
        more, own = task.reworded(keys.stream(key, "wording", number), read)
        texts, fillers, bare = texts + more, fillers + own.fillers, bare + own.bare
    every = read._replace(fillers=fillers, bare=bare)
    return _arrays(keys.stream(key, "rows"), task, texts, answers, every)


def _arrays(key, task, texts, answers, read, others=()):
    """`texts` are one after the other in several wordings, all of them with these `answers`."""
    encode = lambda rows: task.tokeniser.batch(rows, task.question_length)
    asked, times = encode(texts), len(texts) // max(len(answers), 1)
    said = np.tile(task.tokeniser.answers(answers, task.answer_length), (times, 1))
    others = [encode(rows) for rows in others]
    return Questions(
        asked,
        said,
        _spans(task, read),
        np.stack(others, 1) if others else np.zeros((len(texts), 0, asked.shape[1]), np.int32),
        task.missed(keys.stream(key, "near"), read.bare, answers * times, said),
    )


def spans(task: tasks.Task, texts: Sequence[str]) -> np.ndarray:
    """`[N, P, 2]`: the parts of each question, filled up with empty ones. P is a power of two, so
    that few programs serve all questions."""
    return _spans(task, task.readings(texts))


def _spans(task, read):
    # Bare questions are often the same.
    places = {bare: place for place, bare in enumerate(dict.fromkeys(read.bare))}
    ends, sizes = [], []
    for bare in places:
        own = task.parts(bare)
        sizes.append(len(own))
        ends += itertools.chain.from_iterable(own)
    most = 1 << (max(1, *sizes) - 1).bit_length() if sizes else 1
    found = np.zeros((len(places), most, 2), np.int32)
    there = np.arange(most) < np.array(sizes, np.int64)[:, None]
    found[there] = np.array(ends, np.int32).reshape(-1, 2)
    rows = np.fromiter(map(places.__getitem__, read.bare), np.int64, len(read.bare))
    shifts = (np.array(read.fillers, np.int32) % 2)[:, None, None]
    return found[rows] + np.where(there[rows][..., None], shifts, 0)


def parts(spans, length: int):
    """Booleans `[..., P, S = length]` of spans `[..., P, 2]`; runs inside `jit`."""
    place = jnp.arange(length)
    return (place >= spans[..., :1]) & (place < spans[..., 1:])


def widen(array: np.ndarray, most: int) -> np.ndarray:
    """Spans with `most` parts, empty ones behind."""
    return np.pad(array, ((0, 0), (0, most - array.shape[1]), (0, 0)))
