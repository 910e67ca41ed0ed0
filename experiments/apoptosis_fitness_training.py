"""Training transformers, and judging each fitness of their neurons by silencing them one by one.

Shapes: `M` moments, `F` measures of fitness, `N` neurons of a group, `W` windows of held-out text.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec

from apoptosis import evidence, fitness, neurons, presets, selection, text, transformer
from experiments.apoptosis_training import Subject
from experiments.lab import keys, placement
from experiments.shell import run

TABLES = ("results", "neurons")
STREAM = "fitness"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Seeds of a subject, judged after `moments` steps by `windows` windows of validation text.

    `share` of the neurons of a group are the lowest, by a fitness or in truth. Raises run.Refused
    where the validation text has fewer windows.
    """

    subject: Subject
    seeds: int
    moments: tuple[int, ...]
    windows: int
    share: float
    measures: tuple[str, ...]

    def __post_init__(self):
        whole = text.windows(self.subject.parts.validation, self._context)
        if self.windows > len(whole.inputs):
            raise run.Refused(
                f"windows must be at most the {len(whole.inputs)} of the validation part, got "
                f"{self.windows}"
            )

    @property
    def _context(self) -> int:
        return self.subject.preset.architecture.context

    @property
    def held_out(self) -> text.Windows:
        """`W` windows spread evenly over the validation part."""
        whole = text.windows(self.subject.parts.validation, self._context)
        chosen = np.linspace(0, len(whole.inputs) - 1, self.windows).round().astype(int)
        return text.Windows(*(part[chosen] for part in whole))

    @property
    def groups(self) -> tuple[neurons.NeuronGroup, ...]:
        return neurons.transformer(self.subject.preset.architecture.layers)

    def settings(self) -> dict:
        """All that the numbers depend on, as JSON values."""
        own = ("seeds", "moments", "windows", "share", "measures")
        asked = {name: getattr(self, name) for name in own}
        subject = self.subject.settings()
        del subject["evaluate_every"]
        return {**subject, **asked}


class Judged(NamedTuple):
    """What is found of a group at each moment.

    `change [M, N]`: the loss on held-out text without the neuron, minus that with it; `scores
    [M, F, N]`; the rank correlations `[M, F]` of scores with |change| (`correlation`) and with the
    change (`signed`); `overlap [M, F]`: the share of the lowest by score that are the lowest by
    |change| as well.
    """

    change: jax.Array
    scores: jax.Array
    correlation: jax.Array
    signed: jax.Array
    overlap: jax.Array


def lowest(size: int, share: float) -> int:
    """How many of `size` neurons the lowest `share` are, at least 1."""
    return max(1, int(size * share + 1e-9))


def judge(key, experiment: Experiment, params, known, loss) -> dict[str, Judged]:
    """Every group's fitness at one moment, against the change of `loss(params)` by ablation.

    The correlations are those of `fitness.against_ablation`, which does not give the scores.
    """
    truth, leaves = fitness.ablated(loss, params, experiment.groups), jax.tree.leaves(params)
    measures = [fitness.MEASURES[name]() for name in experiment.measures]
    found = {}
    for place, group in enumerate(neurons.find(experiment.groups, params)):
        change, own = truth[group.name], known[group.name]
        draw = lambda i, place=place: jax.random.fold_in(jax.random.fold_in(key, i), place)
        scores = jnp.stack(
            [one.score(draw(i), group, leaves, own) for i, one in enumerate(measures)]
        )
        found[group.name] = _compared(change, scores, lowest(group.size, experiment.share))
    return found


def _compared(change, scores, count) -> Judged:
    """What is found of one group of `change [N]` by `scores [F, N]`, `count` of them lowest."""
    size, everyone = jnp.abs(change), jnp.ones(len(change), bool)
    rank = lambda truth: jax.vmap(lambda score: fitness.spearman(score, truth))(scores)
    picked = jax.vmap(lambda score: selection.lowest(score, count, everyone))(scores)
    right = picked & selection.lowest(size, count, everyone)
    return Judged(change, scores, rank(size), rank(change), jnp.sum(right, 1) / count)


