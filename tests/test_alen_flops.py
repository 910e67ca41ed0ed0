"""The formula against the products that are really in the programs (traced, never run)."""

import dataclasses
import math

import jax
import jax.extend
import jax.numpy as jnp
import pytest

from alen import flops, learner, losses, presets
from alen import model as organism

# More symbols and places than are looked up by products with one-hot rows.
SHAPE = presets.Architecture(16, 3, 24, 5, 2, 12, 40, 1500, 7, 4, slots=2, steps=3)


def products(jaxpr) -> int:
    """Operations of all products in a program; nothing here loops."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            sizes = equation.invars[0].aval.shape
            depth = math.prod(sizes[axis] for axis in contracted)
            total += 2 * depth * math.prod(equation.outvars[0].aval.shape)
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            total += products(inner)
    return total


def traced(function, *arguments):
    return products(jax.make_jaxpr(function)(*arguments).jaxpr)


def batch(shape, count):
    token = lambda length: jax.ShapeDtypeStruct((count, length), jnp.int32)
    return token(shape.question), token(shape.answer)


@pytest.mark.parametrize("memory", [False, True])
def test_forward_counts_every_product(memory):
    shape = dataclasses.replace(SHAPE, memory=memory, rounds=2 + memory)
    model = organism.Alen(shape)
    params = jax.eval_shape(lambda key: organism.initial(key, model), jax.random.key(0))
    apply = lambda params, *tokens: model.apply({"params": params}, *tokens)
    assert traced(apply, params, *batch(shape, 5)) == 5 * flops.forward(shape).total


def test_training_counts_the_products_of_a_step():
    model, count = organism.Alen(SHAPE), 12
    ours = learner.learner(model, 0.5)
    state = jax.eval_shape(ours.init, jax.random.key(0))
    step = lambda state, data: ours.step(
        jax.random.key(1), state, losses.Batch(*data), losses.Hyper(1e-3)
    )
    found = traced(step, state, batch(SHAPE, count))
    # No gradient is taken with respect to what nothing learns from: a few per cent.
    assert found == pytest.approx(count * flops.training(SHAPE, 0.5), rel=0.03)


def test_more_of_anything_costs_more():
    base = flops.training(SHAPE)
    for name in ("operators", "hidden", "steps", "vocabulary", "ffn", "answer", "layers", "rounds"):
        more = dataclasses.replace(SHAPE, **{name: getattr(SHAPE, name) + 1})
        assert flops.forward(more).total > flops.forward(SHAPE).total, name
    assert flops.training(SHAPE, 1.0) > base
