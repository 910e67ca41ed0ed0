"""Running arms × seeds of the study of plasticity: what the shell must know, and tuning."""

import concurrent.futures
import dataclasses
import functools
import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from apoptosis import plasticity, successive
from experiments import apoptosis_plasticity_arms as arms_of
from experiments.apoptosis_plasticity_arms import Arm
from experiments.apoptosis_plasticity_data import Data
from experiments.lab import keys, placement, table
from experiments.shell import run

SHARE = 10  # the first and the last tenth of the tasks are the early and the late ones
SEEDS_AT_ONCE = 20  # on CPUs: the unit of progress and of loss


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Arms × seeds on tasks made of `data`.

    Seeds of another `stream` share nothing with those of this one. Raises ValueError for numbers
    outside the stated range, and for an arm whose interval does not divide the steps of a task.
    """

    arms: tuple[Arm, ...]
    world: successive.World
    network: successive.Network
    optimiser: str
    seeds: int
    data: Data
    seed: int = 0
    stream: str = "plasticity"

    def __post_init__(self):
        keys.check(self.seed)
        if self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}")
        count, world = len(self.data.labels), self.world
        if world.examples + world.held_out > count:
            raise ValueError(
                f"examples and held_out must be at most the {count} images together, got "
                f"{world.examples} and {world.held_out}"
            )
        for arm in self.arms:
            for unit in (arm.every, arm.interval):
                if world.steps % unit:
                    raise ValueError(
                        f"{arm.recipe}.interval must divide the steps of a task, {world.steps}, "
                        f"got {unit}"
                    )

    @property
    def extreme(self) -> int:
        """The number of early tasks, and of late ones."""
        return -(-self.world.tasks // SHARE)

    def settings(self) -> dict:
        """All that the numbers depend on, as JSON values."""
        names = ("arms", "world", "network")
        told = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        told["arms"] = [dataclasses.asdict(arm) for arm in self.arms]
        told |= {name: dataclasses.asdict(told[name]) for name in names[1:]}
        return told | {"data": self.data.name, "data_sha256": self.data.sha256}


def plan(experiment: Experiment, name: str) -> run.Plan:
    """One task per arm × block of seeds; tables `results` (arm × seed) and `curves` (× task)."""
    platform = jax.devices()[0].platform
    at_once = min(experiment.seeds, SEEDS_AT_ONCE if platform == "cpu" else experiment.seeds)
    return run.Plan(
        name,
        experiment.settings(),
        [at_once],
        functools.partial(_tasks, experiment),
        functools.partial(_train, experiment),
        "learner",
        ("results", "curves"),
    )


def _tasks(experiment, layout):
    blocks = range(0, experiment.seeds, layout[0])
    return [
        run.Task(f"{arm:04d}-{start:05d}", min(layout[0], experiment.seeds - start))
        for arm in range(len(experiment.arms))
        for start in blocks
    ]


def _train(experiment, layout, pending) -> Iterator[tuple[run.Task, run.Output]]:
    mesh = placement.mesh()
    devices = mesh.devices.size
    width = -(-layout[0] // devices) * devices
    images = successive.Images(experiment.data.pixels, experiment.data.labels)
    places = [tuple(map(int, task.name.split("-"))) for task in pending]
    with concurrent.futures.ThreadPoolExecutor(devices) as pool:
        programs = {}
        for number, _ in places:
            arm = experiment.arms[number]
            if arm.species not in programs:
                submitted = pool.submit(_compile, experiment, arm, images, width, mesh)
                programs[arm.species] = submitted
        for task, (number, start) in zip(pending, places, strict=True):
            arm = experiment.arms[number]
            program = programs[arm.species].result()
            seeds = np.minimum(start + np.arange(width), start + task.size - 1).astype(np.uint32)
            life = jax.device_get(program(seeds, _hyper(arm), images))
            life = jax.tree.map(lambda a, n=task.size: a[:n], life)
            yield task, _output(experiment, number, start, life)


def _hyper(arm: Arm):
    return {name: np.float32(value) for name, value in arm.hyper.items()}


def _compile(experiment: Experiment, arm: Arm, images, width: int, mesh):
    """The program of an arm's species: seeds `[width]`, hyper, images -> a `Life` of each."""
    population, whole = PartitionSpec(placement.AXIS), PartitionSpec()

    def lives(seeds, hyper, images):
        root = keys.root(experiment.seed)
        own = arms_of.learner(arm.species, experiment.network, experiment.optimiser, hyper)

        def one(seed):
            key = keys.trial(root, experiment.stream, seed)
            permuted = hyper["permuted"] > 0
            return successive.live(key, experiment.world, experiment.network, own, images, permuted)

        return jax.vmap(one)(seeds)

    # Mapped, not only sharded: an event asks whether any of the seeds is due, which is to be asked
    # of those of one device alone.
    mapped = jax.shard_map(
        lives, mesh=mesh, in_specs=(population, whole, whole), out_specs=population, check_vma=False
    )
    seeds = jax.ShapeDtypeStruct((width,), jnp.uint32)
    return jax.jit(mapped).lower(seeds, _hyper(arm), images).compile()


