"""Training organisms with their verifiers and asking them: what the shell must know of the study.

Organisms of a task are trained by runs of alen_train beside this one, which go on from their own
checkpoints. A chunk here is one task and one seed that is asked. Of each answer its measures are
stored, so that the analysis (`alen_verification_analysis`) needs no model.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from alen import tasks
from experiments import (
    alen_train_course,
    alen_train_questions,
    alen_trained,
    alen_training,
    alen_verification_asking,
)
from experiments.alen_train_subject import Subject
from experiments.alen_verification_analysis import GUARDED, PERTURBED
from experiments.alen_verification_methods import Answers
from experiments.lab import keys
from experiments.shell import run

STREAM = "alen_verification"
SEEDS_AT_ONCE = 5  # on CPUs, trained in one run
PROPOSED = 512  # questions of which all candidates are decoded
TABLES = ("results", "candidates", "operators")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A subject for each task, by its label, all with the same seeds; `questions` of a stratum.

    Raises ValueError unless there are subjects and their seeds agree.
    """

    subjects: tuple[tuple[str, Subject], ...]
    questions: int
    seed: int = 0

    def __post_init__(self):
        keys.check(self.seed)
        if self.questions < 1:
            raise ValueError(f"questions must be at least 1, got {self.questions}")
        if len({subject.seeds for _, subject in self.subjects}) != 1:
            raise ValueError("all tasks must have the same seeds, and there must be a task")

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.subjects[0][1].seeds

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(label for label, _ in self.subjects)

    @property
    def size(self) -> str:
        return self.subjects[0][1].configuration.size

    def settings(self) -> dict:
        """All that the numbers depend on, as JSON values."""
        told = {label: subject.settings() for label, subject in self.subjects}
        return {"subjects": told, "questions": self.questions, "seed": self.seed}


class Set(NamedTuple):
    """Questions that are asked: of a stratum (or other surfaces of one) in a split."""

    stratum: str
    split: str
    listed: bool  # all there are
    questions: alen_train_questions.Questions


def plan(experiment: Experiment, name: str, out: pathlib.Path) -> run.Plan:
    """One chunk per task × seed; tables of answers, of candidates, and of operators chosen."""
    count = len(experiment.seeds)
    at_once = min(count, SEEDS_AT_ONCE if jax.default_backend() == "cpu" else count)
    return run.Plan(
        name,
        experiment.settings(),
        [at_once],
        functools.partial(_tasks, experiment),
        functools.partial(_train, experiment, out),
        "organism",
        TABLES,
    )


def _tasks(experiment, layout):
    return [
        run.Task(f"{task:02d}-{seed:05d}", 1)
        for task in range(len(experiment.subjects))
        for seed in experiment.seeds
    ]


def _train(experiment, out, layout, pending) -> Iterator[tuple[run.Task, run.Output]]:
    places = {tuple(map(int, task.name.split("-"))): task for task in pending}
    for number, (_, subject) in enumerate(experiment.subjects):
        asked = functools.cache(lambda s=subject: sets(experiment, s))
        for start in range(0, len(subject.seeds), layout[0]):
            group = subject.seeds[start : start + layout[0]]
            wanted = [place for place, seed in enumerate(group) if (number, seed) in places]
            if not wanted:
                continue
            networks = _trained(dataclasses.replace(subject, seeds=group), out)
            for place in wanted:
                one = jax.tree.map(lambda leaf, i=place: leaf[i], networks)
                tables = _tables(experiment, number, group[place], *one, asked())
                tree = {"organism": one.organism, "checks": one.checks._asdict()}
                yield places[number, group[place]], run.Output(tables, tree)


def _trained(subject, out) -> alen_training.Networks:
    """Networks of all seeds: a run of alen_train under `out`, made or gone on with or read."""
    folder = run.execute(alen_train_course.plan(subject, out, alen_trained.NAME), out)
    stored = alen_trained.last(folder)["state"]
    state = alen_train_course.restore(alen_training.Trainer(subject), stored)
    return state.networks


def sets(experiment: Experiment, subject: Subject) -> list[Set]:
    """All that the organisms of a task are asked, the same for every seed.

    Test questions of every stratum, and of the trained one in another surface too; tuning and
    calibration ones of the strata for which there is a guarantee; and where the trained stratum
    can be listed within the number of questions, the training ones, which complete its domain.
    """
    task, most = subject.task, experiment.questions
    wanted = [(stratum, "test") for stratum in task.strata]
    guarded = [stratum for stratum in GUARDED if stratum in task.strata]
    wanted += [(stratum, split) for split in ("tuning", "calibration") for stratum in guarded]
    every = task.enumerate(tasks.TRAINED, "train")
    if every is not None and len(every) <= most:
        wanted.append((tasks.TRAINED, "train"))
    root, found = keys.stream(keys.root(experiment.seed), STREAM, "questions"), []
    for stratum, split in wanted:
        key = keys.stream(root, stratum, split)
        examples = alen_train_questions.examples(key, task, stratum, split, most)
        if not examples:
            continue
        listed = task.enumerate(stratum, split)
        kinds = [(stratum, examples)]
        if (stratum, split) == (tasks.TRAINED, "test"):
            surfaces = task.perturbations(key, [e.question for e in examples])
            other = [e._replace(question=q) for e, q in zip(examples, surfaces, strict=True)]
            kinds.append((PERTURBED, other))
        whole = listed is not None and len(listed) == len(examples)
        for name, chosen in kinds:
            asked = alen_train_questions.prepare(
                keys.stream(key, name), task, chosen, surfaces=subject.surfaces
            )
            found.append(Set(name, split, whole and name == stratum, asked))
    most = spans(found)  # of one shape, so that one program asks them all
    wide = lambda asked: asked._replace(spans=alen_train_questions.widen(asked.spans, most))
    return [one._replace(questions=wide(one.questions)) for one in found]


