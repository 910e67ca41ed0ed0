"""The programs of all networks, arms × seeds, on all devices.

A program of a tick, and for the events of each family of arms one of its own: a GPU's compiler did
not get through all of them in one within nine minutes.

Shapes: `A` arms, `S` seeds of a block, `L` steps, `K` ticks, `M` arms of a family, `N` neurons of
all groups.
"""

import concurrent.futures
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from experiments.apoptosis_compare_experiment import Experiment
from experiments.apoptosis_compare_networks import Networks, State
from experiments.lab import placement

ALL = PartitionSpec()
SEEDS = PartitionSpec(placement.AXIS)
SPREAD = PartitionSpec(None, placement.AXIS)  # of [A, S, …]
LATER = PartitionSpec(None, None, placement.AXIS)  # of [L, A, S]
STATE = State(SPREAD, SPREAD, SPREAD, SPREAD, ALL)


class Population(Networks):
    """The networks of an experiment, `block` seeds at once, a multiple of the devices."""

    def __init__(self, experiment: Experiment, block: int, devices=None, attention=None):
        super().__init__(experiment, attention)
        self.mesh, self.block = placement.mesh(devices), block
        if block % self.mesh.size:
            raise ValueError(f"block must be a multiple of {self.mesh.size} devices, got {block}")
        self.kind = self.mesh.devices.flat[0].device_kind
        self._programs = {}

    def start(self, seeds: np.ndarray) -> State:
        """The state of `seeds [S]` before the first step."""
        seeds = jnp.uint32(seeds)
        return self.compiled("start", self.initial, STATE, (SEEDS,), seeds)(seeds)

    def expected(self, seeds) -> State:
        """The shapes of a state of `seeds [S]`."""
        return jax.eval_shape(self.initial, jax.ShapeDtypeStruct((len(seeds),), jnp.uint32))

    def padded(self, seeds: np.ndarray) -> np.ndarray:
        """As many seeds as a block has: the last one stands for those that lack."""
        return np.pad(seeds, (0, self.block - len(seeds)), mode="edge")

    def advance(self, state: State, seeds, steps: int):
        """`steps` on, whole ticks: the state, losses `[L, A, S]`, the changes of the networks'
        outputs `[K, A, S]`, and by family its `Events [K, M, S, …]`.

        `state` is used up.
        """
        ticks, rest = divmod(steps, self.experiment.tick)
        if rest:
            raise ValueError(f"steps must be a multiple of {self.experiment.tick}, got {steps}")
        first, seeds, found = int(state.step), jnp.uint32(seeds), []
        quiet = [self.nothing(i, len(seeds)) for i in range(len(self.families))]
        for tick in range(1, ticks + 1):
            state, (losses, changes, seen) = self._train(state, seeds)
            seen, before = dict(zip(self.restless, seen, strict=True)), state.params
            step = first + tick * self.experiment.tick
            due = [i for i in self.calm if step % self.pace(i) == 0]
            for i in due:
                state, seen[i] = self.event(i, state, seeds)
            if due:
                changes = self._compared(before, state.params, changes)
            found.append((losses, changes, [seen.get(i, none) for i, none in enumerate(quiet)]))
        losses, changes, seen = zip(*jax.device_get(found), strict=True)
        seen = [jax.tree.map(lambda *x: np.stack(x), *own) for own in zip(*seen, strict=True)]
        return state, (np.concatenate(losses), np.stack(changes), seen)

    def ready(self, state: State, seeds) -> None:
        """Compiles what `advance` needs, all at once."""
        seeds = jnp.uint32(seeds)
        quiet = jax.ShapeDtypeStruct((len(self.order), len(seeds)), jnp.float32)
        calls = [(self._train, state, seeds), *((self.event, i, state, seeds) for i in self.calm)]
        if self.calm:
            calls.append((self._compared, state.params, state.params, quiet))
        _at_once(calls)

    def _train(self, state, seeds, compile_only=False):
        """A tick: the state, and `(losses [L, A, S], changes [A, S], Events of the restless)`."""
        out, specs = (STATE, (LATER, SPREAD, SPREAD)), (STATE, SEEDS)
        program = self.compiled("train", self.tick, out, specs, state, seeds, donate=0)
        return None if compile_only else program(state, seeds)

    def event(self, i: int, state: State, seeds, compile_only=False):
        """One update of all arms of family `i`: the state, and its `Events [M, S, …]`."""
        own = self.own(i, state)
        given = (*own, state.step, seeds)
        out, specs = (SPREAD,) * 3, (SPREAD, SPREAD, ALL, SEEDS)
        event = functools.partial(self.updated, i)
        program = self.compiled(("event", i), event, out, specs, *given)
        if compile_only:
            return None
        trees, own, seen = program(*given)
        return self.placed(i, state, trees, own), seen

    def _compared(self, before, after, changes, compile_only=False):
        """The larger of the `changes [A, S]` and those from the parameters before to these."""
        given = before, after, changes
        program = self.compiled("changes", self.larger, SPREAD, (SPREAD,) * 3, *given)
        return None if compile_only else program(*given)

    def evaluate(self, params) -> np.ndarray:
        """Sums of the losses `[W, A, S]` over each window of the validation, then the test part."""
        sums = self.compiled("evaluate", self.sums, LATER, (SPREAD,), params)(params)
        return np.asarray(sums)[: sum(len(part.inputs) for part in self.windows)]

    def compiled(self, name, function, out, specs, *arguments, donate=None):
        """The program called `name`, compiled once; it moves its arguments to where they belong.

        Mapped over the devices and not only sharded: an event asks whether any seed is due, which
        is to be asked of one device's seeds.
        """
        if name not in self._programs:
            mapped = jax.shard_map(
                function, mesh=self.mesh, in_specs=specs, out_specs=out, check_vma=False
            )
            place = lambda spec: NamedSharding(self.mesh, spec)
            is_spec = lambda spec: isinstance(spec, PartitionSpec)
            places = jax.tree.map(place, specs, is_leaf=is_spec)
            jitted = jax.jit(mapped, in_shardings=places, donate_argnums=donate)
            shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arguments)
            program = jitted.lower(*shapes).compile()
            self._programs[name] = lambda *given: program(
                *(jax.device_put(*pair) for pair in zip(given, places, strict=True))
            )
        return self._programs[name]


def _at_once(calls):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda call: call[0](*call[1:], compile_only=True), calls))