def live(key, experiment: Experiment, part, held_out: text.Windows):
    """One network's training, judged at all moments: `{group: Judged}` and its last parameters."""
    subject, model = experiment.subject, experiment.subject.model
    training = subject.preset.training
    optimiser = presets.optimiser(training)
    params = transformer.initial(keys.stream(key, "initial"), model)

    def loss(params):
        losses = transformer.losses(
            model.apply({"params": params}, held_out.inputs), held_out.targets
        )
        return jnp.sum(jnp.where(held_out.valid, losses, 0)) / jnp.sum(held_out.valid)

    def step(number, state):
        params, memory, known = state
        own = keys.stream(key, "step", number)
        tokens, targets = text.batch(
            keys.stream(own, "batch"), part, training.batch, model.architecture.context
        )
        _, gradient, seen = transformer.observed(
            model, keys.stream(own, "dropout"), params, tokens, targets
        )
        known = evidence.gather(known, params, seen.activations, gradient, groups=experiment.groups)
        updates, memory = optimiser.update(gradient, memory, params)
        return optax.apply_updates(params, updates), memory, known

    def stretch(state, marks):
        begin, end = marks
        state = jax.lax.fori_loop(begin, end, step, state)
        own = keys.stream(key, "judge", end)
        return state, judge(own, experiment, state[0], state[2], loss)

    ends = np.array(experiment.moments, np.int32)
    marks = np.concatenate([[0], ends[:-1]]).astype(np.int32), ends
    state = params, optimiser.init(params), evidence.init(params, experiment.groups)
    state, judged = jax.lax.scan(stretch, state, marks)
    return judged, state[0]


def plan(experiment: Experiment, name: str) -> run.Plan:
    """One task per block of seeds; tables `results` (per measure) and `neurons`."""
    devices = jax.devices()
    at_once = len(devices) if devices[0].platform == "cpu" else experiment.seeds
    return run.Plan(
        name,
        experiment.settings(),
        [min(at_once, experiment.seeds)],
        functools.partial(_tasks, experiment),
        functools.partial(_train, experiment),
        "network",
        TABLES,
    )


def _tasks(experiment, layout):
    return [
        run.Task(f"{start:05d}", min(layout[0], experiment.seeds - start))
        for start in range(0, experiment.seeds, layout[0])
    ]


def _train(experiment, layout, pending) -> Iterator[tuple[run.Task, run.Output]]:
    mesh = placement.mesh()
    width = -(-layout[0] // mesh.devices.size) * mesh.devices.size
    part, held_out = experiment.subject.parts.train, experiment.held_out
    population, whole = PartitionSpec(placement.AXIS), PartitionSpec()

    def lives(seeds, part, held_out):
        root = keys.root(experiment.subject.seed)
        one = lambda seed: live(keys.trial(root, STREAM, seed), experiment, part, held_out)
        return jax.vmap(one)(seeds)

    mapped = jax.shard_map(
        lives, mesh=mesh, in_specs=(population, whole, whole), out_specs=population, check_vma=False
    )
    program = jax.jit(mapped)
    for task in pending:
        start = int(task.name)
        seeds = np.minimum(start + np.arange(width), start + task.size - 1).astype(np.uint32)
        judged, params = jax.device_get(program(seeds, part, held_out))
        judged, params = jax.tree.map(lambda a, n=task.size: a[:n], (judged, params))
        yield task, _output(experiment, start, judged, params)


def kind(group: str) -> str:
    """`mlp` or `attention`."""
    return group.rpartition("/")[2]


def _output(experiment, start, judged, params):
    """Rows in the order seed, group, moment, then measure or neuron."""
    rows, single = [], []
    for name, found in judged.items():
        seeds, moments, measures, size = found.scores.shape
        for i in range(seeds):
            for j in range(moments):
                about = {"seed": start + i, "step": experiment.moments[j], "group": name}
                rows.append(
                    {
                        **_repeated(about | {"kind": kind(name)}, measures),
                        "measure": np.array(experiment.measures),
                        "correlation": found.correlation[i, j].astype(np.float64),
                        "signed": found.signed[i, j].astype(np.float64),
                        "overlap": found.overlap[i, j].astype(np.float64),
                        "chance": np.full(measures, lowest(size, experiment.share) / size),
                    }
                )
                scores = dict(zip(experiment.measures, found.scores[i, j], strict=True))
                neuron = {"neuron": np.arange(size), "change": found.change[i, j]}
                single.append(_repeated(about, size) | neuron | scores)
    join = lambda parts: {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}
    return run.Output({"results": join(rows), "neurons": join(single)}, params)


def _repeated(about, count):
    return {name: np.array([value] * count) for name, value in about.items()}


def execute(experiment: Experiment, name: str, out: pathlib.Path) -> pathlib.Path:
    """The folder of the finished run, as far as it is not yet stored under `out`."""
    return run.execute(plan(experiment, name), out)
