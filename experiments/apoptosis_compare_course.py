"""The study of strategies in pieces: blocks of seeds × intervals of steps, and what each leaves.

A piece goes on from the checkpoint of the one before, bit for bit, whatever process made that. Of
the checkpoints before a block's last only a mark is kept, once the next one is stored: a whole one
holds every network's optimiser.
"""

import pathlib
import sys
import time
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from apoptosis import unborn
from experiments import apoptosis_compare_events as events
from experiments import apoptosis_compare_rows as rows_of
from experiments import apoptosis_compare_timing as timing
from experiments.apoptosis_compare_experiment import Experiment
from experiments.apoptosis_compare_networks import State
from experiments.apoptosis_compare_population import Population
from experiments.apoptosis_course import require_like
from experiments.shell import checkpoints, run, storage
from experiments.shell.run import Output, Plan, Task

TABLES = tuple(rows_of.COLUMNS)
TIMING = "timing"


class Course:
    """The pieces of an experiment whose run folder is `folder`; a layout is [seeds of a block,
    intervals of a piece]. `arm` is a number everywhere, as are neurons (those of all groups, one
    group after the other)."""

    def __init__(self, experiment: Experiment, folder: pathlib.Path, devices=None):
        self.experiment, self.folder, self.devices = experiment, folder, devices
        self._arms = len(experiment.arms)

    def tasks(self, layout: Sequence[int]) -> list[Task]:
        """A unit of progress is a step of a network."""
        pieces = self._pieces(layout)
        cut = [Task(name, self._arms * len(s) * (b - a)) for name, (s, a, b) in pieces.items()]
        return [*cut, Task(TIMING, 0)]

    def _pieces(self, layout) -> dict:
        """By name, in order: the seeds of the block, the first step and the last."""
        (block, length), stops = layout, self.experiment.subject.stops()
        parts = [stops[i : i + length] for i in range(0, len(stops), length)]
        pairs = list(zip([0, *(part[-1] for part in parts)], [p[-1] for p in parts], strict=False))
        first = self.experiment.subject.seed
        blocks = [
            np.arange(first + s, first + min(s + block, self.experiment.seeds))
            for s in range(0, self.experiment.seeds, block)
        ]
        return {f"{block[0]:010d}-{a:07d}": (block, a, b) for block in blocks for a, b in pairs}

    def train(
        self, layout: Sequence[int], pending: Sequence[Task]
    ) -> Iterator[tuple[Task, Output]]:
        """Runs the pending pieces in order."""
        population = Population(self.experiment, layout[0], self.devices)
        pieces, kept, state = self._pieces(layout), None, None
        for block in {seeds[0] for seeds, _, _ in pieces.values()}:
            chain = self._chain(pieces, block)
            checkpoints.thin(self.folder, chain, [task.name for task in pending])
        for task in pending:
            if task.name == TIMING:
                yield task, self._timed(population)
                continue
            seeds, begin, end = pieces[task.name]
            chain = self._chain(pieces, seeds[0])
            before = list(chain)[: list(chain).index(task.name)]
            if not before or before[-1] != kept:
                state = self._reached(population, pieces, seeds, before)
            state, tables = self._piece(population, seeds, state, begin, end)
            kept = task.name
            last = end == self.experiment.subject.preset.training.steps
            tree = {"params": state.params} if last else content(state)
            yield task, Output(tables, jax.tree.map(np.asarray, tree))
            # By now it is stored, and the one before it no longer needed.
            if before:
                checkpoints.mark(self.folder, before[-1], begin)

    def _chain(self, pieces, block) -> dict[str, int]:
        """The pieces of the block whose first seed is `block`, and the step after each."""
        return {name: end for name, (seeds, _, end) in pieces.items() if seeds[0] == block}

    def _reached(self, population, pieces, seeds, before) -> State:
        padded = population.padded(seeds)

        def again(state, name):
            for stop in self._stops(*pieces[name][1:]):
                state, _ = population.advance(state, padded, stop - int(state.step))
            return state

        return checkpoints.reached(
            self.folder,
            before,
            lambda: population.start(padded),
            lambda stored: restore(population, stored, padded),
            again,
        )

    def _stops(self, begin, end):
        return [stop for stop in self.experiment.subject.stops() if begin < stop <= end]

    def _piece(self, population, seeds, state, begin, end):
        padded, tables = population.padded(seeds), {name: [] for name in TABLES}
        if not begin:
            tables["results"].append(self._measured(population, seeds, state, None))
        for stop in self._stops(begin, end):
            first = int(state.step)
            population.ready(state, padded)
            start = time.monotonic()
            state, (losses, changes, seen) = jax.block_until_ready(
                population.advance(state, padded, stop - first)
            )
            seconds = time.monotonic() - start
            losses = np.asarray(losses)[:, :, : len(seeds)]
            tables["times"].append(
                rows_of.time(
                    population, "training", -1, stop - first, seconds, len(padded) * self._arms
                )
            )
            tables["curves"].append(self._curves(seeds, first, losses))
            for name, rows in zip(
                ("events", "lineage"),
                rows_of.happened(population, seen, changes, seeds),
                strict=True,
            ):
                tables[name].append(rows)
            tables["results"].append(self._measured(population, seeds, state, losses))
        if end == self.experiment.subject.preset.training.steps:
            tables["neurons"].append(self._neurons(population, seeds, state))
        return state, {name: rows_of.joined(name, rows) for name, rows in tables.items()}

    def _measured(self, population, seeds, state, losses):
        sums = population.evaluate(state.params)[:, :, : len(seeds)].astype(np.float64)
        counts = [part.valid.sum(1) for part in population.windows]
        validation, test = np.split(sums, [len(counts[0])])
        arms = len(self.experiment.arms)
        row = rows_of.grid(arms, seeds) | {"step": np.full(arms * len(seeds), int(state.step))}
        train = np.full((arms, len(seeds)), np.nan) if losses is None else losses.mean(0, float)
        row["train_loss"] = train.ravel()
        for name, part, count in zip(
            ("validation", "test"), (validation, test), counts, strict=True
        ):
            means = part / count[:, None, None]
            row[f"{name}_loss"] = (part.sum(0) / count.sum()).ravel()
            row[f"{name}_error"] = (means.std(0, ddof=1) / len(means) ** 0.5).ravel()
        told = row["validation_loss"].reshape(arms, -1).mean(1)
        best = int(np.argmin(np.nan_to_num(told, nan=np.inf)))
        tqdm.tqdm.write(
            f"step {int(state.step)}, seeds {seeds[0]} to {seeds[-1]}: validation "
            f"{told[0]:.4f} {self.experiment.arms[0].name}, lowest {told[best]:.4f} "
            f"{self.experiment.arms[best].name}",
            file=sys.stderr,
        )
        return row

    def _curves(self, seeds, first, losses):
        steps, arms, _ = losses.shape
        grid = rows_of.grid(arms, seeds)
        rows = {name: np.tile(column, steps) for name, column in grid.items()}
        rows["step"] = np.repeat(first + 1 + np.arange(steps), arms * len(seeds))
        return rows | {"loss": losses.ravel()}

    def _neurons(self, population, seeds, state):
        """The living at the end."""
        rows, groups = [], self.experiment.groups
        for species, own in enumerate(population.species):
            trees = state.params[species], events.light(state.evidence[species])
            params, known = jax.tree.map(lambda x: np.asarray(x)[:, : len(seeds)], trees)
            gone = jax.vmap(jax.vmap(lambda p: unborn.find(p, groups)))(params)
            for g, group in enumerate(groups):
                watched = known[group.name]
                place, seed, neuron = cell = np.nonzero(~np.asarray(gone[group.name]))
                row = {"arm": np.array(own.arms)[place], "seed": seeds[seed]}
                row |= {"group": np.full(len(place), g), "neuron": neuron}
                row["age"] = watched.age[cell]
                row |= {n: np.asarray(watched.average(n))[cell] for n in rows_of.WORTH}
                rows.append(row)
        return storage.concatenate(rows)

    def _timed(self, population) -> Output:
        rows = timing.measure(population)
        tables = {name: rows_of.joined(name, rows if name == "times" else []) for name in TABLES}
        return Output(tables, {"step": np.array(0)})


def content(state: State) -> dict:
    """A checkpoint: every leaf by its path. The samples that evidence records are left out, for
    the next step overwrites them."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(_light(state))
    return {_path(path): leaf for path, leaf in leaves}


def restore(population: Population, stored: dict, seeds) -> State:
    """The state of a checkpoint. Refuses one of another config."""
    expected = population.expected(seeds)
    require_like(stored, jax.eval_shape(content, expected))
    light = jax.tree_util.tree_map_with_path(lambda path, _: stored[_path(path)], _light(expected))
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), expected.evidence)
    known = [events.whole(*pair) for pair in zip(light.evidence, blank, strict=True)]
    return light._replace(evidence=tuple(known))


def _light(state: State) -> State:
    return state._replace(evidence=tuple(map(events.light, state.evidence)))


def _path(path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def plan(experiment: Experiment, out: pathlib.Path, name: str, layout: Sequence[int]) -> Plan:
    """What the shell must know to run an experiment under `out`, cut by `layout`."""
    settings = experiment.settings()
    course = Course(experiment, out / run.identity(name, settings))
    return Plan(name, settings, layout, course.tasks, course.train, "network-step", TABLES)
