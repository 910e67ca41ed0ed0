"""One element learns by the book: its measures, and its steps against NumPy in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from elements import datasets, learner, network

SAMPLES = 40
SETTING = learner.Setting(datasets.index("xor"), 0.1, datasets.Form())


@functools.cache
def trial():
    draw = jax.jit(functools.partial(learner.draw, samples=SAMPLES, tests=200, normals=40))
    return draw(*jax.random.split(jax.random.key(0)), SETTING)


@functools.cache
def trained(protocol, steps, widths=(8, 8), activation="tanh", rate=None):
    """`(initial state, state, measure)` after so many steps."""
    recipe = learner.protocol(protocol)
    one = learner.learner(widths, False, recipe, activation)
    rate = recipe.learning_rate if rate is None else rate

    @jax.jit
    def run(trial, hyper):
        start = one.init(trial, hyper)
        end = jax.lax.fori_loop(0, steps, lambda _, state: one.step(trial, state, hyper), start)
        return start, end, one.measure(trial, end, hyper)

    return run(trial(), learner.Hyper(jnp.float32(rate), len(widths), 0))
