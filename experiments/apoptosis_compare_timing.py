"""What an event costs: the updates of each family of arms, without the training.

Evidence is made up, old enough for every recipe to act on it: an update's time does not depend on
the numbers. Arms of a family share a program, and so its time. Families that act at every step are
left out: they do so inside the training program, where a step of theirs has not the price of a
program of its own.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments import apoptosis_compare_rows as rows_of
from experiments.apoptosis_compare_networks import State
from experiments.apoptosis_compare_population import Population

OLD = 100_000  # steps
REPEATS = 4  # after the first; their median counts


def measure(population: Population) -> list[dict]:
    """Rows of the table `times`: seconds that one update of so many networks takes, by arm that
    acts at intervals."""
    seeds = population.padded(np.array([population.experiment.subject.seed]))
    state, seeds = _aged(population.start(seeds)), jnp.uint32(seeds)
    population.ready(state, seeds)
    rows = []
    for i in population.calm:
        family, pace = population.families[i], population.pace(i)
        after, seconds = state, []
        for _ in range(REPEATS + 1):
            start = time.monotonic()
            after, _ = jax.block_until_ready(population.event(i, after, seeds))
            seconds.append(time.monotonic() - start)
        told, networks = np.median(seconds[1:]), len(family.arms) * len(seeds)
        rows += [
            rows_of.time(population, "updates", arm, pace or 1, told, networks, 1)
            for arm in family.arms
        ]
    return rows


def _aged(state: State) -> State:
    """The state with evidence of neurons that have lived for long."""
    every = []
    for known in state.evidence:
        aged = {}
        for number, (name, own) in enumerate(known.items()):
            noise = lambda x, number=number: jax.random.normal(jax.random.key(number), x.shape)
            aged[name] = own._replace(
                age=jnp.full_like(own.age, OLD),
                weight=jnp.ones_like(own.weight),
                sums=jax.tree.map(lambda x, noise=noise: jnp.abs(noise(x)), own.sums),
                outputs=noise(own.outputs),
                inputs=noise(own.inputs),
            )
        every.append(aged)
    return state._replace(evidence=tuple(every))
