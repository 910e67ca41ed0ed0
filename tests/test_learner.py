"""One element learns by the book: its measures, and its steps against NumPy in float64."""

import functools

import jax
import numpy as np
import pytest

from elements import activations, datasets, learner, network

ROWS = 2, 8, 8, 1  # the sizes of a network of two hidden layers of eight
LAYERS = ("hidden_0", "hidden_1", "output")
NORMALS = network.kernel_count(ROWS[1:3])
Y = np.array([0, 0, 0, 1, 1], np.float32)


@functools.partial(jax.jit, static_argnames=("capacity", "tests"))
def drawn(data_key, init_key, dataset, capacity=40, tests=200, samples=40):
    setting = learner.Setting(dataset, 0.1, datasets.Form(), samples)
    sizes = {"capacity": capacity, "tests": tests, "normals": NORMALS}
    return learner.draw(data_key, init_key, setting, **sizes)


def trial(dataset="xor"):
    return drawn(jax.random.key(1), jax.random.key(2), datasets.index(dataset))


@functools.cache
def trained(protocol, steps, rate, activation="tanh"):
    """`(initial parameters, parameters, measure)` after so many steps on xor; None is traced."""
    one = learner.learner(ROWS[1:3], False, learner.protocol(protocol), activation)

    @jax.jit
    def run(trial, hyper):
        start = one.init(trial, hyper)
        end = jax.lax.fori_loop(0, steps, lambda _, state: one.step(trial, state, hyper), start)
        return start.params, end.params, one.measure(trial, end, hyper)

    used, which = network.Used(np.int32(2)), activations.index("tanh")
    return run(trial(), learner.Hyper(np.float32(rate), used=used, activation=which))


def flat(params):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


# Measures


@pytest.mark.parametrize(
    ("logits", "share"),
    [
        ([-3, -1e-9, -1, 1e-9, 3], 1),
        ([1, 1, 1, -1, -1], 0),
        ([1, 1, 1, 1, 1], 2 / 5),
        ([-1, -1, -1, -1, -1], 3 / 5),
        ([0, 0, 0, 0, 0], 3 / 5),  # undecided is label 0
        ([np.nan] * 5, 0),
        ([np.nan, -1, -1, 1, np.nan], 3 / 5),
        ([-np.inf, -np.inf, np.inf, np.inf, np.inf], 4 / 5),
    ],
)
def test_accuracy_is_the_share_of_right_answers(logits, share):
    whole = learner.Share(Y, np.full(5, 0.2, np.float32))
    assert learner.accuracy(np.array(logits, np.float32), whole) == pytest.approx(share, abs=1e-6)


def test_only_the_points_of_a_share_count():
    share = learner.Share(Y, np.array([0.5, 0, 0, 0, 0.5], np.float32))
    assert learner.accuracy(np.array([-1, 9, np.nan, -9, -1], np.float32), share) == 0.5
    logits = np.array([0, 50, 50, -50, 0], np.float32)
    assert learner.cross_entropy(logits, share) == pytest.approx(np.log(2))


def test_cross_entropy_and_its_gradient_are_the_formula():
    z = np.array([-2, 0, 3, 0.5, -30], np.float32)
    exact = z.astype(np.float64)
    weight = np.array([0.1, 0.2, 0.3, 0.4, 0], np.float32)
    share = learner.Share(Y, weight)
    value, slope = jax.value_and_grad(learner.cross_entropy)(z, share)
    each = np.log1p(np.exp(exact)) - Y * exact
    np.testing.assert_allclose(value, np.sum(weight * each), rtol=1e-6)
    expected = weight * (1 / (1 + np.exp(-exact)) - Y)
    for found in (slope, learner.slope(z, share)):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_cross_entropy_stays_finite_far_out():
    z = np.array([1e4, -1e4, 1e4, -1e4, 1e4], np.float32)
    share = learner.Share(Y, np.full(5, 0.2, np.float32))
    assert learner.cross_entropy(z, share) == pytest.approx(6000)


