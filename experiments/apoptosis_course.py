"""A run in chunks of steps, each of which goes on from the last one stored, bit for bit.

Every checkpoint holds the whole state (parameters, the optimiser's, the step) beside the parameters
of the lowest validation loss so far. Nothing is chosen on the test part.
"""

import math
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
import tqdm

from apoptosis import presets
from experiments.apoptosis_training import State, Subject, Trainer
from experiments.shell import run, storage
from experiments.shell.run import Output, Plan, Task

TABLES = ("results", "curves", "times")
CHUNK = {"cpu": 1}  # intervals between two checkpoints
ON_ACCELERATORS = 4  # an interval takes them seconds, and so does a checkpoint


class Best(NamedTuple):
    """The parameters of the lowest validation loss so far."""

    params: dict
    loss: float
    step: int


class Course:
    """The tasks of a subject whose run folder is `folder`: chunks of `layout` intervals."""

    def __init__(self, subject: Subject, folder: pathlib.Path, devices=None):
        self.subject, self.folder, self.devices = subject, folder, devices

    def tasks(self, layout: Sequence[int]) -> list[Task]:
        return [Task(_name(first), stops[-1] - first) for first, stops in self._chunks(layout)]

    def _chunks(self, layout):
        """(first step, steps after which losses are measured) of every chunk."""
        (length,), stops = layout, self.subject.stops()
        parts = [stops[i : i + length] for i in range(0, len(stops), length)]
        return list(zip([0, *(part[-1] for part in parts)], parts, strict=False))

    def train(
        self, layout: Sequence[int], pending: Sequence[Task]
    ) -> Iterator[tuple[Task, Output]]:
        """Runs the pending tasks in order; what was stored before them is there by then."""
        trainer = Trainer(self.subject, self.devices)
        chunks = {_name(first): (first, stops) for first, stops in self._chunks(layout)}
        names, kept, state, best = list(chunks), None, None, None
        for task in pending:
            first, stops = chunks[task.name]
            before = names[names.index(task.name) - 1] if first else None
            if not first:
                state = trainer.start()
                best = Best(_copy(state.params), math.inf, 0)
            elif before != kept:
                stored = storage.load_tree(self.folder / "checkpoints" / before)
                state, best = restore(trainer, stored)
            state, best, tables = self._chunk(trainer, first, stops, state, best)
            kept = task.name
            yield task, Output(tables, tree(state, best))

    def _chunk(self, trainer, first, stops, state, best):
        rows, losses, times = [], [], []
        if not first:
            best = self._measure(trainer, state, math.nan, best, rows)
        for begin, stop in zip([first, *stops[:-1]], stops, strict=True):
            state, found, seconds = trainer.advance(state, stop - begin)
            losses.append(np.asarray(found))
            best = self._measure(trainer, state, losses[-1].mean(dtype=np.float64), best, rows)
            times.append(
                {
                    "step": begin,
                    "steps": stop - begin,
                    "seconds": seconds,
                    "device": trainer.kind,
                    "devices": trainer.devices,
                }
            )
        curves = {"step": np.arange(first, stops[-1]) + 1, "loss": np.concatenate(losses)}
        return state, best, {"results": _columns(rows), "curves": curves, "times": _columns(times)}

    def _measure(self, trainer, state, train_loss, best, rows):
        step = int(state.step)
        validation, test = trainer.evaluate(state.params)
        if validation.value < best.loss:
            best = Best(_copy(state.params), validation.value, step)
        rate = presets.rate(self.subject.preset.training)(max(step - 1, 0))
        rows.append(
            {
                "step": step,
                "learning_rate": float(rate),
                "train_loss": train_loss,
                "validation_loss": validation.value,
                "validation_error": validation.error,
                "test_loss": test.value,
                "test_error": test.error,
                "best_step": best.step,
            }
        )
        said = f"step {step}: validation {validation.value:.4f} nats per character"
        tqdm.tqdm.write(f"{said}, best {best.loss:.4f} at step {best.step}", file=sys.stderr)
        return best


def _copy(params):
    """Of their own: what trains on uses its memory up."""
    return jax.tree.map(np.array, params)


def _columns(rows) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def tree(state: State, best: Best) -> dict:
    """A checkpoint: nested dictionaries of NumPy arrays, the optimiser's leaves by their path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state.optimiser)
    content = {
        "params": state.params,
        "optimiser": {_path(path): leaf for path, leaf in leaves},
        "step": state.step,
        "best": best.params,
        "best_loss": np.float64(best.loss),
        "best_step": np.int32(best.step),
    }
    return jax.tree.map(np.asarray, content)


def restore(trainer: Trainer, stored: dict) -> tuple[State, Best]:
    """The state and the best parameters of a checkpoint. Refuses one of another config."""
    expected = jax.eval_shape(trainer.start)
    pick = lambda path, _: stored["optimiser"][_path(path)]
    try:
        optimiser = jax.tree_util.tree_map_with_path(pick, expected.optimiser)
    except KeyError as error:
        raise run.Refused(f"the checkpoint is of another optimiser: it has no {error}") from error
    state = State(stored["params"], optimiser, stored["step"])
    require_like(state, expected)
    best = Best(stored["best"], float(stored["best_loss"]), int(stored["best_step"]))
    return jax.device_put(state, trainer.everywhere), best


def require_like(found, expected) -> None:
    """Refuses a tree that has not the structure, shapes and types of `expected`."""
    shapes = lambda tree: {
        _path(path): (*leaf.shape, str(leaf.dtype))
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }
    ours, theirs = shapes(expected), shapes(found)
    for path in sorted(ours.keys() | theirs.keys()):
        if ours.get(path) != theirs.get(path):
            have, want = theirs.get(path, "missing"), ours.get(path, "missing")
            raise run.Refused(f"the checkpoint is of another config: {path} is {have}, not {want}")


def _path(path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _name(first: int) -> str:
    return f"steps-{first:07d}"


def plan(subject: Subject, out: pathlib.Path, name: str) -> Plan:
    """What the shell must know to train a subject under `out`."""
    settings = subject.settings()
    course = Course(subject, out / run.identity(name, settings))
    layout = (CHUNK.get(jax.default_backend(), ON_ACCELERATORS),)
    return Plan(name, settings, layout, course.tasks, course.train, "step", TABLES)