def strata(task: tasks.Task) -> tuple[str, ...]:
    """The strata that are asked, by which tables number them."""
    return (*task.strata, PERTURBED)


def spans(asked: list[Set]) -> int:
    """The most parts of a question."""
    return max(one.questions.spans.shape[1] for one in asked)


def _tables(experiment, number, seed, params, checks, asked):
    _, subject = experiment.subjects[number]
    names = strata(subject.task)
    root = keys.trial(keys.root(experiment.seed), f"{STREAM} {number}", seed)
    samples = alen_verification_asking.costs(subject, spans(asked)).samples
    rows, used, candidates = [], [], None
    for one in asked:
        key = keys.stream(root, one.stratum, one.split)
        found = alen_verification_asking.ask(subject, params, checks, one.questions, key, samples)
        count = len(found.chosen)
        label = {
            "task": np.full(count, number, np.int8),
            "seed": np.full(count, seed),
            "stratum": np.full(count, names.index(one.stratum), np.int8),
            "split": np.full(count, tasks.SPLITS.index(one.split), np.int8),
            "listed": np.full(count, one.listed),
        }
        rows.append(label | found.answers._asdict())
        if one.split == "test":
            label = {"task": number, "seed": seed, "stratum": names.index(one.stratum)}
            used.append(_usage(subject, label | {"parts": spans(asked)}, found.chosen))
        if (one.stratum, one.split) == (tasks.TRAINED, "test"):
            order = np.random.default_rng(experiment.seed).permutation(count)[:PROPOSED]
            few = alen_train_questions.Questions(*(leaf[order] for leaf in one.questions))
            candidates = alen_verification_asking.candidates(subject, params, few, key)
    join = lambda tables: {
        name: np.concatenate([table[name] for table in tables]) for name in tables[0]
    }
    return {
        "results": join(rows),
        "candidates": _proposals(number, seed, candidates),
        "operators": join(used),
    }


def _usage(subject, label, chosen):
    """How often each operator was chosen at each step, a row per step × operator, with `label`."""
    a = subject.model.architecture
    counts = np.stack([np.bincount(column, minlength=a.operators) for column in chosen.T])
    steps, operators = np.indices(counts.shape)
    return {name: np.full(counts.size, value) for name, value in label.items()} | {
        "step": steps.ravel(),
        "operator": operators.ravel(),
        "count": counts.ravel(),
    }


def _proposals(number, seed, candidates):
    questions, operators = np.indices(candidates.energy.shape)
    return {
        "task": np.full(questions.size, number),
        "seed": np.full(questions.size, seed),
        "question": questions.ravel(),
        "operator": operators.ravel(),
        "energy": candidates.energy.ravel().astype(np.float64),
        "right": candidates.right.ravel(),
    }


class Outcome:
    """A finished run: its experiment, its folder, its numbers."""

    def __init__(self, experiment: Experiment, folder: pathlib.Path):
        self.experiment, self.folder = experiment, folder

    def parts(self, label: str) -> int:
        """The most parts that were hidden of a question of a task."""
        rows = self.tables["operators"]
        return int(rows["parts"][rows["task"] == self.experiment.labels.index(label)][0])

    @functools.cached_property
    def tables(self) -> dict[str, dict[str, np.ndarray]]:
        return {name: run.read(self.folder, name) for name in TABLES}

    def answers(self, label: str, seed: int) -> dict[tuple[str, str], tuple[Answers, bool]]:
        """(stratum, split) → answers, and whether the stratum was listed, of one organism."""
        number = self.experiment.labels.index(label)
        rows = self.tables["results"]
        names = strata(self.experiment.subjects[number][1].task)
        own = (rows["task"] == number) & (rows["seed"] == seed)
        found = {}
        for stratum, name in enumerate(names):
            for split, called in enumerate(tasks.SPLITS):
                here = own & (rows["stratum"] == stratum) & (rows["split"] == split)
                if here.any():
                    columns = Answers(*(rows[field][here] for field in Answers._fields))
                    found[name, called] = columns, bool(rows["listed"][here][0])
        return found


def execute(experiment: Experiment, name: str, out: pathlib.Path) -> Outcome:
    """The finished run of an experiment, as far as it is not yet stored under `out`."""
    return Outcome(experiment, run.execute(plan(experiment, name, out), out))
