"""Functional preservation: exact where it can be, better than plain replacement elsewhere."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apoptosis import engine, evidence, fitness, neurons, preservation, recipes, renewal
from tests import apoptosis_case as case

GROUP = case.GROUPS[:1]
DOOMED = (2, 5)


def doomed():
    """Fitness that condemns the same two of the first layer's eight neurons."""
    flags = jnp.isin(jnp.arange(8), jnp.array(DOOMED))
    return fitness.Fitness("doomed", (), lambda *_: jnp.where(flags, 0.0, 1.0))


BIRTHS = {
    "random": renewal.random(),
    "split": renewal.split(),
    "clone": renewal.clone(),
    "mutation": renewal.mutation(0.3),
    "similar": renewal.most_similar(),
}


def event(params, born, absorb="none", steps=0, samples=case.SAMPLES):
    """Parameters after two of eight neurons of the first layer are replaced, and the report."""
    after, _, _, report = update(born, absorb, steps)(params, watched(params, samples))
    return after, report


@functools.cache
def update(born, absorb, steps):
    """The event, compiled once for each kind of it."""
    keep = engine.Preservation(absorb, steps)
    transform = engine.replace(0.25, doomed(), BIRTHS[born], groups=GROUP, keep=keep)
    return jax.jit(
        lambda params, known: transform.update(
            jax.random.key(1), params, (), transform.init(params), known
        )
    )


@functools.partial(jax.jit, static_argnums=1)
def watched(params, samples):
    x, y = case.data(samples)
    start = evidence.init(params, GROUP, record=samples, inputs=True)
    return case.watch(params, start, x, y, GROUP)[0]


def difference(before, after, samples=case.SAMPLES):
    x, _ = case.data(samples)
    return float(jnp.max(jnp.abs(case.outputs(before, x) - case.outputs(after, x))))


def changed(params, layer, **leaves):
    own = params["params"]
    return {"params": own | {layer: own[layer] | leaves}}


def with_columns(params, copies):
    """The first layer's neurons `to` made copies of `of`."""
    own = params["params"]["Dense_0"]
    kernel, bias = own["kernel"], own["bias"]
    for to, of in copies:
        kernel, bias = kernel.at[:, to].set(kernel[:, of]), bias.at[to].set(bias[of])
    return changed(params, "Dense_0", kernel=kernel, bias=bias)


def test_what_survivors_can_do_exactly_they_take_over_exactly():
    params = with_columns(case.initial(), [(2, 0), (5, 3)])
    after, report = event(params, "random", "least_squares")
    assert difference(params, after) <= 1e-5
    assert report.change["Dense_0"] <= 1e-5
    plain, _ = event(params, "random")
    assert difference(params, plain) > 0.05


def test_a_constant_output_goes_into_the_next_bias_exactly():
    params = case.initial()
    own = params["params"]["Dense_0"]
    kernel, bias = own["kernel"], own["bias"]
    for index in DOOMED:
        kernel, bias = kernel.at[:, index].set(0), bias.at[index].set(0.7)
    params = changed(params, "Dense_0", kernel=kernel, bias=bias)
    for absorb in ("mean", "least_squares"):
        after, _ = event(params, "random", absorb)
        assert difference(params, after) <= 1e-5
    assert difference(params, event(params, "random")[0]) > 0.05


def test_a_split_in_place_of_silent_neurons_preserves_the_function_exactly():
    params = case.initial()
    kernel = params["params"]["Dense_1"]["kernel"].at[jnp.array(DOOMED)].set(0)
    params = changed(params, "Dense_1", kernel=kernel)
    after, report = event(params, "split")
    assert difference(params, after) <= 1e-5
    assert report.change["Dense_0"] <= 1e-5
    born = report.born["Dense_0"]
    new = after["params"]["Dense_1"]["kernel"]
    assert (jnp.abs(new[born]).sum(1) > 0).all()
    mother = report.parents["Dense_0"][born]
    assert not born[mother].any()
    np.testing.assert_allclose(new[born], new[mother], rtol=1e-6)
    cloned, _ = event(params, "clone")
    assert difference(params, cloned) > 0.05


@pytest.mark.parametrize("seed", range(2))
def test_elsewhere_it_changes_less_than_plain_replacement(seed):
    params = jax.tree.map(
        lambda p: p + 0.2 * jax.random.normal(jax.random.key(seed), p.shape), case.initial()
    )
    born = "random"
    change = {
        kind: float(event(params, born, *kind)[1].change["Dense_0"])
        for kind in (("none", 0), ("mean", 0), ("least_squares", 0), ("least_squares", 40))
    }
    plain, mean, squares, fitted = change.values()
    assert squares <= mean <= plain
    assert squares < 0.8 * plain
    assert fitted < 0.95 * squares


