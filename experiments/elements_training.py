"""Training a population of elements: from its cells to chunks, and from chunks to arrays."""

import concurrent.futures
import functools
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from elements import activations, composition, datasets, dynamics, generalisation, learner, network
from experiments import elements_output
from experiments.elements_population import Arm, Population, groups
from experiments.lab import keys, placement, population
from experiments.shell.devices import cores
from experiments.shell.run import Output, Plan, Task

DRAWS = 1024  # draws of data held at once: bounds memory, whatever the number of trials
BODIES = 96  # activations × slots that are compiled apart; beyond, the activation is traced
STACK = 512 * 2**20  # bytes of address space for a compiling thread
DONOR = 1  # the initialisation of donors; that of the networks on top of them is another


class Part(NamedTuple):
    """A chunk, the group of arms and the trials it is from, and the cells it indexes:
    positions `[M]` of arm, dataset and trial in the population."""

    group: int
    trials: range
    arm: np.ndarray
    dataset: np.ndarray
    trial: np.ndarray
    chunk: placement.Chunk


class Draw(NamedTuple):
    """What a row of trials is drawn by, besides the number of the trial."""

    dataset: str
    samples: int
    flipped: int
    member: int


class Trainer:
    """Cuts a population into chunks that do not depend on the devices, and trains them there.

    On the CPU a block's networks are of one arm, so depth and activation are compiled in or
    branch for the block as a whole. On accelerators both are traced per network and blocks are
    large.
    """

    def __init__(self, config: Population, devices=None):
        self.config = config
        self.mesh = placement.mesh(devices)
        self.platform = self.mesh.devices.flat[0].platform
        self.homogeneous = self.platform == "cpu"
        self.groups = groups(config)
        self.recipe = learner.protocol(config.protocol)
        self.draws = [self._draws_of(group.arms) for group in self.groups]
        widest = max(len(draws) for draws in self.draws)
        # A power of two, so that most numbers of trials share a compiled program.
        self._compiling: dict[int, concurrent.futures.Future] = {}
        self.trials_at_once = min(
            1 << (config.trials - 1).bit_length(), 1 << (max(1, DRAWS // widest).bit_length() - 1)
        )

    def layout(self) -> placement.Layout:
        cells = max(len(g.arms) for g in self.groups) * len(self.config.datasets)
        largest = cells * min(self.config.trials, self.trials_at_once)
        return placement.layout(self.platform, self.mesh.devices.size, largest)

    def parts(self, layout: Sequence[int]) -> dict[str, Part]:
        """The chunks by name, in the order in which they are trained."""
        config, found = self.config, {}
        for first in range(0, config.trials, self.trials_at_once):
            trials = range(first, min(first + self.trials_at_once, config.trials))
            for g, group in enumerate(self.groups):
                axes = group.arms, range(len(config.datasets)), trials
                cells = [a.ravel() for a in np.meshgrid(*axes, indexing="ij")]
                kinds = np.arange(len(config.arms))
                if not self.homogeneous:
                    kinds = np.array([int(e.skip) for e in config.elements])
                layout = placement.Layout(*layout)
                chunks = placement.chunks(kinds[cells[0]], layout, self.mesh.devices.size)
                for c, chunk in enumerate(chunks):
                    name = f"trial{first:06d}-group{g:02d}-{c:04d}"
                    found[name] = Part(g, trials, *cells, chunk)
        return found

    def tasks(self, layout: Sequence[int]) -> list[Task]:
        return [Task(name, int(p.chunk.valid.sum())) for name, p in self.parts(layout).items()]

    def train(
        self, layout: Sequence[int], pending: Sequence[Task]
    ) -> Iterator[tuple[Task, Output]]:
        """Trains the pending chunks; each is dispatched before the one before it is fetched."""
        parts = self.parts(layout)
        todo = [(task, parts[task.name]) for task in pending]
        programs = self.programs([part for _, part in todo])
        schedule = population.schedule(self.config.epochs, self.config.record_every)
        held = {"of": None, "rows": None}

        def dispatch(part):
            if held["of"] != (part.trials, part.group):
                held.update(of=(part.trials, part.group), rows=self._draw(part.trials, part.group))
            return programs[part.group].result()(held["rows"], self._work(part), schedule)

        flying = None
        for task, part in todo:
            landed, flying = flying, (task, part, dispatch(part))
            if landed:
                yield self._output(*landed)
        if flying:
            yield self._output(*flying)

    def _output(self, task: Task, part: Part, trained) -> tuple[Task, Output]:
        index, host = population.members(part.chunk, trained)
        cells = (a[index] for a in (part.arm, part.dataset, part.trial))
        return task, elements_output.output(self.config, *cells, host.records, host.final)

    def _species(self, g: int) -> list[tuple[bool, str | None]]:
        """The static organisms of a group: skip, and the activation where it is compiled in."""
        group = self.groups[g]
        elements = [self.config.elements[i] for i in group.arms]
        apart = {(e.skip, e.activation) for e in elements}
        if self.homogeneous and len(apart) * len(group.slots) <= BODIES:
            return sorted(apart)
        return sorted({(e.skip, None) for e in elements})

    def _draws_of(self, arms: Sequence[int]) -> list[Draw]:
        """All that the arms draw, on any dataset."""
        found = {}
        for arm in (self.config.arms[i] for i in arms):
            for dataset in self.config.datasets:
                found |= dict.fromkeys(self._source_and_target(arm, dataset))
        return list(found)

    def _source_and_target(self, arm: Arm, dataset: str) -> tuple[Draw, Draw]:
        target = Draw(dataset, self.config.samples_of(arm), arm.flipped, arm.member)
        if not arm.bottom:
            return target, target
        return target._replace(dataset=arm.source or dataset, member=DONOR), target

    def _draw(self, trials: range, g: int):
        """A pytree of `[draws × trials at once, …]`; the last trials fill a remainder."""
        config, draws = self.config, self.draws[g]
        noise = [datasets.find(d.dataset).noise for d in draws]
        columns = (
            np.array([datasets.index(d.dataset) for d in draws], np.int32),
            np.array(noise if config.noise is None else [config.noise] * len(draws), np.float32),
            *np.array([d[1:] for d in draws], np.int32).T,
        )
        numbers = np.minimum(trials.start + np.arange(self.trials_at_once), trials.stop - 1)
        rows = [np.repeat(column, len(numbers)) for column in columns]
        sample = self._sampler(self.groups[g].capacity)
        return sample(*rows, np.tile(numbers.astype(np.uint32), len(draws)))

    def draw_one(self, g: int, arm: Arm, dataset: str, trial: int) -> learner.Trial:
        """The trial of one network, its target where it has a source as well."""
        _, target = self._source_and_target(arm, dataset)
        rows = self._draw(range(trial, trial + 1), g)
        first = self.draws[g].index(target) * self.trials_at_once
        return jax.tree.map(lambda a: a[first], rows)

    @functools.cache  # noqa: B019 (a trainer lives as long as its process)
    def _sampler(self, capacity: int):
        """Rows of (dataset, noise, samples, flipped, member, trial) -> rows of `learner.Trial`."""
        config = self.config
        form = datasets.Form(np.float32(config.grid), np.float32(config.margin))
        sizes = {
            "capacity": capacity,
            "tests": config.tests,
            "normals": max(network.kernel_count(e.widths) for e in config.elements),
            "validation": config.held_back > 0,
            "flips": any(arm.flipped for arm in config.arms),
            "noises": config.noises if config.sigmas else 0,
        }

        def one(dataset, noise, samples, flipped, member, trial):
            key = keys.trial(keys.root(config.seed), config.stream, trial)
            setting = learner.Setting(dataset, noise, form, samples, config.held_back, flipped)
            weights = keys.stream(key, "weights")
            weights = jax.lax.select(member > 0, keys.stream(weights, member), weights)
            return learner.draw(keys.stream(key, "data", dataset), weights, setting, **sizes)

        return jax.jit(jax.vmap(one))

    def programs(self, parts: Sequence[Part]) -> dict[int, concurrent.futures.Future]:
        """Futures of the compiled program of every group in use: compilers run side by side."""
        for part in parts:
            if part.group not in self._compiling:
                self._compiling[part.group] = compilers().submit(self._compile, part)
        return self._compiling

    def _compile(self, part: Part):
        draws = jax.eval_shape(lambda: self._draw(part.trials, part.group))
        work = self._work(part)
        own = None if self.homogeneous else 0
        axes = learner.Hyper(0, 0, 0, own, own, own)
        learners = [self._learner(part.group, *species) for species in self._species(part.group)]
        schedule = population.schedule(self.config.epochs, self.config.record_every)
        return population.compile_program(learners, self.mesh, axes, draws, work, schedule)

    def _learner(self, g: int, skip: bool, activation: str | None) -> learner.Learner:
        config = self.config
        made = learner.learner(self.groups[g].slots, skip, self.recipe, activation)
        kinds = {"gradients": config.record_gradients, "weights": config.record_weight_stats}
        if any(kinds.values()):
            made = dynamics.observed(made, skip, activation, **kinds)
        if config.snapshots:
            made = learner.photographed(made)
        if config.sigmas or any(arm.flipped for arm in config.arms):
            made = generalisation.judged(made, skip, activation, config.sigmas)
        return composition.grafted(made) if config.grafted else made

    def _work(self, part: Part) -> population.Work:
        config, member, group = self.config, part.chunk.member, self.groups[part.group]
        arms = part.arm[member]  # [K, B]
        some = arms[:, 0] if self.homogeneous else arms  # a block is of one arm
        species = self._species(part.group)
        static = [(e.skip, e.activation) for e in config.elements]
        static = static if species[0][1] is not None else [(skip, None) for skip, _ in static]
        hyper, rows = self._columns(group, part.group)
        at = lambda tree, places: jax.tree.map(lambda column: column[places], tree)
        shared = at((hyper.used, hyper.activation, hyper.graft), some)
        hyper = learner.Hyper(*at(hyper[:3], arms), *shared)
        trial = at(rows, (arms, part.dataset[member]))
        trial = jax.tree.map(
            lambda row: (row * self.trials_at_once + part.trial[member] - part.trials.start).astype(
                np.int32
            ),
            trial,
        )
        kinds = [species.index(s) if s in species else 0 for s in static]
        return population.Work(
            hyper, trial, np.array(kinds, np.int32)[arms[:, 0]], part.chunk.count
        )

    @functools.cache  # noqa: B019
    def _columns(self, group, g: int) -> tuple:
        """Hyper of every arm of the population as columns `[A]`, and its rows of the draws
        `[A, datasets]`; arms of other groups have no meaning here."""
        config, slots = self.config, len(group.slots)
        rate = [a.recipe.learning_rate if a.recipe else config.rate for a in config.arms]
        gain = [a.recipe.gain if a.recipe else 1.0 for a in config.arms]
        adaptive = [bool(a.recipe and a.recipe.optimiser == "adam") for a in config.arms]
        widths = [(*e.widths, *[0] * slots)[:slots] for e in config.elements]
        used = network.Used(
            np.array([e.depth for e in config.elements], np.int32),
            np.array(widths, np.int32) if group.ragged else None,
        )
        which = np.array([activations.index(e.activation) for e in config.elements], np.int32)
        graft = None
        if config.grafted:
            epochs = [config.epochs if a.trained and a.bottom else 0 for a in config.arms]
            columns = [a.bottom for a in config.arms], epochs, [a.frozen for a in config.arms]
            graft = composition.Graft(*(np.array(column, np.int32) for column in columns))
        place = {draw: i for i, draw in enumerate(self.draws[g])}
        rows = np.array(
            [
                [
                    [place.get(d, 0) for d in self._source_and_target(arm, dataset)]
                    for dataset in config.datasets
                ]
                for arm in config.arms
            ]
        )
        pair = composition.Pair(rows[..., 0], rows[..., 1])
        rate, gain = np.array(rate, np.float32), np.array(gain, np.float32)
        hyper = learner.Hyper(rate, gain, np.array(adaptive), used, which, graft)
        return hyper, pair if config.grafted else rows[..., 1]


@functools.cache
def compilers() -> concurrent.futures.Executor:
    """Threads with room for deep programs: every hidden layer nests a few levels further."""
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 100_000))
    usual, count = threading.stack_size(STACK), min(8, cores())
    pool, together = concurrent.futures.ThreadPoolExecutor(count), threading.Barrier(count)
    concurrent.futures.wait([pool.submit(together.wait) for _ in range(count)])  # all have begun
    threading.stack_size(usual)
    return pool


def plan(config: Population, name: str, trainer: Trainer | None = None) -> Plan:
    """What the shell must know to train a population; its `trainer` may have begun to compile."""
    trainer = trainer or Trainer(config)
    return Plan(
        name,
        config.settings(),
        trainer.layout(),
        trainer.tasks,
        trainer.train,
        "network",
        elements_output.tables(config),
    )
