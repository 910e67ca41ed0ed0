"""The space of elements: every genome is a network within the budget, and it learns by the book."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from elements import activations, datasets, evolution, learner, network
from elements.element import Element
from tests.test_network import ON_PAPER

SMALL = evolution.Space(depth=3, width=8, budget=70, activations=("relu", "tanh", "sine"))
X = np.random.default_rng(0).normal(size=(2, 7)).astype(np.float32)
MIXED = (("sine", "relu", "tanh", "sigmoid"), (2, 5, 5, 3), True)  # skips around layers 1 and 3
SLOTS, WIDTH = 5, 6  # a slot and a unit more than it needs


@functools.cache
def decoded(space, many=3000):
    genomes = jax.random.uniform(jax.random.key(0), (many, space.genes))
    return np.asarray(genomes), jax.tree.map(np.asarray, decode(space)(genomes))


@functools.cache
def decode(space):
    return jax.jit(jax.vmap(functools.partial(evolution.decode, space)))


def elements(bodies):
    """The widths in use, as elements, whose parameters are counted on their own."""
    for depth, widths in zip(bodies.depth, bodies.widths, strict=True):
        yield Element("relu", tuple(map(int, widths[:depth])))


def params_of(kinds, widths, skip):
    body = evolution.body(kinds, widths, skip, SLOTS)
    return body, initial(body, normals())


initial = jax.jit(functools.partial(evolution.initial, WIDTH))
logits = jax.jit(evolution.logits)


def normals():
    return jax.random.normal(jax.random.key(3), (100,))


# The space


def test_genomes_cover_the_space():
    _, bodies = decoded(SMALL)
    used = np.arange(3) < bodies.depth[:, None]
    assert set(bodies.depth) == {1, 2, 3}
    assert set(bodies.skip) == {False, True}
    assert set(bodies.widths[used]) == set(range(2, 9))
    assert set(bodies.activations[used]) == set(map(activations.index, SMALL.activations))
    assert not bodies.widths[~used].any()
    assert np.bincount(bodies.depth)[1:] == pytest.approx([1000] * 3, abs=150)


@pytest.mark.parametrize("space", [SMALL, evolution.Space()])
def test_no_network_exceeds_the_budget_and_its_parameters_are_counted_truly(space):
    _, bodies = decoded(space)
    expected = [one.parameters for one in elements(bodies)]
    count = jax.jit(jax.vmap(evolution.parameters))(bodies.depth, bodies.widths)
    np.testing.assert_array_equal(count, expected)
    assert max(expected) <= space.budget
    assert max(expected) > 0.95 * space.budget


def test_only_what_exceeds_the_budget_is_scaled_and_no_more_than_needed():
    genomes, bodies = decoded(SMALL)
    _, free = decoded(evolution.Space(3, 8, 10_000, activations=SMALL.activations))
    wanted = np.array([one.parameters for one in elements(free)])
    fits = wanted <= SMALL.budget
    assert 0.2 < fits.mean() < 0.9
    np.testing.assert_array_equal(bodies.widths[fits], free.widths[fits])
    assert (bodies.widths <= free.widths).all()
    even = genomes.copy()
    even[:, 2:5] = even[:, 2:3]  # equally wide layers: the widest that fits is plain to see
    found = decode(SMALL)(even)
    found = jax.tree.map(np.asarray, found)
    for depth, widths, wide in zip(found.depth, found.widths, genomes[:, 2], strict=True):
        most = int(min(2 * 4.5**wide, 8))
        fitting = [
            w for w in range(2, most + 1) if Element("relu", (w,) * int(depth)).parameters <= 70
        ]
        assert int(widths[0]) == max(fitting)


def test_beyond_the_cube_it_is_mirrored():
    genomes, bodies = decoded(SMALL)
    for outside in (-genomes, 2 - genomes, genomes + 2):
        found = decode(SMALL)(outside)
        np.testing.assert_array_equal(found.widths[:50], bodies.widths[:50])


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"width": 1}, "width must be at least 2, got 1"),
        ({"budget": 50}, "budget must be at least 63, the parameters of 10 layers of 2, got 50"),
        ({"activations": ()}, "no activations"),
        ({"activations": ("tahn",)}, "mean 'tanh'"),
    ],
)
def test_an_empty_space_is_refused(asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        evolution.Space(**asked)


def test_a_body_must_fit_its_slots():
    with pytest.raises(ValueError, match="1 to 1 layers, got 2 and 2"):
        evolution.body(("relu", "relu"), (2, 2), False, 1)


# The network


def test_a_mixed_network_is_that_on_paper():
    kinds, widths, skip = MIXED
    body, params = params_of(*MIXED)
    layers, h = params["params"], X.astype(np.float64)
    for k, (kind, width) in enumerate(zip(kinds, widths, strict=True)):
        own = jax.tree.map(np.asarray, layers[f"hidden_{k}"])
        z = own["kernel"][:width, : len(h)] @ h + own["bias"][:width, None]
        a = ON_PAPER[kind](z)
        h = a + h if skip and len(a) == len(h) else a
    expected = np.asarray(layers["output"]["kernel"])[:, : len(h)] @ h
    found = logits(params, X, body)
    np.testing.assert_allclose(found, expected[0], rtol=1e-5, atol=1e-5)
    assert not np.allclose(found, logits(params, X, body._replace(skip=jnp.asarray(False))))


def test_its_layers_start_by_the_rule_of_their_own_activation():
    body, params = params_of(*MIXED)
    plain = network.initial((WIDTH,) * SLOTS, "tanh", normals(), network.Used(*body[:2]))
    ratio = lambda name: float(
        params["params"][name]["kernel"][0, 0] / plain["params"][name]["kernel"][0, 0]
    )
    assert ratio("hidden_1") == pytest.approx(np.sqrt(7 / 2))  # relu, from 2 to 5 units
    for name in ("hidden_0", "hidden_2", "hidden_3", "output"):
        assert ratio(name) == pytest.approx(1)


@pytest.mark.parametrize("case", [MIXED, (("sigmoid",), (4,), False)], ids=["deep", "shallow"])
def test_its_gradient_is_that_of_automatic_differentiation(case):
    body, params = params_of(*case)
    loss = lambda params: jnp.sum(jnp.sin(evolution.logits(params, X, body)))
    found = jax.jit(lambda p: network.gradient(p, X, body.activations, True, jnp.cos, body))(params)
    expected = jax.jit(jax.grad(loss))(params)
    sizes = [body.widths[body.depth - 1], *body.fans_in()]
    for own, automatic, size in zip(
        network.in_order(found), network.in_order(expected), sizes, strict=True
    ):
        inside = np.asarray(automatic["kernel"])[:, :size]
        np.testing.assert_allclose(own["kernel"][:, :size], inside, atol=1e-5)
        np.testing.assert_allclose(own["bias"], automatic["bias"], atol=1e-5)
        assert not np.asarray(own["kernel"])[:, size:].any()


def test_of_one_activation_it_learns_as_the_element_does():
    slots, skip = 3, True
    body = evolution.body(("tanh",) * 2, (2, 4), skip, slots)
    setting = learner.Setting(datasets.index("xor"), 0.1, datasets.Form(), 20)
    keys = jax.random.key(1), jax.random.key(2)
    trial = learner.draw(*keys, setting, capacity=20, tests=50, normals=100)
    recipe = learner.protocol("gd")

    def run(made, hyper):
        start = made.init(trial, hyper)
        return jax.lax.fori_loop(0, 30, lambda _, s: made.step(trial, s, hyper), start).params

    hyper = learner.Hyper(0.1, 1.0, False, body, activations.index("tanh"))
    element = learner.learner((WIDTH,) * slots, skip, recipe)
    used = hyper._replace(used=network.Used(*body[:2]))
    found = jax.jit(functools.partial(run, evolution.made(WIDTH, recipe)))(hyper)
    expected = jax.jit(functools.partial(run, element))(used)
    for own, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-5)
    start = evolution.initial(WIDTH, body, trial.normals)
    assert not np.allclose(*(t["params"]["hidden_1"]["kernel"] for t in (start, found)))


def test_fitness_is_accuracy_and_then_the_loss():
    accuracy = np.array([0.5, 0.5, 0.51, 0.51, 0.51])
    loss = np.array([0.7, 0.6, np.nan, np.inf, 1e9], np.float32)
    worst_to_best = np.argsort(evolution.fitness(accuracy, loss, 100), kind="stable")
    assert worst_to_best.tolist()[:2] == [0, 1]
    found = evolution.fitness(accuracy, loss, 100)
    assert np.isfinite(found).all()
    assert found[2] == found[3] <= found[4]
