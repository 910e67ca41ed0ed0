"""A run in chunks of steps, each of which goes on from the last one stored, bit for bit.

The organism's chunks come first, then the verifier's. Only the last checkpoint is whole, of those
before it a mark is kept. That of the run's end holds also the margins of tuning and calibration
answers, from which thresholds are made anew whenever a guarantee is asked for. Accuracy while it
learns is that on *tuning* questions, every number of the end that on *test* questions.
"""

import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
import tqdm

from alen import guarantees, tasks, verify
from experiments import alen_train_questions
from experiments.alen_training import State, Subject, Trainer
from experiments.lab import keys
from experiments.shell import checkpoints, run, storage
from experiments.shell.run import Output, Plan, Task

TABLES = ("results", "curves", "times")
CHUNK = {"cpu": 1}  # intervals between two checkpoints
ON_ACCELERATORS = 4
PHASES = ("organism", "verifier")
MIXTURE = "mixture"  # the questions that thresholds are made for
# No candidate is more lenient: even odds, an answer that tells nothing, half of the perturbations.
LEAST = verify.Thresholds(forward=0.0, backward=0.0, stability=0.5)
CURVES = ("loss", "answer", "right", "selected", "oracle", "random", "usage", "correctness")
CURVES = (*CURVES, "backward")


class Chunk(NamedTuple):
    """Steps of a phase: from `first` on, measured after each of `stops`."""

    phase: str
    first: int
    stops: tuple[int, ...]
    last: bool  # of the run

    @property
    def name(self) -> str:
        return f"{PHASES.index(self.phase)}-{self.phase}-{self.first:07d}"


class Evidence(NamedTuple):
    """Answers that thresholds rest on: `margins [Z, N, C]` and which were `right [Z, N]`."""

    margins: np.ndarray
    right: np.ndarray


