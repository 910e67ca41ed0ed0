"""Fitness: what each measure says in a case on paper, and how it compares with the truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apoptosis import evidence, fitness, neurons
from tests import apoptosis_case as case

(FIRST, SECOND) = neurons.find(case.GROUPS, case.initial())
LEAVES = jax.tree.leaves(case.initial())


def score(measure, group=FIRST, **watched):
    known = case.known()[group.name]._replace(**watched)
    return np.asarray(measure.score(jax.random.key(0), group, LEAVES, known))


def test_measures_on_paper():
    params, (x, y) = case.initial(), case.data()
    _, (hidden, _) = case.loss(params, x, y)
    h = np.asarray(hidden["Dense_0"])
    into = np.asarray(params["params"]["Dense_0"]["kernel"])
    out = np.asarray(params["params"]["Dense_1"]["kernel"])
    size = np.abs(h).mean(0)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)
    close(score(fitness.activation()), size)
    close(score(fitness.redo()), size / size.mean())
    close(score(fitness.contribution()), size * np.abs(out).sum(1))
    close(score(fitness.weight()), np.linalg.norm(into, axis=0) * np.linalg.norm(out, axis=1))
    bound = score(fitness.grad_activation()) * np.sqrt(len(x))  # Cauchy and Schwarz
    assert (bound >= score(fitness.taylor()) - 1e-6).all()


def test_firing_is_the_chance_of_such_a_gap():
    ages, idle, fired = jnp.array([100, 100, 100]), jnp.array([0, 10, 50]), jnp.array([50, 45, 5])
    known = case.known()["Dense_0"]._replace(age=ages, idle=idle, fired=fired)
    found = fitness.firing().score(None, None, None, known)
    np.testing.assert_allclose(found, [1.0, 0.5**10, 0.9**50], rtol=1e-3)


def test_objectives_are_weighted_and_their_weights_traced():
    one_hot = [fitness.Objectives(*row) for row in np.eye(4)]
    alone = [score(fitness.multi_objective(weights)) for weights in one_hot]
    whole = score(fitness.multi_objective())
    np.testing.assert_allclose(whole, np.array([0.4, 0.3, 0.2, 0.1]) @ np.array(alone), rtol=1e-5)
    order = lambda s: np.argsort(s, kind="stable").tolist()
    assert order(alone[0]) == order(score(fitness.taylor()))
    assert order(alone[3]) == order(-case.known()["Dense_0"].average("square"))
    weigh = lambda *w: fitness.multi_objective(fitness.Objectives(*w)).score(
        None, FIRST, LEAVES, case.known()["Dense_0"]
    )
    np.testing.assert_allclose(jax.jit(weigh)(0.4, 0.3, 0.2, 0.1), whole, rtol=1e-5)


def test_diversity_sees_twins():
    kernel = np.asarray(case.initial()["params"]["Dense_0"]["kernel"]).copy()
    kernel[:, 5] = -2 * kernel[:, 1]
    twins = fitness.diversity(
        FIRST, [jnp.asarray(kernel) if i == 1 else leaf for i, leaf in enumerate(LEAVES)]
    )
    np.testing.assert_allclose(twins[jnp.array([1, 5])], 0, atol=1e-6)
    assert (twins > -1e-6).all()
    assert (np.delete(twins, [1, 5]) > 1e-4).all()


def test_the_oracle_silences_one_neuron_at_a_time():
    x, y = case.data()
    loss = lambda params: case.loss(params, x, y)[0]
    found = jax.jit(lambda p: fitness.ablated(loss, p, case.GROUPS))(case.initial())
    own = case.initial()["params"]
    for neuron in (0, 4):
        kernel = own["Dense_2"]["kernel"].at[neuron].set(0)
        without = {"params": own | {"Dense_2": own["Dense_2"] | {"kernel": kernel}}}
        expected = loss(without) - loss(case.initial())
        assert found["Dense_1"][neuron] == pytest.approx(float(expected), abs=1e-6)


def test_where_neurons_do_little_taylor_is_the_truth_and_chance_tells_nothing():
    (x, y), params = case.data(), case.initial()
    own = params["params"]
    faint = own["Dense_1"] | {"kernel": 0.01 * own["Dense_1"]["kernel"]}
    params = {"params": own | {"Dense_1": faint}}
    loss = lambda params: case.loss(params, x, y)[0]
    measures = [make() for make in fitness.MEASURES.values()]

    def compared(keys):
        known, _ = case.watch(params, evidence.init(params, case.GROUPS), x, y, case.GROUPS)
        found = lambda key: fitness.against_ablation(
            key, loss, params, known, measures, case.GROUPS
        )
        return jax.vmap(found)(keys)

    found = jax.jit(compared)(jax.random.split(jax.random.key(0), 100))
    assert set(found) == set(fitness.MEASURES)
    assert all((jnp.abs(r) <= 1.001).all() for own in found.values() for r in own.values())
    assert found["taylor"]["Dense_0"][0] > 0.95
    by_chance = found["random"]["Dense_0"]
    assert abs(by_chance.mean()) < 5 * by_chance.std() / np.sqrt(100)


def test_rank_correlation_is_scipys():
    from scipy import stats

    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, 20), rng.integers(0, 4, 20)
    assert fitness.spearman(jnp.asarray(a), jnp.asarray(b)) == pytest.approx(
        stats.spearmanr(a, b).statistic, abs=1e-6
    )
    assert jnp.isnan(fitness.spearman(jnp.ones(5), jnp.arange(5.0)))


def test_every_measure_says_what_it_needs():
    for make in fitness.MEASURES.values():
        measure = make()
        known = evidence.init(case.initial(), case.GROUPS, keep=measure.needs)
        found = measure.score(jax.random.key(0), FIRST, LEAVES, known["Dense_0"])
        assert found.shape == (8,)
