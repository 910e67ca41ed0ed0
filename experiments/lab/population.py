"""Training a population: one organism's functions, thousands of networks, one compiled program.

The program loops over blocks *outside* the loop over steps, so a block's state stays in the cache
for its whole training; blocks are spread over devices with `shard_map`, without collectives.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.lab import placement


class Work(NamedTuple):
    """One chunk as arrays: `hyper` a pytree of `[K, B]` (`[K]` where a block shares the value),
    `trial` rows of the trials, `[K, B]` or a pytree of it (a learner then sees such a pytree of
    trials), `species [K]` indices of the learners, `count [D]` blocks to train per device."""

    hyper: Any
    trial: Any
    species: np.ndarray
    count: np.ndarray


class Trained(NamedTuple):
    """`records`: the measurements, a pytree of `[K, B, R, …]`; `final`: what is kept at the end, a
    pytree of `[K, B, …]`."""

    records: Any
    final: Any


def life(learner, trial, hyper, schedule: jax.Array):
    """Trains by `schedule [R]`: so many steps, then a measurement, R times over.

    Returns (records, final), the records with R as their leading axis.
    """

    def stretch(state, steps):
        state = lax.fori_loop(0, steps, lambda _, s: learner.step(trial, s, hyper), state)
        return state, learner.measure(trial, state, hyper)

    state, records = lax.scan(stretch, learner.init(trial, hyper), schedule)
    return records, learner.finish(trial, state, hyper)


def side_by_side(learner, axes):
    """The learner of a block of organisms, from that of one; `axes` as in `jax.vmap`, of hyper.

    Its functions are mapped one by one and not its whole life: tracing is several times faster.
    """
    return learner._replace(
        init=jax.vmap(learner.init, in_axes=(0, axes)),
        step=jax.vmap(learner.step, in_axes=(0, 0, axes)),
        measure=jax.vmap(learner.measure, in_axes=(0, 0, axes)),
        finish=jax.vmap(learner.finish, in_axes=(0, 0, axes)),
    )


def program(learners: Sequence, mesh: Mesh, axes) -> Callable:
    """A function `(trials, work, schedule) -> Trained` over blocks, spread over `mesh`.

    `learners` are the species; their states, records and results are of one structure. A block's
    species is chosen once, outside its training. `trials` is a pytree of `[T, …]`, replicated;
    `axes` says which fields of hyper differ within a block (0) and which are its own (None).
    """
    species = [side_by_side(learner, axes) for learner in learners]

    def device(trials, work, schedule):
        def block(k):
            gather = lambda index: jax.tree.map(lambda rows: rows[index[k]], trials)
            trial = jax.tree.map(gather, work.trial)
            hyper = jax.tree.map(lambda column: column[k], work.hyper)
            # What only fills the last chunk up is measured but not trained.
            steps = schedule * (k < work.count[0])
            branches = [partial(life, learner) for learner in species]
            records, final = lax.switch(work.species[k], branches, trial, hyper, steps)
            return jax.tree.map(lambda a: jnp.moveaxis(a, 0, 1), records), final

        return Trained(*lax.map(block, jnp.arange(work.species.shape[0])))

    split, whole = PartitionSpec(placement.AXIS), PartitionSpec()
    return jax.shard_map(
        device, mesh=mesh, in_specs=(whole, split, whole), out_specs=split, check_vma=False
    )


def compile_program(learners: Sequence, mesh: Mesh, axes, trials, work: Work, schedule) -> Callable:
    """`program` compiled ahead of time for arguments of these shapes; it moves them itself."""
    split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((placement.AXIS,), ()))
    shardings = (whole, split, whole)
    compiled = (
        jax.jit(program(learners, mesh, axes), in_shardings=shardings)
        .lower(trials, work, schedule)
        .compile()
    )
    return lambda *arguments: compiled(
        *(jax.device_put(a, s) for a, s in zip(arguments, shardings, strict=True))
    )


def schedule(steps: int, every: int) -> np.ndarray:
    """Steps before each measurement: one before the first step, then every `every`, and the end."""
    if steps < 1:
        raise ValueError(f"the number of steps must be at least 1, got {steps}")
    if every < 1:
        raise ValueError(f"the steps between records must be at least 1, got {every}")
    marks = [*range(0, steps, every), steps]
    return np.diff([0, *marks]).astype(np.int32)


def members(chunk: placement.Chunk, trained: Trained) -> tuple[np.ndarray, Trained]:
    """The trained members of a chunk in the population's order, padding taken out:
    indices `[M]` and a `Trained` of `[M, …]` NumPy arrays."""
    index = chunk.member[chunk.valid]
    order = np.argsort(index)
    host = jax.tree.map(lambda a: np.asarray(a)[chunk.valid][order], trained)
    return index[order], host
