"""Events among many arms: who shares a program, and what happened.

Shapes: `M` arms of a family, `S` seeds, `N` neurons of all groups.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from apoptosis import evidence, transform, transformer, unborn
from experiments import apoptosis_compare_arms as arms_of
from experiments.apoptosis_compare_experiment import Experiment
from experiments.lab import keys


class Species(NamedTuple):
    """Arms (their numbers) of one model; where they grow, `room` times as wide as at the start."""

    arms: tuple[int, ...]
    model: transformer.Transformer
    room: float | None


class Family(NamedTuple):
    """Arms of one kind, by their numbers: at `places` of their species' trees, with `values` of
    what they differ in. `restless`: its transform is called at every step, not once a tick."""

    kind: str
    arms: tuple[int, ...]
    species: int
    places: np.ndarray
    values: np.ndarray
    restless: bool


class Events(NamedTuple):
    """What happened in a tick: deaths and births by neuron, the step of the last birth or death (0:
    none), the newborn's parents, and the fitness of the dead, all `[M, S, N]`."""

    died: jax.Array
    born: jax.Array
    when: jax.Array
    parent: jax.Array
    mate: jax.Array
    fitness: jax.Array


def species(experiment: Experiment, model: transformer.Transformer) -> tuple[Species, ...]:
    """The arms of constant width, and those that grow."""
    still = tuple(a for a, arm in enumerate(experiment.arms) if not arm.grows)
    growing = tuple(a for a, arm in enumerate(experiment.arms) if arm.grows)
    if not growing:
        return (Species(still, model, None),)
    own = model.architecture
    wide = dataclasses.replace(own, ffn=unborn.capacity(own.ffn, experiment.room))
    return (
        Species(still, model, None),
        Species(growing, model.clone(architecture=wide), experiment.room),
    )


def families(experiment: Experiment, of: tuple[Species, ...]) -> tuple[Family, ...]:
    """All arms but the baseline, by kind."""
    place = {a: (s, i) for s, own in enumerate(of) for i, a in enumerate(own.arms)}
    found: dict[str, list[int]] = {}
    for a, arm in enumerate(experiment.arms):
        if arm.name != arms_of.BASELINE:
            found.setdefault(arm.kind, []).append(a)
    return tuple(
        Family(
            kind,
            tuple(arms),
            place[arms[0]][0],
            np.array([place[a][1] for a in arms]),
            np.float32([experiment.arms[a].number for a in arms]),
            experiment.arms[arms[0]].pace(experiment.interval) is None,
        )
        for kind, arms in found.items()
    )


def build(
    experiment: Experiment, family: Family, model: transformer.Transformer, calls: int, value
) -> transform.ApoptosisTransform:
    """The transform of a family's arm with this `value`, called every so many steps."""
    groups = experiment.groups
    if family.kind == "growth":
        groups = tuple(group for group in groups if group.name.endswith("/mlp"))
    initial = lambda key: transformer.initial(key, model)
    dose = arms_of.Dose(experiment.rate, experiment.interval, calls, groups, initial)
    return arms_of.KINDS[family.kind].build(dose, value)


def update(make, family: Family, trees: tuple, own, step, seeds):
    """One update of all arms and seeds of a family: the trees of its species, `[A, S, …]`, its
    transform's state and the report, both `[M, S, …]`. `make(value)` makes the transform."""

    def one(value, seed, params, optimiser, known, own):
        key = keys.stream(jax.random.key(seed), "events", step)
        params, optimiser, own, report = make(value).update(key, params, optimiser, own, known)
        return (params, optimiser, light(evidence.renewed(known, report))), own, report

    arms = jax.tree.map(lambda x: x[family.places], trees)
    of_seeds = jax.vmap(one, (None, 0, 0, 0, 0, 0))
    of_arms = jax.vmap(of_seeds, (0, None, 0, 0, 0, 0))
    after, own, report = of_arms(jnp.asarray(family.values), seeds, *arms, own)
    put = lambda old, new: old.at[family.places].set(new)
    params, optimiser, known = jax.tree.map(put, (*trees[:2], light(trees[2])), after)
    return (params, optimiser, whole(known, trees[2])), own, report


def none(arms: int, seeds: int, neurons: int) -> Events:
    """Nothing happened."""
    zeros = lambda dtype: jnp.zeros((arms, seeds, neurons), dtype)
    count = zeros(jnp.int16)
    return Events(count, count, zeros(jnp.int32), count, count, zeros(jnp.float32))


def added(names, seen: Events, report: transform.Report, step) -> Events:
    """The events with those of one more update; `names` are the groups in their order."""
    along = lambda own: jnp.concatenate([own[name] for name in names], -1)
    died, born = along(report.died), along(report.born)
    parents, mates, fitness = map(along, (report.parents, report.mates, report.fitness))
    when = jnp.where(died | born, step, 0)
    return joined(seen, Events(died, born, when, parents, mates, fitness))


def joined(seen: Events, new: Events) -> Events:
    """The events of two stretches of a tick, the later ones second."""
    later = lambda flags, own, old: jnp.where(flags, own, old).astype(old.dtype)
    return Events(
        (seen.died + new.died).astype(seen.died.dtype),
        (seen.born + new.born).astype(seen.born.dtype),
        jnp.maximum(seen.when, new.when),
        later(new.born > 0, new.parent, seen.parent),
        later(new.born > 0, new.mate, seen.mate),
        later(new.died > 0, new.fitness, seen.fitness),
    )


def light(known: evidence.Evidence) -> evidence.Evidence:
    """Evidence without the samples that it records, which are those of the last step."""
    return {name: own._replace(outputs=(), inputs=()) for name, own in known.items()}


def whole(known: evidence.Evidence, recorded: evidence.Evidence) -> evidence.Evidence:
    """Light evidence with the samples of another."""
    return {
        name: own._replace(outputs=recorded[name].outputs, inputs=recorded[name].inputs)
        for name, own in known.items()
    }