def test_a_measure_is_of_the_points_that_it_names():
    _, params, measure = trained("gd", 1, 0.01)
    one = trial()
    shares = {"train": (one.x, one.train), "test": (one.test.x, learner.all_of(one.test))}
    for split, (x, share) in shares.items():
        logits = network.logits(params, x, "tanh", False)
        for what, function in (("loss", learner.cross_entropy), ("accuracy", learner.accuracy)):
            seen = measure[f"{split}_{what}"]
            np.testing.assert_allclose(seen, function(logits, share), rtol=1e-5)
    assert len({round(float(number), 3) for number in measure.values()}) == 4


# Trials


def test_held_out_points_are_others_of_the_same_kind():
    one = trial()
    assert (one.x.shape, one.test.x.shape, one.normals.shape) == ((2, 40), (2, 200), (NORMALS,))
    assert not np.isin(one.test.x, one.x).any()
    for x, y in ((one.x, one.train.y), one.test):
        np.testing.assert_array_equal(y > 0, x[0] * x[1] < 0)
    assert (one.validation, one.flipped, one.noise) == (None, None, None)


def test_a_smaller_sample_is_a_part_of_a_larger_one_and_the_room_is_of_no_matter():
    keys = jax.random.key(1), jax.random.key(2), datasets.index("spirals")
    small, large = drawn(*keys, capacity=40), drawn(*keys, capacity=64, samples=30)
    np.testing.assert_array_equal(large.x[:, :40], small.x)
    np.testing.assert_array_equal(large.train.y[:40], small.train.y)
    np.testing.assert_allclose(large.train.weight, np.arange(64) < 30, atol=1 - 1 / 30 + 1e-6)
    assert large.train.weight[30:].max() == 0
    assert float(large.train.weight.sum()) == pytest.approx(1)
    jax.tree.map(np.testing.assert_array_equal, large.test, small.test)


def test_initial_weights_do_not_depend_on_the_data():
    xor, moons = trial("xor"), trial("moons")
    other = drawn(jax.random.key(3), jax.random.key(2), datasets.index("xor"))
    np.testing.assert_array_equal(xor.normals, moons.normals)
    np.testing.assert_array_equal(xor.normals, other.normals)
    assert not np.isin(xor.x, other.x).any()


# Steps


def slopes_on_paper(weights, biases, x, y):
    """Slopes of the mean cross-entropy, in the order of `[*weights, *biases]`."""
    h = [x]
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        h.append(np.tanh(w @ h[-1] + b[:, None]))
    delta = (1 / (1 + np.exp(-(weights[-1] @ h[-1] + biases[-1][:, None]))) - y) / y.size
    slopes = []
    for w, before in zip(weights[::-1], h[::-1], strict=True):
        slopes.append((delta @ before.T, delta.sum(axis=1)))
        delta = (w.T @ delta) * (1 - before**2)
    return [slope for part in zip(*slopes[::-1], strict=True) for slope in part]


@pytest.mark.parametrize(("protocol", "rate"), [("gd", 1.0), ("adam", 0.01)])
def test_twenty_steps_are_those_of_the_book(protocol, rate):
    """Of plain gradient descent, and of Kingma & Ba (2015) with their own constants."""
    start, end, _ = trained(protocol, 20, rate)
    x, y = (np.asarray(a, np.float64) for a in (trial().x, trial().train.y))
    theta, seen = (
        [params["params"][name][part] for part in ("kernel", "bias") for name in LAYERS]
        for params in (start, end)
    )
    theta = [np.asarray(a, np.float64) for a in theta]
    mean, square = ([np.zeros_like(a) for a in theta] for _ in range(2))
    for t in range(1, 21):
        for i, g in enumerate(slopes_on_paper(theta[:3], theta[3:], x, y)):
            mean[i] = 0.9 * mean[i] + 0.1 * g
            square[i] = 0.999 * square[i] + 0.001 * g**2
            adam = mean[i] / (1 - 0.9**t) / (np.sqrt(square[i] / (1 - 0.999**t)) + 1e-8)
            theta[i] = theta[i] - rate * (adam if protocol == "adam" else g)
    for expected, parameters in zip(theta, seen, strict=True):
        np.testing.assert_allclose(parameters, expected, atol=1e-4)
    assert np.abs(flat(end) - flat(start)).max() > 0.1


