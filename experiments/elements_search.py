"""Searches in the space of elements as programs: many genomes, each trained on a few trials.

Shapes: `S` searches, `P` genomes a generation, `G` genes, `M` networks' bodies, `C` cases (a case
is a dataset in a trial) that each of them is trained on.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec

from elements import datasets, evolution, learner
from experiments.lab import keys, placement, population

METHODS = ("evolved", "random")  # the control draws every generation anew from the whole cube
WIDTHS = (32,)  # on the CPU, slots of these widths have a program of their own
ITEMS = 64  # bodies × trials that a contest trains in one call
AT_ONCE = 128  # bodies trained side by side on an accelerator: bounds memory
SPREAD = 0.15  # standard deviation of a mutation, of a cube of side 1
# Every generation is on fresh trials, so that nothing is fitted to the validation points of a few.
# The genetic strategy ranks a generation within itself and does not mind. After 20 generations of
# 32 its mean was 8.9 [6.6, 11.1] points above random genomes on the same trials (6 searches), that
# of cma 9.0 [4.6, 13.3]; differential, which keeps lucky scores of old trials, 1.9 [-0.2, 3.9].
STRATEGIES = ("genetic", "differential", "cma")


class Slots(NamedTuple):
    """A program: room for hidden layers of `width`, `depth` of them."""

    width: int
    depth: int


class Records(NamedTuple):
    """What a search tells of its genomes, `[generations, S, methods, P]` each."""

    bodies: evolution.Body
    accuracy: jax.Array
    loss: jax.Array
    fitness: jax.Array


def strategy(name: str, size: int, genes: int):
    """An evosax strategy for populations of `size`: (strategy, its parameters, start).

    `start(key)` is its state before the first generation, which is drawn from the whole cube
    whatever the strategy. Raises ValueError for an unknown name or too small a population.
    """
    # Imported here: whoever only reads results need not have it.
    import optax
    from evosax import algorithms

    if name not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {name!r}")
    example = jnp.zeros(genes)
    if name == "cma":
        made = algorithms.CMA_ES(size, example)
        params = made.default_params.replace(std_init=jnp.asarray(2 * SPREAD))
        return made, params, lambda key: made.init(key, example + 0.5, params)
    if name == "genetic":
        made = algorithms.SimpleGA(size, example, optax.constant_schedule(SPREAD))
        params = made.default_params.replace(crossover_rate=0.5)
    else:
        made = algorithms.DifferentialEvolution(size, example)
        params = made.default_params.replace(elitism=False)
    unknown = jnp.zeros((size, genes)), jnp.full(size, jnp.inf)
    return made, params, lambda key: made.init(key, *unknown, params)


class Judge:
    """Trains bodies on cases and says how they do on the held-out points of these cases.

    `study` is an `elements_evolve.Evolve`; `slots` are the programs, as few and small as will
    hold all bodies.
    """

    def __init__(self, study, slots: Sequence[Slots], devices=None):
        self.study, self.mesh = study, placement.mesh(devices)
        self.homogeneous = self.mesh.devices.flat[0].platform == "cpu"
        self.recipe = learner.protocol(study.protocol)
        self.slots = self._cut(slots)
        self.normals = max(study.budget, *(w * w * d + 3 * w for w, d in slots))

    def _cut(self, slots):
        """On the CPU also narrower programs: a block is of one body and takes the smallest."""
        narrow = [Slots(w, slots[0].depth) for w in WIDTHS if w < slots[0].width]
        return [*narrow, *slots] if self.homogeneous else list(slots)

    def draw(self, key, points: int) -> learner.Trial:
        """The trial of a key on all datasets, `[datasets, …]`, with so many held-out points."""
        study = self.study
        form = datasets.Form(jnp.float32(study.grid), jnp.float32(study.margin))
        own = [datasets.find(name).noise for name in study.datasets]
        noise = own if study.noise is None else [study.noise] * len(own)

        def one(dataset, noise):
            setting = learner.Setting(dataset, noise, form, study.samples)
            sizes = {"capacity": study.samples, "tests": points, "normals": self.normals}
            data, weights = keys.stream(key, "data", dataset), keys.stream(key, "weights")
            return learner.draw(data, weights, setting, **sizes)

        which = jnp.asarray([datasets.index(name) for name in study.datasets], jnp.int32)
        return jax.vmap(one)(which, jnp.asarray(noise, jnp.float32))

    def train(self, bodies: evolution.Body, row, epochs, cases: learner.Trial) -> dict:
        """Accuracy and loss `[M, C]` of bodies `[M]` on the cases in `row [M]` of `cases [R, C]`.

        Bodies are dealt to the devices by their cost, so that all end at about the same time.
        """
        some, devices = len(row), self.mesh.devices.size
        size = self._size(bodies)
        cost = jnp.asarray([w * w for w, _ in self.slots])[size] * bodies.depth * epochs
        order = jnp.pad(jnp.argsort(-cost), (0, -some % devices), constant_values=some)
        place = order.reshape(-1, devices).T.ravel()
        work = jax.tree.map(lambda a: a[jnp.minimum(place, some - 1)], (bodies, size, row, epochs))
        # What only fills the last round up is not trained.
        work = (*work[:3], jnp.where(place < some, work[3], 0))
        split, whole = PartitionSpec(placement.AXIS), PartitionSpec()
        found = jax.shard_map(
            self._block, mesh=self.mesh, in_specs=(split, whole), out_specs=split, check_vma=False
        )(work, cases)
        back = lambda a: jnp.zeros((some, *a.shape[1:]), a.dtype).at[place].set(a, mode="drop")
        return jax.tree.map(back, found)

    def _size(self, bodies):
        """`[M]`: the first of the slots that a body fits into."""
        width, depth = bodies.widths.max(-1), bodies.depth
        fits = [(width <= w) & (depth <= d) for w, d in self.slots]
        return jnp.argmax(jnp.stack(fits), axis=0)

    def _block(self, work, cases):
        lives = [functools.partial(self._life, slots) for slots in self.slots]

        def one(item):
            body, size, row, epochs = item
            own = jax.tree.map(lambda a: a[row], cases)
            return lax.switch(size, lives, body, epochs, own)

        return lax.map(one, work, batch_size=None if self.homogeneous else AT_ONCE)

    def _life(self, slots, body, epochs, cases):
        cut = lambda a: a[: slots.depth]
        body = body._replace(widths=cut(body.widths), activations=cut(body.activations))
        hyper = learner.Hyper(jnp.float32(self.study.rate), 1.0, False, body, None)
        own = population.side_by_side(evolution.made(slots.width, self.recipe), None)
        _, final = population.life(own, cases, hyper, jnp.atleast_1d(epochs))
        return {name: final[name] for name in ("accuracy", "loss")}


class Search:
    """All searches of a study at once, evolved and random, on the device."""

    def __init__(self, study, devices=None):
        self.study = study
        self.judge = Judge(study, [Slots(study.max_width, study.max_depth)], devices)
        parts = strategy(study.strategy, study.population, study.space.genes)
        self.strategy, self.params, self.begin = parts

    def start(self):
        """The searches' state before their first generation, `[S, …]`."""
        return jax.vmap(lambda s: self.begin(keys.stream(self._key(s), "start")))(self._numbers())

    def _numbers(self):
        return jnp.arange(self.study.searches, dtype=jnp.uint32)

    def _key(self, search):
        return keys.trial(keys.root(self.study.seed), "evolve", search)

    @functools.partial(jax.jit, static_argnums=(0, 3))
    def run(self, state, first, length: int) -> tuple:
        """So many generations from `first` on: (state, `Records`)."""
        return lax.scan(self._generation, state, first + jnp.arange(length, dtype=jnp.uint32))

    def _generation(self, state, number):
        study, judge = self.study, self.judge
        streams = jax.vmap(lambda s: keys.stream(self._key(s), "generation", number))
        own = streams(self._numbers())
        part = lambda name: jax.vmap(lambda key: keys.stream(key, name))(own)
        asked, state = jax.vmap(self.strategy.ask, (0, 0, None))(part("ask"), state, self.params)
        size = len(METHODS), study.population, study.space.genes
        fresh = jax.vmap(lambda key: jax.random.uniform(key, size))(part("fresh"))
        genomes = fresh.at[:, 0].set(jnp.where(number == 0, fresh[:, 0], asked))
        decode = functools.partial(evolution.decode, study.space)
        bodies = jax.vmap(decode)(genomes.reshape(-1, study.space.genes))
        row = jnp.repeat(jnp.arange(study.searches), len(METHODS) * study.population)
        epochs = jnp.full(len(row), study.epochs, jnp.int32)
        found = judge.train(bodies, row, epochs, jax.vmap(self._cases)(own))
        shape = study.searches, len(METHODS), study.population
        accuracy, loss = (found[n].mean(1).reshape(shape) for n in ("accuracy", "loss"))
        points = study.validations * len(study.datasets) * study.search_trials
        fitness = evolution.fitness(accuracy, loss, points)
        tell = jax.vmap(self.strategy.tell, (0, 0, 0, 0, None))
        state, _ = tell(part("tell"), genomes[:, 0], -fitness[:, 0], state, self.params)
        bodies = jax.tree.map(lambda a: a.reshape(*shape, *a.shape[1:]), bodies)
        return state, Records(bodies, accuracy, loss, fitness)

    def _cases(self, key):
        """`[C, …]`: fresh trials of a generation, whose held-out points are for validation."""
        numbers = jnp.arange(self.study.search_trials, dtype=jnp.uint32)
        draw = lambda t: self.judge.draw(keys.stream(key, "trial", t), self.study.validations)
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), jax.vmap(draw)(numbers))


