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


@functools.partial(jax.jit, static_argnames=("samples", "tests"))
def drawn(data_key, init_key, dataset, samples=40, tests=200):
    setting = learner.Setting(dataset, 0.1, datasets.Form())
    return learner.draw(data_key, init_key, setting, samples=samples, tests=tests, normals=NORMALS)


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

    return run(trial(), learner.Hyper(np.float32(rate), np.int32(2), activations.index("tanh")))


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
    assert learner.accuracy(np.array(logits, np.float32), Y) == np.float32(share)


def test_chance_is_the_majority():
    assert [learner.chance(n) for n in (2, 5, 200)] == [1 / 2, 3 / 5, 1 / 2]


def test_cross_entropy_and_its_gradient_are_the_formula():
    z = np.array([-2, 0, 3, 0.5, -30], np.float32)
    exact = z.astype(np.float64)
    value, slope = jax.value_and_grad(lambda z: 3 * learner.cross_entropy(z, Y))(z)
    np.testing.assert_allclose(value, 3 * np.mean(np.log1p(np.exp(exact)) - Y * exact), rtol=1e-6)
    np.testing.assert_allclose(slope, 3 * (1 / (1 + np.exp(-exact)) - Y) / 5, rtol=1e-6, atol=1e-7)


def test_cross_entropy_stays_finite_far_out():
    z = np.array([1e4, -1e4, 1e4, -1e4, 1e4], np.float32)
    assert learner.cross_entropy(z, Y) == pytest.approx(6000)


def test_a_measure_is_of_the_points_that_it_names():
    _, params, measure = trained("gd", 1, 0.01)
    for split, points in (("train", trial().train), ("test", trial().test)):
        logits = network.logits(params, points.x, "tanh", False)
        for what, function in (("loss", learner.cross_entropy), ("accuracy", learner.accuracy)):
            seen = getattr(measure, f"{split}_{what}")
            np.testing.assert_allclose(seen, function(logits, points.y), rtol=1e-5)
    assert len({round(float(number), 3) for number in measure}) == 4


# Trials


def test_held_out_points_are_others_of_the_same_kind():
    train, test, normals = trial()
    assert (train.x.shape, test.x.shape, normals.shape) == ((2, 40), (2, 200), (NORMALS,))
    assert not np.isin(test.x, train.x).any()
    for x, y in (train, test):
        np.testing.assert_array_equal(y > 0, x[0] * x[1] < 0)


def test_initial_weights_do_not_depend_on_the_data():
    xor, moons = trial("xor"), trial("moons")
    other = drawn(jax.random.key(3), jax.random.key(2), datasets.index("xor"))
    np.testing.assert_array_equal(xor.normals, moons.normals)
    np.testing.assert_array_equal(xor.normals, other.normals)
    assert not np.isin(xor.train.x, other.train.x).any()


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
    x, y = (np.asarray(a, np.float64) for a in trial().train)
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


def test_unequal_widths_are_used_whole_whatever_the_depth():
    one = learner.learner((4, 2, 3), False, learner.protocol("gd"), "tanh")
    points, hyper = trial(), learner.Hyper(np.float32(1), np.int32(1), None)
    start = one.init(points, hyper)
    end = jax.jit(one.step)(points, start, hyper)
    for layer in ("hidden_0", "hidden_1", "hidden_2", "output"):
        assert (
            end.params["params"][layer]["kernel"] != start.params["params"][layer]["kernel"]
        ).all()
    logits = network.logits(end.params, points.train.x, "tanh", False)
    expected = learner.cross_entropy(logits, points.train.y)
    np.testing.assert_allclose(one.measure(points, end, hyper).train_loss, expected, rtol=1e-5)


@pytest.mark.parametrize("protocol", learner.PROTOCOLS, ids=lambda p: p.name)
def test_xor_is_learned_at_the_default_rate(protocol):
    *_, measure = trained(protocol.name, 500, protocol.learning_rate)
    assert measure.test_accuracy > 0.95


def test_an_unknown_protocol_is_refused_with_the_near_miss():
    with pytest.raises(ValueError, match=r"unknown protocol 'adma'; did you mean 'adam'"):
        learner.protocol("adma")
