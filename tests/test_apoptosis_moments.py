"""The optimiser's memory of a newborn: the stated policy, whatever optax wraps around it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from apoptosis import moments, neurons
from tests import apoptosis_case as case

FOUND = neurons.find(case.GROUPS, case.initial())
BORN = {"Dense_0": jnp.arange(8) == 3, "Dense_1": jnp.isin(jnp.arange(6), jnp.array([0, 5]))}
PARENTS = {"Dense_0": jnp.full(8, 6), "Dense_1": jnp.full(6, 2)}
MASK = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
OPTIMISERS = {
    "momentum": optax.sgd(0.1, momentum=0.9),
    "adam": optax.adam(0.1),
    "adamw": optax.adamw(0.1),
    "per_neuron": moments.per_neuron_adam(0.1),
    "chain": optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1), optax.scale(0.5)),
    "inject": optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
    "multi_steps": optax.MultiSteps(optax.adam(0.1), 2).gradient_transformation(),
    "masked": optax.masked(optax.adam(0.1), MASK),
    "partition": optax.partition(
        {"a": optax.adam(0.1), "b": optax.sgd(0.1, momentum=0.9)},
        lambda params: jax.tree.map(lambda p: "a" if p.ndim > 1 else "b", params),
    ),
}


def renewed(policy, tx):
    params, state = case.initial(), case.moved(tx)
    return state, moments.renew(policy, params, state, FOUND, BORN, PARENTS)


def pairs(before, after):
    """(path, old, new) of the leaves that are as a parameter; all others must be as before."""
    old = jax.tree_util.tree_leaves_with_path(before)
    new = jax.tree_util.tree_leaves_with_path(after)
    for (path, a), (_, b) in zip(old, new, strict=True):
        path = jax.tree_util.keystr(path)
        if "Dense" in path:
            yield path, np.asarray(a), np.asarray(b)
        else:
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_zero_clears_the_newborns_moments_and_no_others(name):
    before, after = renewed("zero", OPTIMISERS[name])
    assert jax.tree.structure(before) == jax.tree.structure(after)
    cleared = 0
    for path, old, new in pairs(before, after):
        flags = case.belonging(BORN, old.shape, path)
        if np.issubdtype(old.dtype, np.integer):
            np.testing.assert_array_equal(old, new)
            continue
        np.testing.assert_array_equal(new, np.where(flags, 0, old))
        cleared += np.sum(old[flags] != 0)
    assert cleared > 20


@pytest.mark.parametrize("name", OPTIMISERS)
def test_inherit_takes_the_parents_moments(name):
    tx = OPTIMISERS[name]
    params, state = case.initial(), case.moved(tx)
    after = moments.renew("inherit", params, state, FOUND, BORN, PARENTS)
    for path, old, new in pairs(state, after):
        expected = old.copy()
        if "Dense_0" in path:
            expected[..., 3] = old[..., 6]
        if "Dense_1" in path:
            if "kernel" in path:
                expected[3] = old[6]
            expected[..., [0, 5]] = expected[..., [2]]
        if "Dense_2" in path and "kernel" in path:
            expected[[0, 5]] = old[2]
        np.testing.assert_array_equal(new, expected)


def test_an_orphan_inherits_nothing():
    nobody = {name: jnp.full_like(own, -1) for name, own in PARENTS.items()}
    params, state = case.initial(), case.moved(optax.adam(0.1))
    after = moments.renew("inherit", params, state, FOUND, BORN, nobody)
    _, zeroed = renewed("zero", optax.adam(0.1))
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(zeroed), strict=True):
        np.testing.assert_array_equal(a, b)


def test_plain_sgd_has_nothing_to_renew():
    before, after = renewed("zero", optax.sgd(0.1))
    assert before == after
    before, after = renewed("zero", optax.sgd(optax.linear_schedule(1.0, 0.0, 10)))
    assert jax.tree.leaves(before) == jax.tree.leaves(after)


def test_a_state_of_other_parameters_is_refused():
    state = optax.adam(0.1).init({"other": jnp.ones((4, 8))})
    with pytest.raises(ValueError, match="nothing of the optimiser's state belongs"):
        moments.renew("zero", case.initial(), state, FOUND, BORN, PARENTS)
    flat = optax.flatten(optax.adam(0.1)).init(case.initial())
    with pytest.raises(ValueError, match="nothing of the optimiser's state belongs"):
        moments.renew("zero", case.initial(), flat, FOUND, BORN, PARENTS)


def test_factored_moments_are_refused():
    state = optax.adafactor(0.1).init(case.initial())
    with pytest.raises(ValueError, match="factored moments have no rows"):
        moments.renew("zero", case.initial(), state, FOUND, BORN, PARENTS)


def test_restart_needs_counts():
    with pytest.raises(ValueError, match="needs an optimiser that counts by weight"):
        renewed("restart", optax.adam(0.1))
    before, after = renewed("restart", moments.per_neuron_adam(0.1))
    for path, old, new in pairs(before, after):
        np.testing.assert_array_equal(new, np.where(case.belonging(BORN, old.shape, path), 0, old))


def test_counting_by_weight_equals_adam_until_a_neuron_is_born():
    params = case.initial()
    ours = moments.per_neuron_adam(0.1, weight_decay=0.01)
    theirs = optax.adamw(0.1, weight_decay=0.01)
    a, b, p = ours.init(params), theirs.init(params), params
    for i in range(4):
        slopes = jax.tree.map(lambda p, i=i: jnp.sin(7 * p + i), params)
        ups, a = ours.update(slopes, a, p)
        other, b = theirs.update(slopes, b, p)
        for x, y in zip(jax.tree.leaves(ups), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-7)
        p = optax.apply_updates(p, ups)


def test_a_newborn_does_not_jump_where_steps_are_counted_by_weight():
    """Under a constant gradient, ten thousand steps in: a global count makes the newborn's update
    6.6 × the learning rate, a count of its own 1 ×, as at the start of training."""
    params = case.initial()
    slopes = jax.tree.map(jnp.ones_like, params)

    def largest(tx, policy):
        state = tx.init(params)
        old = lambda leaf: 10_000 if jnp.issubdtype(leaf.dtype, jnp.integer) else 1.0
        state = jax.tree.map(lambda leaf: jnp.full_like(leaf, old(leaf)), state)
        state = moments.renew(policy, params, state, FOUND, BORN, PARENTS)
        step = lambda state, _: tx.update(slopes, state, params)[::-1]
        _, updates = jax.lax.scan(step, state, length=30)
        return float(jnp.max(jnp.abs(updates["params"]["Dense_0"]["kernel"][:, :, 3])))

    assert largest(optax.adam(1.0), "zero") == pytest.approx(6.6, abs=0.1)
    assert largest(moments.per_neuron_adam(1.0), "restart") == pytest.approx(1.0, abs=1e-3)


def test_nested_names_go_to_the_longest_path():
    layer = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    params = {"kernel": jnp.ones((3, 4)), "inner": layer}
    group = neurons.NeuronGroup("g", "inner/kernel", "kernel", bias="inner/bias")
    found = neurons.find([group], params)
    state = case.moved(optax.adam(0.1), params)
    after = moments.renew(
        "zero", params, state, found, {"g": jnp.array([True, False, False])}, {"g": jnp.zeros(3)}
    )
    assert (after[0].mu["inner"]["kernel"][:, 0] == 0).all()
    assert (after[0].mu["inner"]["kernel"][:, 1:] != 0).all()
    assert (after[0].mu["kernel"][0] == 0).all()
    assert (after[0].mu["kernel"][1:] != 0).all()