class Contest:
    """Trains entrants on the same trials, all in one program, and judges them there.

    `bodies` are those that lie outside the study's space and may enter all the same.
    """

    def __init__(self, study, bodies: Sequence[evolution.Body], devices=None):
        own = Slots(study.max_width, study.max_depth)
        sizes = [Slots(int(b.widths.max()), int(b.depth)) for b in bodies]
        outside = [s for s in sizes if s.width > own.width or s.depth > own.depth]
        further = [Slots(*map(max, zip(*outside, strict=True)))] if outside else []
        self.study, self.judge = study, Judge(study, [own, *further], devices)
        self._train, self._draw = jax.jit(self.judge.train), jax.jit(self._trials)
        self.size = ITEMS if self.judge.homogeneous else 16 * ITEMS

    def _trials(self, root, numbers):
        draw = lambda t: self.judge.draw(keys.stream(root, "trial", t), self.study.tests)
        return jax.vmap(draw)(numbers)

    def run(self, bodies: evolution.Body, stage: str, trials: int) -> dict[str, np.ndarray]:
        """Accuracy and loss `[E, T, datasets]` of bodies `[E]` in the trials of a stage.

        Stages of another name share no draw, neither with each other nor with a search.
        """
        root = keys.stream(keys.root(self.study.seed), f"evolve {stage}")
        room = max(self.study.selection_trials, self.study.playoff_trials, self.study.trials)
        cases = self._draw(root, np.arange(room, dtype=np.uint32))
        entrant, row = (a.ravel() for a in np.indices((len(bodies.depth), trials)))
        parts = []
        for start in range(0, len(row), self.size):
            item = np.arange(start, start + self.size)
            inside, item = item < len(row), np.minimum(item, len(row) - 1)
            some = jax.tree.map(lambda a, at=entrant[item]: a[at], bodies)
            epochs = np.where(inside, self.study.epochs, 0).astype(np.int32)
            found = self._train(some, row[item].astype(np.int32), epochs, cases)
            parts.append(jax.tree.map(lambda a, keep=inside: np.asarray(a)[keep], found))
        whole = jax.tree.map(lambda *a: np.concatenate(a), *parts)
        return {name: a.reshape(-1, trials, a.shape[-1]) for name, a in whole.items()}
