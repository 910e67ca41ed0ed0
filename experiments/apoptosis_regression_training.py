"""Running arms × seeds of the regression benchmark: what the shell must know, and tuning."""

import concurrent.futures
import dataclasses
import functools
import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from apoptosis import regression
from experiments import apoptosis_regression_arms as arms_of
from experiments.apoptosis_regression_arms import Arm
from experiments.lab import keys, placement, table
from experiments.shell import run

LAST = 10  # bins whose mean is an arm's score
# On CPUs: the unit of progress and of loss. In blocks of at most so many a seed's descent is the
# same to the last bit: 40 seeds × 20 inputs × 5 units are below 4,096, see `regression._dense`.
SEEDS_AT_ONCE = 40


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Arms × seeds in a world. `bin` is the number of steps of a recorded mean, whole periods.

    Seeds of another `stream` share nothing with those of this one. Raises ValueError for numbers
    outside the stated range, and for an arm whose interval does not divide the period.
    """

    arms: tuple[Arm, ...]
    world: regression.World
    seeds: int
    steps: int
    bin: int
    seed: int = 0
    stream: str = "regression"

    def __post_init__(self):
        keys.check(self.seed)
        for name in ("seeds", "steps", "bin"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.arms:
            raise ValueError("there must be at least one recipe, activation and learning rate")
        if self.bin % self.world.period:
            raise ValueError(
                f"bin must be a multiple of the period, {self.world.period}, got {self.bin}"
            )
        for arm in self.arms:
            if self.world.period % arm.interval:
                raise ValueError(
                    f"{arm.recipe}.interval must divide the period, {self.world.period}, "
                    f"got {arm.interval}"
                )

    @property
    def bins(self) -> int:
        return -(-self.steps // self.bin)

    @property
    def ends(self) -> np.ndarray:
        """The step at which each bin ends `[bins]`; the last may be shorter than the others."""
        return np.minimum(np.arange(1, self.bins + 1) * self.bin, self.steps)

    def settings(self) -> dict:
        """All that the numbers depend on, as JSON values."""
        return dataclasses.asdict(self)


def binned(experiment: Experiment, losses: np.ndarray) -> np.ndarray:
    """Means `[..., bins]` of the bins, of the tasks' `[..., T]`; a short task counts less."""
    period, steps = experiment.world.period, experiment.steps
    length = np.minimum(steps - np.arange(losses.shape[-1]) * period, period)
    starts = np.arange(0, losses.shape[-1], experiment.bin // period)
    total = np.add.reduceat(losses.astype(np.float64) * length, starts, axis=-1)
    return total / np.add.reduceat(length, starts)


def plan(experiment: Experiment, name: str) -> run.Plan:
    """One task per arm × block of seeds; tables `results` (arm × seed) and `curves` (× bin)."""
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
    places = [tuple(map(int, task.name.split("-"))) for task in pending]
    with concurrent.futures.ThreadPoolExecutor(devices) as pool:
        programs = {}
        for arm, _ in places:
            species = experiment.arms[arm].species
            if species not in programs:
                programs[species] = pool.submit(
                    _compile, experiment, experiment.arms[arm], width, mesh
                )
        for task, (number, start) in zip(pending, places, strict=True):
            arm = experiment.arms[number]
            program = programs[arm.species].result()
            seeds = np.minimum(start + np.arange(width), start + task.size - 1).astype(np.uint32)
            life = jax.device_get(program(seeds, _hyper(arm)))
            life = jax.tree.map(lambda a, n=task.size: a[:n], life)
            yield task, _output(experiment, number, start, life.losses, life.parameters)


def _hyper(arm: Arm):
    return {name: np.float32(value) for name, value in arm.hyper.items()}


def _compile(experiment: Experiment, arm: Arm, width: int, mesh):
    """The program of an arm's species: seeds `[width]`, hyper -> `regression.Life` of each."""
    population, whole = PartitionSpec(placement.AXIS), PartitionSpec()

    def lives(seeds, hyper):
        root = keys.root(experiment.seed)
        learner = arms_of.learner(*arm.species, hyper)
        one = lambda seed: regression.live(
            keys.trial(root, experiment.stream, seed), experiment.world, learner, experiment.steps
        )
        return jax.vmap(one)(seeds)

    # Mapped, not only sharded: an event asks whether any of the seeds is due, which is to be asked
    # of those of one device alone.
    mapped = jax.shard_map(
        lives, mesh=mesh, in_specs=(population, whole), out_specs=population, check_vma=False
    )
    return jax.jit(mapped).lower(jax.ShapeDtypeStruct((width,), jnp.uint32), _hyper(arm)).compile()


def _output(experiment, number, start, losses, parameters):
    losses = binned(experiment, losses)  # [seeds, bins]
    seeds = np.arange(start, start + len(losses))
    length = np.diff(experiment.ends, prepend=0)
    last = slice(-LAST, None)
    life = number * experiment.seeds + seeds
    arm = experiment.arms[number]
    results = {
        "life": life,
        "arm": np.full(len(seeds), number),
        "recipe": np.array([arm.recipe] * len(seeds)),
        "activation": np.array([arm.activation] * len(seeds)),
        "learning_rate": np.full(len(seeds), arm.learning_rate),
        "seed": seeds,
        "loss_last10": np.average(losses[:, last], axis=1, weights=length[last]),
        "loss_mean": np.average(losses, axis=1, weights=length),
    }
    curves = {
        "life": np.repeat(life, experiment.bins),
        "step": np.tile(experiment.ends, len(seeds)),
        "loss": losses.ravel(),
    }
    return run.Output({"results": results, "curves": curves}, parameters)


class Outcome:
    """A finished run: its experiment, its folder, its numbers."""

    def __init__(self, experiment: Experiment, folder: pathlib.Path):
        self.experiment, self.folder = experiment, folder

    def scores(self, column: str) -> np.ndarray:
        """`[A, N]`: a column of the results over arms and seeds."""
        rows = run.read(self.folder, "results")
        axes = {"arm": range(len(self.experiment.arms)), "seed": range(self.experiment.seeds)}
        return table.cube(rows, column, **axes)

    def curves(self) -> np.ndarray:
        """`[A, N, bins]`: the loss of every bin."""
        lives = len(self.experiment.arms) * self.experiment.seeds
        rows = run.read(self.folder, "curves")
        dense = table.cube(rows, "loss", life=range(lives), step=self.experiment.ends)
        return dense.reshape(-1, self.experiment.seeds, self.experiment.bins)


def execute(experiment: Experiment, name: str, out: pathlib.Path) -> Outcome:
    """The finished run of an experiment, as far as it is not yet stored under `out`."""
    return Outcome(experiment, run.execute(plan(experiment, name), out))


def search(experiment: Experiment, budget: int, seeds: int, steps: int) -> Experiment:
    """What is run to tune the arms of an experiment: equal budgets, on seeds of their own."""
    return dataclasses.replace(
        experiment,
        arms=arms_of.candidates(experiment.arms, budget),
        seeds=seeds,
        steps=steps,
        stream="tuning",
    )


def best(outcome: Outcome) -> tuple[Arm, ...]:
    """Of every recipe × activation the arm of the lowest mean loss over its last bins.

    A loss that is not finite is worse than any that is.
    """
    scores = np.nan_to_num(outcome.scores("loss_last10").mean(1), nan=np.inf)
    found: dict[tuple, Arm] = {}
    for i in np.argsort(scores, kind="stable"):
        arm = outcome.experiment.arms[i]
        found.setdefault((arm.recipe, arm.activation), arm)
    order = dict.fromkeys((arm.recipe, arm.activation) for arm in outcome.experiment.arms)
    return tuple(found[family] for family in order)
