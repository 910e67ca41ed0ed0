"""Tasks with exact ground truth, as pure functions of a key.

A task is a class in a file of its own here; the import below is the line that makes it known.
"""

import difflib
from collections.abc import Sequence

import numpy as np

from alen.tasks import (  # noqa: F401
    addition,
    arithmetic,
    base,
    chains,
    facts,
    file,
    logic,
    lookup,
    modular,
    scan,
)
from alen.tasks.base import TRAINED, UNANSWERABLE, Example, Task
from alen.tasks.splits import NAMES as SPLITS

__all__ = ["NAMES", "SPLITS", "TRAINED", "UNANSWERABLE", "Example", "Task", "arrays", "find"]

_TASKS = {task.name: task for task in Task.__subclasses__()}
NAMES = tuple(_TASKS)


def find(name: str, **settings) -> Task:
    """The task called `name`. Raises ValueError naming the near miss, also of a setting."""
    task = _TASKS[_known(name, NAMES, "task")]
    for setting in settings:
        _known(setting, task.__dataclass_fields__, f"setting of task {name}")
    return task(**settings)


def _known(name, allowed, what):
    if name in allowed:
        return name
    near = difflib.get_close_matches(str(name), allowed, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown {what} {name!r}{meant} (allowed: {', '.join(allowed) or 'none'})")


def arrays(task: Task, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
    """Questions `[N, Tq]` and answers `[N, Ta]`, int32: `Tq` and `Ta` are the task's lengths.

    Answers end with EOS; that of an unanswerable question is PAD alone, and no target."""
    questions = task.tokeniser.batch([e.question for e in examples], task.question_length)
    return questions, task.tokeniser.answers([e.answer for e in examples], task.answer_length)
