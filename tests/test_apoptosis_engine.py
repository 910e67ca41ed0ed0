"""Evidence, selection and births of the engine, one mechanism at a time."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apoptosis import combine, engine, evidence, fitness, neurons, recipes, renewal, selection
from apoptosis import transform as types
from tests import apoptosis_case as case

# Evidence


def test_evidence_is_what_it_says():
    params, (x, y) = case.initial(), case.data()
    known = case.known(steps=3)
    _, (hidden, inputs) = case.loss(params, x, y)
    for name in case.NAMES:
        h, own = np.asarray(hidden[name]), known[name]
        np.testing.assert_allclose(own.average("activation"), np.abs(h).mean(0), rtol=1e-5)
        np.testing.assert_allclose(own.average("square"), (h**2).mean(0), rtol=1e-5)
        assert (own.age == 3).all()
        active = (h > 0).any(0)
        np.testing.assert_array_equal(own.idle, np.where(active, 0, 3))
        np.testing.assert_array_equal(own.fired, np.where(active, 3, 0))
        np.testing.assert_allclose(own.outputs, h[:48], atol=1e-6)
        np.testing.assert_allclose(own.inputs, np.asarray(inputs[name])[:48], atol=1e-6)


def test_taylor_sums_outputs_times_their_slopes_before_the_absolute_value():
    """Read off the outgoing weights, it is Σ h·∂L/∂h, here by perturbations of h."""
    params, (x, y) = case.initial(), case.data()
    zeros = {f"hidden_{i}": jnp.zeros((len(x), w)) for i, w in enumerate(case.WIDTHS)}
    error = lambda zeros: case.loss(params, x, y, zeros)
    slopes, (hidden, _) = jax.jit(jax.grad(error, has_aux=True))(zeros)
    for i, name in enumerate(case.NAMES):
        expected = jnp.abs(jnp.sum(hidden[name] * slopes[f"hidden_{i}"], 0))
        assert expected.max() > 1e-3
        found = case.known()[name].average("taylor")
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_the_gradient_of_a_neuron_is_that_of_its_incoming_weights_and_bias():
    params, (x, y) = case.initial(), case.data()
    slopes = jax.grad(lambda params: case.loss(params, x, y)[0])(params)["params"]["Dense_1"]
    both = jnp.concatenate([slopes["kernel"], slopes["bias"][None]])
    found = case.known()["Dense_1"].average("gradient")
    np.testing.assert_allclose(found, jnp.linalg.norm(both, axis=0), rtol=1e-4, atol=1e-7)


def test_of_newborns_nothing_is_known():
    known = case.known()
    born = {"Dense_0": jnp.arange(8) == 2, "Dense_1": jnp.zeros(6, bool)}
    after = evidence.renewed(known, types.still(known)._replace(born=born))
    own, old = after["Dense_0"], known["Dense_0"]
    assert own.age.tolist() == [5, 5, 0, 5, 5, 5, 5, 5]
    assert own.average("square")[2] == 0
    np.testing.assert_array_equal(own.average("square")[3:], old.average("square")[3:])
    x, y = case.data()
    again, _ = case.watch(case.initial(), after, x, y)
    again = again["Dense_0"]
    np.testing.assert_allclose(again.average("square"), old.average("square"), rtol=1e-5)
    assert again.age.tolist() == [6, 6, 1, 6, 6, 6, 6, 6]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda p: evidence.init(p, keep=("tailor",)), r"keep must be of .*, got 'tailor'"),
        (lambda p: evidence.init(p, record=-1), "record must be at least 0"),
        (lambda p: evidence.gather(evidence.init(p), p, {}), "activations lack group 'Dense_0'"),
        (
            lambda p: evidence.gather(evidence.init(p), p, {"Dense_0": jnp.ones((3, 7))}),
            "has 8 neurons, got",
        ),
        (
            lambda p: evidence.gather(evidence.init(p), p, {"Dense_0": jnp.ones((3, 8))}),
            "need the gradient, got None",
        ),
        (
            lambda p: evidence.gather(
                evidence.init(p, keep=(), record=9), p, {"Dense_0": jnp.ones((3, 8))}
            ),
            "record must be at most the 3 samples, got 9",
        ),
    ],
)
def test_bad_evidence_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(case.initial())


def test_a_fitness_without_its_evidence_says_what_to_keep():
    known = evidence.init(case.initial(), keep=("activation",))
    params = case.initial()
    transform = recipes.standard()
    with pytest.raises(ValueError, match=r"lacks 'square': keep it in evidence\.init"):
        transform.update(jax.random.key(0), params, (), transform.init(params), known)


# Selection


@pytest.mark.parametrize("size", [6, 100])  # all pairs, and sorting
def test_exactly_so_many_of_the_lowest_die_ties_by_index(size):
    everyone = jnp.ones(size, bool)
    tied = selection.lowest(jnp.zeros(size), 3, everyone)
    assert np.flatnonzero(tied).tolist() == [0, 1, 2]
    scores = jnp.asarray(np.random.default_rng(0).integers(0, 4, size), jnp.float32)
    for count in (0, 1, size // 2, size, size + 5):
        expected = np.argsort(scores, kind="stable")[:count]
        chosen = selection.lowest(scores, count, everyone)
        assert np.flatnonzero(chosen).tolist() == sorted(expected.tolist())
    fit = jnp.arange(size) % 2 == 1
    assert np.flatnonzero(selection.lowest(jnp.zeros(size), 2, fit)).tolist() == [1, 3]
    assert selection.lowest(scores, size, fit).sum() == size // 2
    broken = scores.at[4].set(jnp.nan)
    assert np.flatnonzero(selection.lowest(broken, 1, everyone)).tolist() == [4]


def test_fractions_add_up_exactly():
    for rate, number in ((0.1, 5), (0.03, 10), (1e-3, 7), (0.7, 3)):
        events = 2000
        step = lambda carried, _, r=rate, n=number: selection.quota(carried, r, n)[::-1]
        _, counts = jax.lax.scan(step, jnp.zeros(()), length=events)
        assert counts.sum() == round(rate * number * events)
        assert set(counts.tolist()) <= {int(rate * number), int(rate * number) + 1}


def test_global_selection_and_maturity():
    params, known = case.initial(), case.known()
    known = known | {"Dense_1": known["Dense_1"]._replace(age=jnp.array([9, 0, 9, 0, 9, 0]))}
    flat = fitness.Fitness("flat", (), lambda key, group, leaves, own: jnp.zeros(group.size))

    def died(**settings):
        transform = engine.replace(0.5, flat, renewal.random(), **settings)
        report = transform.update(jax.random.key(0), params, (), transform.init(params), known)[3]
        return [np.flatnonzero(report.died[name]).tolist() for name in case.NAMES]

    assert died(scope="global") == [[0, 1, 2, 3, 4, 5, 6], []]
    assert died(scope="global", maturity=6) == [[], [0, 2, 4]]
    assert died(maturity=6) == [[], [0, 2, 4]]
    assert died(maturity=6, share_of="mature") == [[], [0]]
    assert died() == [[0, 1, 2, 3], [0, 1, 2]]


# Births


def scene(dying, scores=None):
    (group, _) = neurons.find(case.GROUPS, case.initial())
    rows = group.rows(jax.tree.leaves(case.initial()))
    drawn = renewal.fresh(jax.random.key(3), group, rows)
    scores = jnp.arange(8.0) if scores is None else scores
    return group, renewal.Scene(rows, drawn, scores, dying, case.known()["Dense_0"])


DYING = jnp.isin(jnp.arange(8), jnp.array([1, 4, 6]))


def test_random_draws_are_those_of_the_models_initialiser():
    params, known = case.initial(), case.known()
    transform = engine.replace(0.5, fitness.taylor(), renewal.random(), initial=case.fresh)
    key = jax.random.key(1)
    after, _, _, report = transform.update(key, params, (), transform.init(params), known)
    expected = case.fresh(jax.random.split(key, 3)[2])["params"]["Dense_0"]["kernel"]
    born = report.born["Dense_0"]
    kernel = after["params"]["Dense_0"]["kernel"]
    np.testing.assert_array_equal(kernel[:, born], expected[:, born])
    other = engine.replace(0.5, fitness.taylor(), renewal.random(), initial=lambda key: {})
    with pytest.raises(ValueError, match="must have the structure of the parameters"):
        other.update(key, params, (), other.init(params), known)


def test_default_draws_have_flaxs_deviation():
    tree = {"up": jnp.zeros((400, 50)), "down": jnp.zeros((50, 2))}
    (group,) = neurons.find([neurons.NeuronGroup("g", "up", "down")], tree)
    up, down = renewal.fresh(jax.random.key(0), group, group.rows([tree["down"], tree["up"]]))
    theirs = nn.Dense(50).init(jax.random.key(1), jnp.ones((1, 400)))["params"]["kernel"]
    assert float(up.std()) == pytest.approx(float(theirs.std()), rel=0.03)
    assert float(jnp.abs(up).max()) == pytest.approx(float(jnp.abs(theirs).max()), rel=0.03)
    assert not down.any()


@pytest.mark.parametrize("how", renewal.CROSSINGS)
def test_a_child_has_two_distinct_surviving_parents(how):
    group, seen = scene(DYING)
    rows, mother, father = renewal.crossover(how).make(jax.random.key(2), group, seen)
    a, b = renewal.parents(jax.random.split(jax.random.key(2))[0], seen.scores, DYING, 2)
    np.testing.assert_array_equal((a, b), (mother, father))
    assert not np.any(a == b)
    assert not np.any(DYING[a] | DYING[b])
    for old, new in zip(seen.rows, rows, strict=True):
        low, high = jnp.minimum(old[a], old[b]), jnp.maximum(old[a], old[b])
        inside = (new >= low - 1e-6) & (new <= high + 1e-6)
        assert inside[DYING].all()
        np.testing.assert_array_equal(new[~DYING], old[~DYING])
        if how == "uniform":
            assert ((new == old[a]) | (new == old[b]))[DYING].all()
        elif how == "blend":
            share = ((new - old[b]) / (old[a] - old[b]))[DYING]
            assert ((share > 0.29) & (share < 0.71)).all()


def test_parents_are_drawn_by_rank():
    keys = jax.random.split(jax.random.key(0), 500)
    dying = jnp.arange(4) == 3
    (first,) = jax.vmap(
        lambda key: jnp.stack(renewal.parents(key, jnp.array([5.0, 1.0, 9.0, 0.0]), dying, 1))
    )(keys).transpose(1, 0, 2)
    share = np.bincount(np.ravel(first), minlength=4) / first.size
    np.testing.assert_allclose(share, np.array([2, 1, 3, 0]) / 6, atol=0.05)


def test_noise_is_relative_to_the_parent_unless_absolute():
    tree = {"up": jnp.ones((4000, 3)) * jnp.array([1.0, 10.0, 0.1]), "down": jnp.ones((3, 2))}
    (group,) = neurons.find([neurons.NeuronGroup("g", "up", "down")], tree)
    rows = group.rows(jax.tree.leaves(tree))
    for absolute, expected in ((False, [0.2, 2.0, 0.02]), (True, [0.2, 0.2, 0.2])):
        new = renewal.noisy(jax.random.key(0), group, rows, 0.2, absolute)
        np.testing.assert_allclose((new[0] - rows[0]).std(1), expected, rtol=0.1)
        np.testing.assert_array_equal(new[1], rows[1])


def test_the_engine_leaves_groups_without_evidence_alone():
    params, known = case.initial(), case.known()
    transform = combine.only("Dense_1", engine.replace(0.5, fitness.taylor(), renewal.random()))
    after, *_, report = transform.update(
        jax.random.key(0), params, (), transform.init(params), known
    )
    assert [int(report.died[name].sum()) for name in case.NAMES] == [0, 3]
    old, new = params["params"]["Dense_0"], after["params"]["Dense_0"]
    np.testing.assert_array_equal(old["kernel"], new["kernel"])


def test_the_change_of_the_networks_output_can_be_measured():
    params, known, (x, _) = case.initial(), case.known(), case.data()
    inner = engine.replace(0.5, fitness.taylor(), renewal.random())
    transform = combine.measured(inner, lambda params: case.outputs(params, x))
    after, *_, report = transform.update(
        jax.random.key(0), params, (), transform.init(params), known
    )
    old, new = case.outputs(params, x), case.outputs(after, x)
    expected = jnp.sqrt(jnp.mean((new - old) ** 2)) / old.std()
    assert report.change["Dense_0"] == pytest.approx(float(expected), rel=1e-5)
    assert expected > 0.01