def _output(experiment, number, start, life):
    arm, tasks = experiment.arms[number], experiment.world.tasks
    measured = {name: np.asarray(getattr(life, name), np.float64) for name in successive.MEASURES}
    # By NumPy: batched LAPACK calls of XLA's programs may wait for ever on CPUs.
    values = np.linalg.svd(np.nan_to_num(life.outputs), compute_uv=False)
    sound = np.isfinite(life.outputs).all((-2, -1))
    measured["rank"] = np.where(sound, plasticity.effective_rank(values), np.nan)
    count = len(life.loss)
    seeds = np.arange(start, start + count)
    lives = number * experiment.seeds + seeds
    last = experiment.extreme
    results = {
        "life": lives,
        "arm": np.full(count, number),
        "kind": np.array([arm.kind] * count),
        "recipe": np.array([arm.recipe] * count),
        "learning_rate": np.full(count, arm.learning_rate),
        "seed": seeds,
        **{f"{name}_early": rows[:, :last].mean(1) for name, rows in measured.items()},
        **{f"{name}_late": rows[:, -last:].mean(1) for name, rows in measured.items()},
        **{f"{name}_mean": rows.mean(1) for name, rows in measured.items()},
    }
    curves = {
        "life": np.repeat(lives, tasks),
        "task": np.tile(np.arange(1, tasks + 1), count),
        **{name: rows.ravel() for name, rows in measured.items()},
    }
    return run.Output({"results": results, "curves": curves}, life.parameters)


class Outcome:
    """A finished run: its experiment, its folder, its numbers."""

    def __init__(self, experiment: Experiment, folder: pathlib.Path):
        self.experiment, self.folder = experiment, folder

    @functools.cached_property
    def _rows(self):
        return {name: run.read(self.folder, name) for name in ("results", "curves")}

    def scores(self, column: str) -> np.ndarray:
        """`[A, N]`: a column of the results over arms and seeds."""
        axes = {"arm": range(len(self.experiment.arms)), "seed": range(self.experiment.seeds)}
        return table.cube(self._rows["results"], column, **axes)

    def curves(self, measure: str) -> np.ndarray:
        """`[A, N, T]`: a measure of every task."""
        lives = len(self.experiment.arms) * self.experiment.seeds
        tasks = 1 + np.arange(self.experiment.world.tasks)
        dense = table.cube(self._rows["curves"], measure, life=range(lives), task=tasks)
        return dense.reshape(-1, self.experiment.seeds, len(tasks))


def execute(experiment: Experiment, name: str, out: pathlib.Path) -> Outcome:
    """The finished run of an experiment, as far as it is not yet stored under `out`."""
    return Outcome(experiment, run.execute(plan(experiment, name), out))


def search(experiment: Experiment, budget: int, seeds: int) -> Experiment:
    """What is run to tune the arms of an experiment: equal budgets, on seeds of their own."""
    found = arms_of.candidates(experiment.arms, experiment.optimiser, budget)
    return dataclasses.replace(experiment, arms=found, seeds=seeds, stream="tuning")


def best(outcome: Outcome) -> tuple[Arm, ...]:
    """Of every kind × recipe the arm of the highest mean online accuracy in late tasks.

    One that is not finite is worse than any that is.
    """
    scores = np.nan_to_num(outcome.scores("accuracy_late").mean(1), nan=-np.inf)
    found: dict[tuple, Arm] = {}
    for i in np.argsort(-scores, kind="stable"):
        arm = outcome.experiment.arms[i]
        found.setdefault((arm.kind, arm.recipe), arm)
    order = dict.fromkeys((arm.kind, arm.recipe) for arm in outcome.experiment.arms)
    return tuple(found[family] for family in order)