class Course:
    """The tasks of a subject whose run folder is `folder`: chunks of `layout` intervals."""

    def __init__(self, subject: Subject, folder: pathlib.Path, devices=None):
        self.subject, self.folder, self.devices = subject, folder, devices

    def tasks(self, layout: Sequence[int]) -> list[Task]:
        return [Task(chunk.name, chunk.stops[-1] - chunk.first) for chunk in self.chunks(layout)]

    def chunks(self, layout: Sequence[int]) -> list[Chunk]:
        (length,), found = layout, []
        for phase, steps in zip(
            PHASES, (self.subject.steps, self.subject.check_steps), strict=True
        ):
            stops, first = self.subject.stops(steps), 0
            for i in range(0, len(stops), length):
                part = tuple(stops[i : i + length])
                last = phase == PHASES[-1] and part[-1] == steps
                found.append(Chunk(phase, first, part, last))
                first = part[-1]
        return found

    def train(
        self, layout: Sequence[int], pending: Sequence[Task]
    ) -> Iterator[tuple[Task, Output]]:
        """Runs the pending tasks in order; what was stored before them is there by then."""
        trainer = Trainer(self.subject, self.devices)
        chunks = {chunk.name: chunk for chunk in self.chunks(layout)}
        chain = {name: chunk.stops[-1] for name, chunk in chunks.items()}
        checkpoints.thin(self.folder, chain, [task.name for task in pending])
        back = lambda stored: restore(trainer, stored["state"])
        again = lambda state, name: self._again(trainer, chunks[name], state)
        names, kept, state = list(chunks), None, None
        for task in pending:
            before = names[: names.index(task.name)]
            if not before or before[-1] != kept:
                state = checkpoints.reached(self.folder, before, trainer.start, back, again)
            state, tables, evidence = self._chunk(trainer, chunks[task.name], state)
            kept = task.name
            yield task, Output(tables, {"state": flat(state), **evidence})
            # By now it is stored, and the one before it no longer needed.
            if before:
                checkpoints.mark(self.folder, before[-1], chain[before[-1]])

    def _again(self, trainer, chunk, state):
        """The steps of a chunk whose rows are stored already."""
        for begin, stop, go in self._intervals(trainer, chunk):
            state, _, _ = go(state, stop - begin)
        return state

    def _intervals(self, trainer, chunk):
        go = trainer.advance if chunk.phase == PHASES[0] else trainer.check
        pairs = zip([chunk.first, *chunk.stops[:-1]], chunk.stops, strict=True)
        return [(begin, stop, go) for begin, stop in pairs]

    def _chunk(self, trainer, chunk, state):
        rows, curves, times, evidence = [], [], [], {}
        for begin, stop, go in self._intervals(trainer, chunk):
            state, info, seconds = go(state, stop - begin)
            curves.append(_curve(chunk.phase, begin, info, self.subject.seeds))
            time = {"phase": chunk.phase, "step": begin, "steps": stop - begin, "seconds": seconds}
            times.append(time | {"device": trainer.kind, "devices": trainer.devices})
            if chunk.last and stop == chunk.stops[-1]:
                more, evidence = self._judge(trainer, state, stop)
                rows += more
            elif chunk.phase == PHASES[0]:
                rows += self._measure(trainer, state, stop)
            said = ", ".join(f"{n} {np.nanmean(curves[-1][n]):.4f}" for n in _said(chunk.phase))
            right = [row["right"] / row["n"] for row in rows if row["step"] == stop]
            held = f"; held-out accuracy {np.mean(right[0]):.4f}" if right else ""
            tqdm.tqdm.write(f"{chunk.phase}, step {stop}: {said}{held}", file=sys.stderr)
        results = _columns(rows) if rows else {n: np.zeros(0, t) for n, t in _COLUMNS.items()}
        tables = {"results": results, "times": _columns(times)}
        return state, tables | {"curves": storage.concatenate(curves)}, evidence

    def _measure(self, trainer, state, step):
        """Accuracy on tuning questions."""
        prepared = self._questions(tasks.TRAINED, alen_train_questions.TUNING)
        tokens = trainer.answers(state.networks, prepared)
        right = (tokens == prepared.answers).all(-1) & prepared.answers.any(-1)
        return [
            _row("organism", step, seed, self.subject.task.strata[0], "tuning", right[i])
            for i, seed in enumerate(self.subject.seeds)
        ]

    def _judge(self, trainer, state, step):
        """Thresholds from tuning and calibration, and what they do on the test questions."""
        of = alen_train_questions
        asked = {split: self._questions(MIXTURE, split) for split in (of.TUNING, of.CALIBRATION)}
        strata = (MIXTURE, *self.subject.task.strata)
        asked |= {stratum: self._questions(stratum, of.TEST) for stratum in strata}
        asked = {name: prepared for name, prepared in asked.items() if prepared is not None}
        # All with as many parts as any: one program.
        most = max(prepared.spans.shape[1] for prepared in asked.values())
        same = lambda prepared: prepared._replace(spans=of.widen(prepared.spans, most))
        found = {name: trainer.ask(state.networks, same(one)) for name, one in asked.items()}
        evidence = {
            split: {"margins": _stacked(found[split]), "right": found[split].right}
            for split in (of.TUNING, of.CALIBRATION)
        }
        rows, limits = [], guarantees_of(evidence, self.subject)
        for stratum in (name for name in strata if name in asked):
            margins = _stacked(found[stratum])
            for i, seed in enumerate(self.subject.seeds):
                passed = margins[i] > limits[i].thresholds
                right, verified = found[stratum].right[i], passed.all(-1)
                row = _row("verifier", step, seed, stratum, "test", right, verified)
                shares = zip(verify.CHECKS, passed.mean(0), strict=True)
                rows.append(row | {f"passed_{check}": share for check, share in shares})
        return rows, evidence

    def _questions(self, stratum, split):
        subject, task = self.subject, self.subject.task
        stratum = task.strata[0] if stratum == tasks.TRAINED else stratum
        key = keys.stream(keys.root(0), "held out", stratum, split)
        draw = keys.stream(key, "draw")
        if stratum == MIXTURE:
            settings = (task, split, subject.held_out, subject.unanswerable)
            chosen = alen_train_questions.mixture(draw, *settings)
        else:
            chosen = alen_train_questions.examples(draw, task, stratum, split, subject.held_out)
        if not chosen:
            return None
        return alen_train_questions.prepare(
            keys.stream(key, "arrays"), task, chosen, subject.surfaces
        )


