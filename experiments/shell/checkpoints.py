"""Checkpoints of a chain of chunks, each of which goes on from the one before: the last is whole.

Once a chunk is stored, of the checkpoint before it only a mark is kept, the step that it reached:
a whole one holds every network's optimiser. What a crash leaves without a whole checkpoint is
trained again from an earlier one.

A chain is the chunks' names in order, and the step after each.
"""

import itertools
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

import numpy as np

from experiments.shell import storage

State = TypeVar("State")


def mark(folder: pathlib.Path, name: str, step: int) -> None:
    """Replaces the checkpoint of chunk `name` of the run in `folder` by a mark."""
    storage.save_tree(_path(folder, name), {"step": np.array(step)})


def whole(folder: pathlib.Path, name: str) -> dict | None:
    """The checkpoint of chunk `name`, or None where it is a mark, damaged or not there."""
    try:
        stored = storage.load_tree(_path(folder, name))
    except storage.Damaged:
        return None
    return None if stored.keys() == {"step"} else stored


def thin(folder: pathlib.Path, chain: Mapping[str, int], pending: Collection[str]) -> None:
    """Marks what a kill left whole although it and the chunk after it are stored."""
    for name, after in itertools.pairwise(chain):
        stored = name not in pending and after not in pending
        if stored and whole(folder, name) is not None:
            mark(folder, name, chain[name])


def reached(
    folder: pathlib.Path,
    names: Sequence[str],
    start: Callable[[], State],
    restore: Callable[[dict], State],
    again: Callable[[State, str], State],
) -> State:
    """The state after the chunks `names`: that of the latest whole checkpoint, or `start()`, and
    `again(state, name)` for every chunk since."""
    passed, stored = len(names), None
    while passed and (stored := whole(folder, names[passed - 1])) is None:
        passed -= 1
    state = start() if stored is None else restore(stored)
    for name in names[passed:]:
        state = again(state, name)
    return state


def _path(folder, name):
    return folder / "checkpoints" / name
