"""Trained transformers, out of the run folders of apoptosis_train and of apoptosis_compare.

Shapes: `A` arms of a species, `S` seeds of a block, the last one repeated where there are fewer.
"""

import dataclasses
import pathlib
from typing import NamedTuple

import jax
import numpy as np

from apoptosis import text, transformer, unborn
from elements import names
from experiments import (
    apoptosis_compare,
    apoptosis_compare_arms,
    apoptosis_course,
    apoptosis_train,
    apoptosis_training,
)
from experiments.shell import run, storage


class Trained(NamedTuple):
    """A network, and the symbols that it knows."""

    vocabulary: text.Vocabulary
    model: transformer.Transformer
    params: dict


def load(folder: pathlib.Path, arm: str = "", seed: int | None = None) -> Trained:
    """The network of an arm and a seed of the run in `folder`.

    Of apoptosis_train it is that of the lowest validation loss in the last chunk that is whole; it
    has no arm. Of apoptosis_compare it is that after the last step; without a `seed` of the run's
    first one. What grows has room for more neurons than are born: the others give 0.

    Raises run.Refused for a folder, an arm or a seed of which there is no such network.
    """
    manifest = run.manifest(folder)
    readers = {apoptosis_train.NAME: _alone, apoptosis_compare.NAME: _compared}
    if manifest["name"] not in readers:
        known = " or ".join(readers)
        raise run.Refused(f"--checkpoint={folder} is a run of {manifest['name']}, not of {known}")
    model, params = readers[manifest["name"]](folder, manifest, arm, seed)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
        raise run.Refused(
            f"--checkpoint={folder}: this network diverged, its weights are no numbers"
        )
    return Trained(text.Vocabulary(manifest["settings"]["symbols"]), model, params)


def _alone(folder, manifest, arm, seed):
    settings = manifest["settings"]
    if arm:
        raise run.Refused(
            f"--arm={arm} has no meaning for a run of {manifest['name']}: it has none"
        )
    if seed not in (None, settings["seed"]):
        raise run.Refused(
            f"--seed={seed} was not trained, only {settings['seed']} was: --draw is the seed of "
            "what is drawn"
        )
    model = _model(settings, _architecture(settings))
    params = _stored(folder, "*")["best"]
    apoptosis_course.require_like(params, _shapes(model))
    return model, params


def _compared(folder, manifest, arm, seed):
    settings, (block, _) = manifest["settings"], manifest["layout"]
    if not manifest["finished"]:
        raise run.Refused(f"--checkpoint={folder} is not finished: the same command resumes it")
    arms = apoptosis_compare_arms.find(settings["arms"])
    chosen = arms[_place(arm, [one.name for one in arms])]
    first, last = settings["seed"], settings["seed"] + settings["seeds"] - 1
    seed = first if seed is None else seed
    if not first <= seed <= last:
        raise run.Refused(f"--seed={seed} was not trained: the run's seeds are {first} to {last}")
    place = (seed - first) % block
    stored = _stored(folder, f"{seed - place:010d}-*")
    if "params" not in stored:
        raise run.Refused(
            f"--checkpoint={folder} has no trained network of seed {seed}, only a mark or a state "
            f"at step {stored['step']}: the command that made the run makes again what was lost"
        )
    species = _species(arms, _architecture(settings))
    models = [_model(settings, architecture) for _, architecture in species]
    populations = [
        jax.tree.map(
            lambda leaf, own=own: jax.ShapeDtypeStruct((len(own), block, *leaf.shape), leaf.dtype),
            _shapes(model),
        )
        for (own, _), model in zip(species, models, strict=True)
    ]
    apoptosis_course.require_like(stored["params"], populations)
    (number,) = (i for i, (own, _) in enumerate(species) if chosen in own)
    cell = species[number][0].index(chosen), place
    return models[number], jax.tree.map(lambda leaf: leaf[cell], stored["params"][number])


def _place(arm, known):
    if not arm:
        raise run.Refused(f"--arm must be one of {', '.join(known)}")
    try:
        return names.find(arm, known, "arm")
    except ValueError as error:
        raise run.Refused(f"--arm: {error}") from error


def _species(arms, architecture):
    """The arms of one shape each with theirs, in the order of a checkpoint: constant, growing."""
    own = [[arm for arm in arms if arm.grows == grows] for grows in (False, True)]
    if not own[1]:
        return [(own[0], architecture)]
    room = unborn.capacity(architecture.ffn, max(arm.number for arm in own[1]))
    return [(own[0], architecture), (own[1], dataclasses.replace(architecture, ffn=room))]


def _architecture(settings):
    fields = dataclasses.fields(transformer.Architecture)
    return transformer.Architecture(**{field.name: settings[field.name] for field in fields})


def _model(settings, architecture):
    symbols = len(settings["symbols"])
    return apoptosis_training.organism(symbols, architecture, settings["compute"])


def _shapes(model):
    return jax.eval_shape(lambda key: transformer.initial(key, model), jax.random.key(0))


def _stored(folder, pattern):
    """The checkpoint of the last of the chunks whose names are of this pattern."""
    stored = sorted((folder / "results").glob(f"{pattern}.parquet"))
    if not stored:
        raise run.Refused(f"--checkpoint={folder} has no checkpoint yet")
    try:
        return storage.load_tree(folder / "checkpoints" / stored[-1].stem)
    except storage.Damaged as error:
        raise run.Refused(f"{error}: the command that made the run mends it") from error