def certify(
    tuning: Evidence, calibration: Evidence, alpha: float, delta: float, least=LEAST
) -> guarantees.Guarantee:
    """Thresholds of one seed (margins `[N, C]`): candidates and their order from tuning answers,
    none more lenient than `least` nor than is `typical` of right ones, tested on calibration
    answers by Learn-then-Test."""
    lowest = np.maximum(guarantees.typical(tuning.margins, tuning.right), least)
    candidates = np.maximum(guarantees.grid(tuning.margins), lowest)
    candidates = np.unique(candidates, axis=0)
    order = (candidates, tuning.margins, tuning.right, alpha)
    return guarantees.learn_then_test(
        guarantees.promising(*order),
        calibration.margins,
        calibration.right,
        alpha=alpha,
        delta=delta,
        tail="binomial",  # exact for what is right or wrong
    )


def guarantees_of(evidence: dict, subject: Subject, alpha=None, delta=None) -> list:
    """The `Guarantee` of every seed, from what a checkpoint holds as evidence."""
    each = []
    for i in range(len(subject.seeds)):
        tuning, calibration = (
            Evidence(evidence[split]["margins"][i], evidence[split]["right"][i])
            for split in (alen_train_questions.TUNING, alen_train_questions.CALIBRATION)
        )
        levels = (alpha or subject.alpha, delta or subject.delta)
        each.append(certify(tuning, calibration, *levels))
    return each


def _stacked(asked):
    return np.stack([np.asarray(m, np.float64) for m in asked.margins], -1)


_COLUMNS = {
    "phase": object,
    "step": np.int64,
    "seed": np.int64,
    "stratum": object,
    "split": object,
    "n": np.int64,
    "right": np.int64,
    "verified": np.int64,
    "verified_wrong": np.int64,
    **{f"passed_{name}": np.float64 for name in verify.CHECKS},
}


def _row(phase, step, seed, stratum, split, right, verified=None):
    """A row of results; without `verified`, nothing was."""
    verified = np.zeros_like(right) if verified is None else verified
    values = (phase, step, seed, stratum, split, right.size, right.sum(), verified.sum())
    values += ((verified & ~right).sum(), *(np.nan,) * len(verify.CHECKS))
    return dict(zip(_COLUMNS, values, strict=True))


def _said(phase):
    return ("answer", "right") if phase == PHASES[0] else ("correctness", "backward")


def _curve(phase, begin, info, seeds):
    """Rows of curves, a step of a seed each; NaN of what the phase does not know."""
    if phase == PHASES[0]:
        m = info.measured
        known = {n: getattr(m, n) for n in ("loss", "answer", "selected", "oracle", "random")}
        known |= {"right": m.right_hard, "usage": m.usage.entropy}
    else:
        known = {"correctness": info.correctness, "backward": info.backward}
        known["loss"] = info.correctness + info.backward
    known = {name: np.asarray(value, np.float32) for name, value in known.items()}
    steps, count = known["loss"].shape
    rows = {
        "phase": np.full(steps * count, phase, object),
        "step": np.repeat(np.arange(begin, begin + steps) + 1, count),
        "seed": np.tile(np.asarray(seeds, np.int64), steps),
    }
    empty = np.full((steps, count), np.nan, np.float32)
    return rows | {name: known.get(name, empty).ravel() for name in CURVES}


def _columns(rows) -> dict[str, np.ndarray]:
    kind = lambda name: object if isinstance(rows[0][name], str) else None
    return {name: np.array([row[name] for row in rows], kind(name)) for name in rows[0]}


def flat(state: State) -> dict:
    """A state as a dictionary of NumPy arrays by their path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {_path(path): np.asarray(leaf) for path, leaf in leaves}


def restore(trainer: Trainer, stored: dict) -> State:
    """The state of a checkpoint. Refuses one of another configuration, naming what differs."""
    expected, tree = jax.tree_util.tree_flatten_with_path(trainer.shapes)
    shape = lambda leaf: "missing" if leaf is None else (*leaf.shape, str(leaf.dtype))
    for path, leaf in expected:
        name = _path(path)
        have, want = shape(stored.get(name)), shape(leaf)
        if have != want:
            raise run.Refused(f"the checkpoint is of another config: {name} is {have}, not {want}")
    leaves = [stored[_path(path)] for path, _ in expected]
    return jax.tree_util.tree_unflatten(tree, leaves)


def _path(path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def plan(subject: Subject, out: pathlib.Path, name: str) -> Plan:
    """What the shell must know to train a subject under `out`."""
    settings = subject.settings()
    course = Course(subject, out / run.identity(name, settings))
    layout = (CHUNK.get(jax.default_backend(), ON_ACCELERATORS),)
    return Plan(name, settings, layout, course.tasks, course.train, "step", TABLES)
