"""What a run folder's networks have learnt: their parameters, their data, what they predict."""

import functools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from elements import activations, learner, network
from experiments.elements_population import Arm, Population
from experiments.elements_training import Trainer
from experiments.shell import run, storage


class Cell(NamedTuple):
    """Positions of a network in its population."""

    arm: int
    dataset: int
    trial: int


class Trained:
    """The trained networks of a run folder, by their number in column `network`."""

    def __init__(self, folder: pathlib.Path):
        self.folder = pathlib.Path(folder)
        self.population = Population.read(run.manifest(self.folder)["settings"])

    def cell(self, number: int) -> Cell:
        """Where a network stands; raises ValueError for a number that there is not."""
        config = self.population
        if not 0 <= number < config.size:
            raise ValueError(f"network must lie in [0, {config.size}), got {number}")
        shape = len(config.arms), len(config.datasets), config.trials
        return Cell(*map(int, np.unravel_index(number, shape)))

    def arm(self, number: int) -> Arm:
        return self.population.arms[self.cell(number).arm]

    def params(self, numbers: Sequence[int]) -> np.ndarray:
        """Flat parameters `[M, P]` (see `network.unflatten`); raises ValueError where a network
        is not stored, and storage.Damaged where a checkpoint is."""
        return self._rows("params", numbers)

    def snapshots(self, number: int) -> np.ndarray:
        """Flat parameters `[R, P]` at every recorded epoch, of a run that kept them."""
        return self._rows("snapshots", [number])[0]

    def trial(self, number: int) -> learner.Trial:
        """The network's own data and draws, drawn again from its keys."""
        arm, dataset, trial = self.cell(number)
        config = self.population
        group = next(i for i, g in enumerate(self._trainer.groups) if arm in g.arms)
        return self._trainer.draw_one(group, config.arms[arm], config.datasets[dataset], trial)

    def trials(self, arm: int) -> learner.Trial:
        """As `trial`, of an arm on all datasets in all trials at once: arrays `[S, T, …]`."""
        config, trainer = self.population, self._trainer
        group = next(i for i, g in enumerate(trainer.groups) if arm in g.arms)
        draws = [trainer._source_and_target(config.arms[arm], d)[1] for d in config.datasets]
        places = np.array([trainer.draws[group].index(draw) for draw in draws])
        step, parts = trainer.trials_at_once, []
        for start in range(0, config.trials, step):
            stop = min(start + step, config.trials)
            rows = places[:, None] * step + np.arange(stop - start)
            drawn = trainer._draw(range(start, stop), group)
            parts.append(jax.tree.map(lambda a, rows=rows: np.asarray(a[rows]), drawn))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *parts)

    def logits(self, numbers: Sequence[int], x: np.ndarray) -> np.ndarray:
        """`[M, N]`: what the networks say of the points `x [2, N]`."""
        return self._predict(numbers, self.params(numbers), x)

    def logits_over_time(self, number: int, x: np.ndarray) -> np.ndarray:
        """`[R, N]`: what a network said of the points at every recorded epoch."""
        flat = self.snapshots(number)
        return self._predict([number] * len(flat), flat, x)

    def _predict(self, numbers, flat, x):
        arms = np.array([self.cell(number).arm for number in numbers])
        found = np.empty((len(arms), np.shape(x)[-1]), np.float32)
        for a in np.unique(arms):
            here, element = np.flatnonzero(arms == a), self.population.elements[a]
            which = activations.index(element.activation)
            found[here] = _logits(element.widths, element.skip)(flat[here], x, which)
        return found

    def _rows(self, name, numbers):
        found = {}
        for path, stored in self._chunks().items():
            wanted = np.flatnonzero(np.isin(stored, numbers))
            if len(wanted):
                tree = self._tree(path)
                if name not in tree:
                    raise ValueError(f"{self.folder.name} holds no {name}")
                found |= {int(stored[i]): tree[name][i] for i in wanted}
        missing = [number for number in numbers if int(number) not in found]
        if missing:
            raise ValueError(f"network {missing[0]} is not stored in {self.folder.name}")
        return np.stack([found[int(number)] for number in numbers])

    def _chunks(self) -> dict[str, np.ndarray]:
        """The networks of every chunk that is stored whole, by the chunk's name."""
        for path in sorted((self.folder / "results").glob("*.parquet")):
            if path.stem not in self._stored:
                self._stored[path.stem] = storage.read_table(path)["network"]
        return self._stored

    @functools.cached_property
    def _stored(self) -> dict:
        return {}

    @functools.cached_property
    def _trainer(self) -> Trainer:
        return Trainer(self.population)

    @functools.lru_cache(maxsize=64)  # noqa: B019 (a folder's chunks do not change)
    def _tree(self, chunk: str):
        return storage.load_tree(self.folder / "checkpoints" / chunk)


@functools.cache
def _logits(widths, skip):
    """`(flat [M, P], x [2, N], activation) -> [M, N]`, compiled once per shape of network."""

    def one(flat, x, activation):
        return network.logits(network.unflatten(widths, flat), x, activation, skip)

    return jax.jit(jax.vmap(one, in_axes=(0, None, None)))
