"""The protocol `tuned`: optimiser, learning rate and initial gain chosen per element.

One vmapped search over all elements × candidates on trials of their own (random streams of another
name, so that nothing chosen on them has seen a trial of the study), by held-out accuracy.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Mapping

import numpy as np

from elements import learner
from experiments import elements_training
from experiments.elements_population import Arm, Population, Recipe
from experiments.lab import table
from experiments.shell import run

RATES = {"gd": (0.03, 0.1, 0.3, 1.0), "adam": (0.001, 0.003, 0.01, 0.03, 0.1)}
GAINS = (0.5, 1.0, 2.0)
CANDIDATES = tuple(
    Recipe(optimiser, rate, gain)
    for optimiser, rates in RATES.items()
    for rate, gain in itertools.product(rates, GAINS)
)
TRIALS = 3


def needed(population: Population) -> bool:
    """Whether some arm of a tuned population has not been told how to train."""
    return population.protocol == learner.TUNED and any(a.recipe is None for a in population.arms)


def search(population: Population) -> Population:
    """What is trained to find the recipes of a population: every element × candidate."""
    elements = dict.fromkeys(population.elements)
    arms = [Arm(e, recipe=recipe) for e in elements for recipe in CANDIDATES]
    return Population(
        tuple(arms),
        population.datasets,
        trials=TRIALS,
        epochs=population.epochs,
        record_every=population.epochs,
        protocol=learner.TUNED,
        samples=population.samples,
        tests=population.tests,
        noise=population.noise,
        grid=population.grid,
        margin=population.margin,
        seed=population.seed,
        stream="tuning",
    )


def tuned(population: Population, out: pathlib.Path) -> Population:
    """`population` with every arm's recipe, searched for (or resumed, or read) under `out`."""
    if population.learning_rate is not None:
        raise ValueError(
            f"--protocol=tuned chooses the learning rate itself, got {population.learning_rate:g}"
        )
    space = search(population)
    folder = run.execute(elements_training.plan(space, "elements_tuning"), out)
    recipes = best(space, run.read(folder, "results"))
    arms = [dataclasses.replace(a, recipe=recipes[a.element.symbol]) for a in population.arms]
    return dataclasses.replace(population, arms=tuple(arms))


def best(space: Population, rows: Mapping[str, np.ndarray]) -> dict[str, Recipe]:
    """By symbol, the recipe of highest mean accuracy over datasets and trials; of equals, that of
    the lower mean loss. What diverged is never chosen unless all did."""
    labels = {"arm": range(len(space.arms)), "dataset": space.datasets}
    mean = lambda name: table.cube(rows, name, **labels, trial=range(space.trials)).mean((1, 2))
    accuracy, loss = mean("test_accuracy"), mean("test_loss")
    order = np.lexsort((np.nan_to_num(loss, nan=np.inf), -accuracy, mean("diverged") > 0))
    found: dict[str, Recipe] = {}
    for i in order:
        found.setdefault(space.arms[i].element.symbol, space.arms[i].recipe)
    return found
