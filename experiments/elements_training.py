"""Training a population of elements: from its cells to chunks, and from chunks to rows."""

import concurrent.futures
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from elements import activations, datasets, learner, network
from experiments.elements_population import Population, groups
from experiments.lab import keys, placement, population
from experiments.shell.run import Output, Task

DRAWS = 1024  # draws of data (dataset × trial) held at once: bounds memory, whatever the trials


class Part(NamedTuple):
    """A chunk, the group of elements and the trials it is from, and the cells it indexes:
    positions `[M]` of element, dataset and trial in the population."""

    group: int
    trials: range
    element: np.ndarray
    dataset: np.ndarray
    trial: np.ndarray
    chunk: placement.Chunk


class Trainer:
    """Cuts a population into chunks that do not depend on the devices, and trains them there.

    On the CPU a block's networks share activation and depth, which are then compiled in or branch
    for the block as a whole. On accelerators both are traced per network and blocks are large.
    """

    def __init__(self, config: Population, devices=None):
        self.config = config
        self.mesh = placement.mesh(devices)
        self.platform = self.mesh.devices.flat[0].platform
        self.homogeneous = self.platform == "cpu"
        self.groups = groups(config.elements)
        self.recipe = learner.protocol(config.protocol)
        self.trials_at_once = min(config.trials, max(1, DRAWS // len(config.datasets)))

    def layout(self) -> placement.Layout:
        cells = max(len(g.elements) for g in self.groups) * len(self.config.datasets)
        largest = cells * self.trials_at_once
        return placement.layout(self.platform, self.mesh.devices.size, largest)

    def parts(self, layout: Sequence[int]) -> dict[str, Part]:
        """The chunks by name, in the order in which they are trained."""
        config, found = self.config, {}
        for first in range(0, config.trials, self.trials_at_once):
            trials = range(first, min(first + self.trials_at_once, config.trials))
            for g, group in enumerate(self.groups):
                axes = group.elements, range(len(config.datasets)), trials
                cells = [a.ravel() for a in np.meshgrid(*axes, indexing="ij")]
                alike = np.array([self._block_kind(e) for e in config.elements])[cells[0]]
                chunks = placement.chunks(alike, placement.Layout(*layout), self.mesh.devices.size)
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
        programs = self._programs([part for _, part in todo])
        schedule = population.schedule(self.config.epochs, self.config.record_every)
        draws = {"of": None, "rows": None}

        def dispatch(part):
            if draws["of"] != part.trials:
                draws.update(of=part.trials, rows=self._draw(part.trials))
            return programs[part.group].result()(draws["rows"], self._work(part), schedule)

        flying = None
        for task, part in todo:
            landed, flying = flying, (task, part, dispatch(part))
            if landed:
                yield self._output(*landed)
        if flying:
            yield self._output(*flying)

    def _block_kind(self, element) -> int:
        return self.config.elements.index(element) if self.homogeneous else int(element.skip)

    def _species(self, element) -> tuple:
        """The static organism: skip, and the activation where it is compiled in."""
        return element.skip, element.activation if self.homogeneous else None

    def _group_species(self, g: int) -> list[tuple]:
        return sorted(
            {self._species(self.config.elements[i]) for i in self.groups[g].elements}, key=str
        )

    def _draw(self, trials: range):
        """Draws as a pytree of `[datasets × trials at once, …]`; the last fill a remainder."""
        config = self.config
        index = np.array([datasets.index(name) for name in config.datasets], np.int32)
        own = [datasets.find(name).noise for name in config.datasets]
        noise = np.array(own if config.noise is None else [config.noise] * len(own), np.float32)
        numbers = np.minimum(trials.start + np.arange(self.trials_at_once), trials.stop - 1)
        rows = np.repeat(index, len(numbers)), np.repeat(noise, len(numbers))
        return self._sample(*rows, np.tile(numbers.astype(np.uint32), len(index)))

    @functools.cached_property
    def _sample(self):
        """Rows of (dataset, noise, trial) -> rows of `learner.Trial`; compiled once."""
        config = self.config
        form = datasets.Form(np.float32(config.grid), np.float32(config.margin))
        normals = max(network.kernel_count(group.widths) for group in self.groups)

        def one(dataset, noise, trial):
            key = keys.trial(keys.root(config.seed), "elements", trial)
            return learner.draw(
                keys.stream(key, "data", dataset),
                keys.stream(key, "weights"),
                learner.Setting(dataset, noise, form),
                samples=config.samples,
                tests=config.tests,
                normals=normals,
            )

        return jax.jit(jax.vmap(one))

    def _programs(self, parts: Sequence[Part]) -> dict:
        """Futures of the compiled program of every group in use: compilers run side by side."""
        if not parts:
            return {}
        pool = concurrent.futures.ThreadPoolExecutor(min(4, self.mesh.devices.size))
        first = {}
        for part in parts:
            first.setdefault(part.group, part)
        draws = jax.eval_shape(lambda: self._draw(parts[0].trials))
        futures = {g: pool.submit(self._compile, part, draws) for g, part in first.items()}
        pool.shutdown(wait=False)
        return futures

    def _compile(self, part: Part, draws):
        widths = self.groups[part.group].widths
        learners = [
            learner.learner(widths, skip, self.recipe, activation)
            for skip, activation in self._group_species(part.group)
        ]
        shared = None if self.homogeneous else 0
        axes = learner.Hyper(learning_rate=0, depth=shared, activation=shared)
        schedule = population.schedule(self.config.epochs, self.config.record_every)
        return population.compile_program(
            learners, self.mesh, axes, draws, self._work(part), schedule
        )

    def _work(self, part: Part) -> population.Work:
        config, member = self.config, part.chunk.member
        used = [config.elements[i] for i in part.element[member[:, 0]]]  # one of each block
        species = self._group_species(part.group)
        if self.homogeneous:
            depth = np.array([e.depth for e in used], np.int32)
            activation = np.array([activations.index(e.activation) for e in used], np.int32)
        else:
            of = lambda values: np.array(values, np.int32)[part.element[member]]
            depth = of([e.depth for e in config.elements])
            activation = of([activations.index(e.activation) for e in config.elements])
        rate = np.full(member.shape, config.rate, np.float32)
        row = part.dataset * self.trials_at_once + part.trial - part.trials.start
        return population.Work(
            learner.Hyper(rate, depth, activation),
            row[member].astype(np.int32),
            np.array([species.index(self._species(e)) for e in used], np.int32),
            part.chunk.count,
        )

    def _output(self, task: Task, part: Part, trained) -> tuple[Task, Output]:
        index, host = population.members(part.chunk, trained)
        columns = self._columns(*(a[index] for a in (part.element, part.dataset, part.trial)))
        params, records = host.state.params, host.records._asdict()
        for name, n in (("train", self.config.samples), ("test", self.config.tests)):
            share = records[f"{name}_accuracy"].astype(np.float64)
            records[f"{name}_accuracy"] = np.rint(share * n) / n  # what float32 has rounded
        last = {name: column[:, -1] for name, column in records.items()}
        finite = [np.isfinite(a).reshape(len(index), -1).all(1) for a in jax.tree.leaves(params)]
        diverged = ~np.all([*finite, np.isfinite(last["train_loss"])], axis=0)

        epochs = self.config.epochs_recorded.astype(np.int32)
        labels = ("network", "symbol", "dataset", "trial")
        curves = {name: np.repeat(columns[name], len(epochs)) for name in labels}
        curves["epoch"] = np.tile(epochs, len(index))
        curves |= {name: column.ravel() for name, column in records.items()}
        tables = {"results": {**columns, **last, "diverged": diverged}, "curves": curves}
        return task, Output(tables, {"network": columns["network"], **params})

    def _columns(self, element, dataset, trial) -> dict[str, np.ndarray]:
        """The columns of results that are known before training, for cells `[M]`."""
        config = self.config
        of = lambda values: np.array(values)[element]
        names = ("symbol", "activation", "depth", "width", "skip", "parameters")
        columns = {name: of([getattr(e, name) for e in config.elements]) for name in names}
        hidden = of(["_".join(map(str, e.widths)) for e in config.elements])
        shape = (len(config.elements), len(config.datasets), config.trials)
        constant = {"seed": config.seed, "protocol": config.protocol, "epochs": config.epochs}
        return {
            "network": np.ravel_multi_index((element, dataset, trial), shape),
            "symbol": columns.pop("symbol"),
            "activation": columns.pop("activation"),
            "hidden_layers": hidden,
            **columns,
            "dataset": np.array(config.datasets)[dataset],
            "trial": trial,
            **{name: np.full(len(element), value) for name, value in constant.items()},
        }
