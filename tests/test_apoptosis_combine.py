"""Combinators: when and where, on a transform that does next to nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apoptosis import combine, evidence
from apoptosis import transform as types
from tests import apoptosis_case as case


def dying(share):
    """A transform that adds to the parameters, and reports the death of this share of neurons."""

    def update(key, params, opt_state, state, known):
        died = {
            name: jnp.arange(len(own.age)) < share * len(own.age) for name, own in known.items()
        }
        params = jax.tree.map(lambda p: p + 1, params)
        return params, opt_state, state + 1, types.still(known)._replace(died=died)

    return types.ApoptosisTransform(lambda params: jnp.zeros((), jnp.int32), update)


def updates(transform, steps=6):
    params, known = jnp.zeros(()), evidence.init(case.initial(), keep=())
    step = lambda carry, key: (lambda *out: (out[:3], out[3]))(
        *transform.update(key, *carry, known)
    )
    keys = jax.random.split(jax.random.key(0), steps)
    (params, *_), report = jax.lax.scan(step, (params, (), transform.init(params)), keys)
    died = np.stack([report.died[name].sum(-1) for name in case.NAMES], 1).tolist()
    return int(params), died


def test_when_and_where_is_decided_by_combinators():
    half, quarter, still = dying(0.5), dying(0.25), [[0, 0]]
    assert updates(combine.every(3, half)) == (2, [[0, 0], [0, 0], [4, 3]] * 2)
    assert updates(combine.after(4, half)) == (2, still * 4 + [[4, 3]] * 2)
    assert updates(combine.before(2, half)) == (2, [[4, 3]] * 2 + still * 4)
    assert updates(combine.only("Dense_1", half), 2) == (2, [[0, 3]] * 2)
    layers = combine.per_layer({"Dense_0": quarter, "Dense_1": half})
    assert updates(layers, 2) == (4, [[2, 3]] * 2)
    assert updates(combine.chain(combine.every(2, half), quarter), 2) == (3, [[2, 2], [4, 3]])
    assert updates(combine.every(2, combine.after(1, half)), 4) == (1, still * 3 + [[4, 3]])
    with pytest.raises(ValueError, match="no group 'Dense_9': there is evidence of"):
        updates(combine.only("Dense_9", half), 1)
    for empty in (combine.chain, lambda: combine.only((), half)):
        with pytest.raises(ValueError, match="at least one"):
            empty()


def test_annealing_follows_its_schedule():
    schedule = lambda step: jnp.where(step <= 2, 0.5, 0.25)
    assert updates(combine.anneal(dying, schedule), 4)[1] == [[4, 3]] * 2 + [[2, 2]] * 2


def test_an_event_runs_only_when_due_also_under_vmap():
    """A host callback counts: neither `cond` nor the population's `select` may run it in vain."""
    calls = []

    def event(carry):
        x, offset = carry
        jax.debug.callback(lambda: calls.append(1))
        return x + offset * scale, offset

    scale = jnp.float32(2.0)

    def run(start, period):
        step = lambda carry, i: (types.lazily(i % period == 0, event, carry), None)
        return jax.lax.scan(step, (start, jnp.float32(1.0)), jnp.arange(1, 13))[0][0]

    program = jax.jit(jax.vmap(jax.vmap(run, (0, None)), (None, 0)))
    found = program(jnp.arange(3.0), jnp.array([4, 6]))
    jax.effects_barrier()
    expected = np.array([[6, 7, 8], [4, 5, 6]])  # 3 and 2 events, each adding 2
    np.testing.assert_array_equal(found, expected)
    per_event = len(calls) / len({4, 8, 12, 6})
    assert per_event in (1, 6)  # a callback a member, or one for all: none on the other 8 steps