def test_it_holds_on_samples_that_were_not_recorded():
    params = case.initial()
    unseen, _ = case.data(512)
    unseen = unseen[256:]
    error = lambda after: float(
        jnp.mean((case.outputs(params, unseen) - case.outputs(after, unseen)) ** 2)
    )
    found = [
        error(event(params, "random", absorb, samples=256)[0])
        for absorb in ("none", "mean", "least_squares")
    ]
    assert found[2] < found[1] < found[0]


def test_the_reported_change_is_that_of_the_next_layers_input():
    params = case.initial()
    x, _ = case.data()

    def into_next(params):
        own = params["params"]
        h = jax.nn.relu(x @ own["Dense_0"]["kernel"] + own["Dense_0"]["bias"])
        return h @ own["Dense_1"]["kernel"] + own["Dense_1"]["bias"]

    births = [
        ("random", "mean", 0),
        ("split", "least_squares", 0),
        ("mutation", "none", 0),
        ("random", "least_squares", 20),
    ]
    for born, absorb, steps in births:
        after, report = event(params, born, absorb, steps)
        old, new = into_next(params), into_next(after)
        expected = float(jnp.sqrt(jnp.mean((new - old) ** 2) / jnp.mean(old**2)))
        assert report.change["Dense_0"] == pytest.approx(expected, rel=1e-3)
        assert expected > 0.01


def test_the_most_similar_survivor_is_the_parent():
    params = with_columns(case.initial(), [(5, 3)])
    own = params["params"]["Dense_0"]
    params = changed(params, "Dense_0", kernel=own["kernel"].at[:, 2].set(own["kernel"][:, 0] * 2))
    bias = params["params"]["Dense_0"]["bias"]
    params = changed(params, "Dense_0", bias=bias.at[2].set(2 * bias[0]))
    after, report = event(params, "similar")
    assert report.parents["Dense_0"][jnp.array(DOOMED)].tolist() == [0, 3]
    kernel = after["params"]["Dense_0"]["kernel"]
    np.testing.assert_array_equal(kernel[:, 2], own["kernel"][:, 0])
    np.testing.assert_array_equal(
        after["params"]["Dense_1"]["kernel"], params["params"]["Dense_1"]["kernel"]
    )


def test_collinear_and_silent_survivors_break_nothing():
    params = with_columns(case.initial(), [(to, 0) for to in range(1, 8)])
    after, report = event(params, "random", "least_squares")
    assert difference(params, after) <= 1e-5
    dead = changed(params, "Dense_0", bias=jnp.full(8, -100.0))
    after, report = event(dead, "random", "least_squares")
    assert jnp.isfinite(report.change["Dense_0"])
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(after))


def test_what_was_not_gathered_is_asked_for():
    params = case.initial()
    known = evidence.init(params)
    for recipe, sentence in (
        (recipes.functional(interval=1, rate=0.5), "least squares needs recorded outputs"),
        (recipes.functional_similar(interval=1, rate=0.5), "most_similar needs recorded outputs"),
    ):
        with pytest.raises(ValueError, match=sentence):
            recipe.update(jax.random.key(0), params, (), recipe.init(params), known)
    blind = case.known() | {
        name: own._replace(inputs=jnp.zeros((0, 0))) for name, own in case.known().items()
    }
    fitted = recipes.functional(interval=1, rate=0.5, preservation_steps=2)
    with pytest.raises(ValueError, match="local regression needs inputs"):
        fitted.update(jax.random.key(0), params, (), fitted.init(params), blind)
    unknown = [neurons.NeuronGroup("Dense_0", "Dense_0/kernel", "Dense_1/kernel")]
    fitted = recipes.functional(interval=1, rate=0.5, preservation_steps=2, groups=unknown)
    with pytest.raises(ValueError, match="needs an activation"):
        fitted.update(jax.random.key(0), params, (), fitted.init(params), case.known())


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"absorb must be of .*, got 'all'"):
        recipes.functional(absorb="all")
    with pytest.raises(ValueError, match="steps must be at least 0, got -1"):
        recipes.functional(preservation_steps=-1)
    assert preservation.METHODS == ("none", "mean", "least_squares")


def test_no_product_of_the_least_squares_is_rounded_on_gpus():
    h, weights, dying = jnp.ones((8, 4)), jnp.ones((4, 3)), jnp.arange(4) < 1
    said = str(jax.make_jaxpr(lambda h: preservation._folded(h, weights, dying, 1e-6))(h))
    assert "Precision.HIGHEST" in said
    assert "precision=None" not in said
