"""A trained run, ready to be asked: its networks, thresholds and what is guaranteed of them."""

import dataclasses
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp

from alen import guarantees, presets, verify
from experiments import alen_configuration, alen_train_course, alen_train_questions
from experiments.alen_training import Networks, Subject, Trainer
from experiments.shell import run, storage

NAME = "alen_train"


class Trained(NamedTuple):
    """One organism of a run: no axis of seeds."""

    subject: Subject
    seed: int
    networks: Networks
    guarantee: guarantees.Guarantee
    thresholds: verify.Thresholds


def load(
    folder: pathlib.Path, index: int = 0, alpha: float | None = None, delta: float | None = None
) -> Trained:
    """The organism number `index` of the run in `folder`, and thresholds for the run's levels or
    for others. Raises run.Refused for what is no finished run of alen_train."""
    settings = _settings(folder)
    subject = restored(settings)
    if not 0 <= index < len(subject.seeds):
        raise run.Refused(f"--index must lie in [0, {len(subject.seeds) - 1}], got {index}")
    tree = last(folder)
    networks = alen_train_course.restore(Trainer(subject), tree["state"]).networks
    try:
        found = alen_train_course.guarantees_of(tree, subject, alpha, delta)[index]
    except ValueError as error:
        raise run.Refused(str(error)) from error
    one = jax.tree.map(lambda leaf: jnp.asarray(leaf[index]), networks)
    thresholds = verify.thresholds(found.thresholds)
    return Trained(subject, subject.seeds[index], one, found, thresholds)


def last(folder: pathlib.Path) -> dict:
    """The last checkpoint of a finished run, as `alen_train_course` stores it, all seeds in it.

    Raises run.Refused where the run is not finished."""
    stored = sorted((folder / "results").glob("*.parquet"))
    try:
        tree = storage.load_tree(folder / "checkpoints" / stored[-1].stem) if stored else {}
    except storage.Damaged as error:
        raise run.Refused(f"{error}: the command that made the run mends it") from error
    if alen_train_questions.CALIBRATION not in tree:
        raise run.Refused(f"--checkpoint={folder} is not finished: the same command resumes it")
    return tree


def _settings(folder) -> dict:
    manifest = run.manifest(folder)
    if manifest["name"] != NAME:
        raise run.Refused(f"--checkpoint={folder} is a run of {manifest['name']}, not of {NAME}")
    return manifest["settings"]


def restored(settings: dict) -> Subject:
    """The subject whose settings these are."""
    task = alen_train_questions.find(**settings["task"])
    shape = {s.field: settings[s.name] for s in alen_configuration.SETTINGS}
    rate, batch = shape.pop("learning_rate"), shape.pop("batch")
    lengths = {"question": settings["question_length"], "answer": settings["answer_length"]}
    configuration = alen_configuration.Configuration(
        settings["size"], presets.Architecture(**shape, **lengths), rate, batch, {}
    )
    taken = ("task", "configuration", "seeds")
    own = {f.name: settings[f.name] for f in dataclasses.fields(Subject) if f.name not in taken}
    return Subject(task, configuration, tuple(settings["seeds"]), **own)