def test_a_traced_activation_learns_as_a_static_one():
    static, traced = (flat(trained("gd", 20, 1.0, how)[1]) for how in ("tanh", None))
    np.testing.assert_allclose(traced, static, atol=1e-5)


def test_unequal_widths_are_used_whole():
    one = learner.learner((4, 2, 3), False, learner.protocol("gd"), "tanh")
    points, hyper = trial(), learner.Hyper(np.float32(1))
    start = one.init(points, hyper)
    end = jax.jit(one.step)(points, start, hyper)
    for layer in ("hidden_0", "hidden_1", "hidden_2", "output"):
        assert (
            end.params["params"][layer]["kernel"] != start.params["params"][layer]["kernel"]
        ).all()
    logits = network.logits(end.params, points.x, "tanh", False)
    expected = learner.cross_entropy(logits, points.train)
    np.testing.assert_allclose(one.measure(points, end, hyper)["train_loss"], expected, rtol=1e-5)


@pytest.mark.parametrize("adaptive", [False, True], ids=["gd", "adam"])
def test_the_tuned_protocol_is_either_of_the_two(adaptive):
    one = learner.learner(ROWS[1:3], False, learner.protocol(learner.TUNED), "tanh")
    hyper = learner.Hyper(np.float32(0.05), adaptive=adaptive)

    @jax.jit
    def run(trial):
        return jax.lax.fori_loop(
            0, 20, lambda _, s: one.step(trial, s, hyper), one.init(trial, hyper)
        )

    expected = trained("adam" if adaptive else "gd", 20, 0.05)[1]
    np.testing.assert_allclose(flat(run(trial()).params), flat(expected), atol=1e-5)


@pytest.mark.parametrize("name", ["gd", "adam"])
def test_the_tuned_optimiser_moves_as_the_one_it_stands_for(name):
    """Of the same gradients: nothing else can differ, so 1e-6 holds on every machine."""
    hyper = learner.Hyper(np.float32(0.05), adaptive=name == "adam")
    both = [learner.protocol(kind).optimiser(hyper) for kind in (learner.TUNED, name)]
    params = np.linspace(-1, 1, 7, dtype=np.float32)
    states = [one.init(params) for one in both]
    for step in range(5):
        gradient = np.sin(params * (step + 1))
        moves, states = zip(
            *(one.update(gradient, state) for one, state in zip(both, states, strict=True)),
            strict=True,
        )
        np.testing.assert_allclose(*moves, rtol=1e-6)


def test_a_gain_scales_the_initial_weights_alone():
    one = learner.learner(ROWS[1:3], False, learner.protocol("gd"), "tanh")
    plain, doubled = (
        one.init(trial(), learner.Hyper(np.float32(1), gain=np.float32(g))).params for g in (1, 2)
    )
    np.testing.assert_allclose(flat(doubled), 2 * flat(plain), rtol=1e-6)


@pytest.mark.parametrize("protocol", learner.PROTOCOLS, ids=lambda p: p.name)
def test_xor_is_learned_at_the_default_rate(protocol):
    *_, measure = trained(protocol.name, 500, protocol.learning_rate)
    assert measure["test_accuracy"] > 0.95


def test_an_unknown_protocol_is_refused_with_the_near_miss():
    with pytest.raises(ValueError, match=r"unknown protocol 'adma'; did you mean 'adam'"):
        learner.protocol("adma")
