"""Slowly-Changing Regression: the world by hand, the learner against NumPy, one against many."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit

from apoptosis import regression, regression_renewal, transform
from tests.tolerance import within_sampling_error

WORLD = regression.World(period=8)
SMALL = regression.World(period=8, inputs=6, held=4, units=7)
KEYS = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(3)))(jnp.arange(3))


def spy(world, steps):
    """What a learner sees: its loss is the target, and it has no weights. `[tasks]` means."""
    learner = regression.Learner(lambda key: jnp.zeros(()), lambda state, x, y: (state, y))
    return jax.jit(lambda key: regression.live(key, world, learner, steps))(KEYS[0]).losses


@functools.cache
def witness(world, steps):
    """All inputs `[steps, I]` and targets `[steps]` of a life, kept by a learner as its state."""

    def step(state, x, y):
        number, xs, ys = state
        return (number + 1, xs.at[number].set(x), ys.at[number].set(y)), y

    begin = lambda key: (0, jnp.zeros((steps, world.inputs)), jnp.zeros(steps))
    learner = regression.Learner(begin, step)
    live = jax.jit(lambda key: regression.live(key, world, learner, steps))
    _, xs, ys = live(KEYS[0]).parameters
    return np.asarray(xs), np.asarray(ys)


# The target


def test_a_target_by_hand():
    world = regression.World(inputs=3, held=2, units=2)
    net = regression.target(KEYS[0], world)._replace(
        kernel=jnp.array([[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]]),
        bias=jnp.array([1.0, -1.0]),
        threshold=jnp.array([1.8, -0.2]),
        value=jnp.array([1.0, -1.0]),
        shift=jnp.float32(1.0),
    )
    # Sums with bias: (1, 1, 0): 3 and -1; (0, 0, 1): 0 and -2; (0, 1, 0): 2 and 0.
    x = jnp.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    np.testing.assert_array_equal(regression.evaluate(net, x), [2.0, 1.0, 1.0])


def test_a_target_is_as_the_paper_says():
    net = regression.target(KEYS[0], WORLD)
    kernel, bias, threshold, value, shift = map(np.asarray, net)
    assert kernel.shape == (20, 100)
    for each in (kernel, bias, value, shift):
        assert set(np.unique(each)) <= {-1.0, 1.0}
    for each in (kernel, bias, value):
        assert within_sampling_error(each.mean(), 0, each.size**-0.5)
    expected = 0.7 * 21 - (20 - kernel.sum(0) + bias) / 2
    np.testing.assert_allclose(threshold, expected, rtol=1e-5)


@pytest.mark.parametrize("world", [WORLD, SMALL], ids=["paper", "small"])
def test_the_precomputed_values_are_those_of_the_target_itself(world):
    net = jax.tree.map(np.asarray, regression.target(KEYS[1], world))
    held = np.asarray(regression.first_held(KEYS[2], world))
    made = jax.jit(regression.values, static_argnums=1)(net, world, held)
    for number in range(2 ** (world.inputs - world.held)):
        fresh = [number >> place & 1 for place in range(world.inputs - world.held)]
        x = np.array([*held, *fresh], np.float64)
        fires = x @ net.kernel + net.bias > net.threshold
        assert made[number] == fires @ net.value + net.shift


# The stream


def test_held_bits_hold_for_a_period_and_fresh_ones_do_not():
    xs, _ = witness(WORLD, 40)
    tasks = xs.reshape(5, 8, 20)
    np.testing.assert_array_equal(tasks[:, :, :15], np.repeat(tasks[:, :1, :15], 8, axis=1))
    assert all(len(np.unique(task[:, 15:], axis=0)) > 3 for task in tasks)
    assert set(np.unique(xs)) == {0.0, 1.0}


def test_in_variant_a_all_held_bits_are_drawn_anew_and_in_b_one_is_flipped():
    for variant in regression.VARIANTS:
        world = regression.World(variant, period=2)
        xs, _ = witness(world, 400)
        changed = np.abs(np.diff(xs[::2, :15], axis=0))
        if variant == "B":
            np.testing.assert_array_equal(changed.sum(1), 1)
            assert (changed.sum(0) > 0).all()  # every bit has its turn
        else:
            assert within_sampling_error(changed.mean(), 0.5, 0.5 / changed.size**0.5)


def test_bits_are_fair():
    xs, _ = witness(regression.World(period=1), 1000)
    assert within_sampling_error(xs.mean(0), 0.5, 0.5 / 1000**0.5)
    pairs = np.corrcoef(xs.T) - np.eye(20)
    assert within_sampling_error(pairs, 0, 1000**-0.5)


def test_a_learner_sees_the_target_of_what_it_sees():
    xs, ys = witness(SMALL, 24)
    net = regression.target(jax.random.fold_in(KEYS[0], 0), SMALL)
    np.testing.assert_array_equal(ys, regression.evaluate(net, xs))
    assert len(np.unique(ys)) > 1
    np.testing.assert_allclose(spy(SMALL, 24), ys.reshape(3, 8).mean(1), rtol=1e-6)


def test_a_task_may_be_cut_short():
    _, ys = witness(SMALL, 24)
    expected = [ys[:8].mean(), ys[8:16].mean()]
    whole = np.asarray(spy(SMALL, 19))
    assert whole.shape == (3,)
    np.testing.assert_allclose(whole[:2], expected, rtol=1e-6)


# The learner


@pytest.mark.parametrize(
    ("activation", "gain"),
    [("relu", 2**0.5), ("tanh", 5 / 3), ("elu", 2**0.5), ("swish", 2**0.5)],
)
def test_initial_weights_are_uniform_within_their_bounds(activation, gain):
    network = regression.Network(activation)
    many = jax.vmap(lambda key: regression.weights(key, network))
    params = many(jax.random.split(KEYS[0], 500))
    for layer, bound in (("hidden", gain * (3 / 20) ** 0.5), ("output", (3 / 5) ** 0.5)):
        kernel = np.asarray(params[layer]["kernel"])
        assert 0.99 * bound < np.abs(kernel).max() <= bound * (1 + 1e-6)
        assert within_sampling_error(kernel.var(), bound**2 / 3, bound**2 / kernel.size**0.5)
        assert not params[layer]["bias"].any()


def in_numpy(params, x, y, rate, activation, decay=0.0):
    """One step of gradient descent on (prediction - y)² in float64."""
    function, slope = {
        "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
        "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
        "sigmoid": (expit, lambda z: expit(z) * expit(-z)),
        "leaky_relu": (lambda z: np.where(z > 0, z, z / 100), lambda z: np.where(z > 0, 1, 0.01)),
        "elu": (
            lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
            lambda z: np.exp(np.minimum(z, 0)),
        ),
        "swish": (lambda z: z * expit(z), lambda z: expit(z) * (1 + z * expit(-z))),
    }[activation]
    w, b, v, c = (
        np.asarray(params[layer][name], np.float64)
        for layer in ("hidden", "output")
        for name in ("kernel", "bias")
    )
    z = x @ w + b
    h = function(z)
    error = h @ v[:, 0] + c[0] - y
    below = 2 * error * v[:, 0] * slope(z)
    gradients = np.outer(x, below), below, 2 * error * h[:, None], np.array([2 * error])
    w, b, v, c = (p - rate * (g + decay * p) for p, g in zip((w, b, v, c), gradients, strict=True))
    after = {"hidden": {"kernel": w, "bias": b}, "output": {"kernel": v, "bias": c}}
    return after, error**2


@pytest.mark.parametrize(
    ("activation", "decay"),
    [*((name, None) for name in regression.ACTIVATIONS), ("relu", 0.1)],
    ids=str,
)
def test_a_life_is_that_of_numpy(activation, decay):
    network = regression.Network(activation)
    learner = regression.backpropagation(network, 0.02, decay)
    life = jax.jit(lambda key: regression.live(key, WORLD, learner, 200))(KEYS[0])
    params, losses = regression.weights(jax.random.fold_in(KEYS[0], 2), network), []
    for x, y in zip(*witness(WORLD, 200), strict=True):
        params, error = in_numpy(params, x, y, 0.02, activation, decay or 0.0)
        losses.append(error)
    expected = np.reshape(losses, (25, 8)).mean(1)
    np.testing.assert_allclose(life.losses, expected, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(jax.tree.leaves(life.parameters), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_linear_learner_predicts_linearly():
    network = regression.Network(hidden=0)
    params = regression.weights(KEYS[0], network)
    (layer,) = params.values()
    x = np.arange(20) % 2
    expected = x @ np.asarray(layer["kernel"])[:, 0]
    np.testing.assert_allclose(regression.predict(network, params, x)[0], expected, rtol=1e-5)


# Lives


def life(key, steps=64, world=SMALL, rate=0.03):
    network = regression.Network(inputs=world.inputs)
    return regression.live(key, world, regression.backpropagation(network, rate), steps)


def test_a_member_equals_its_solo_run():
    together = jax.jit(jax.vmap(life))(KEYS)
    alone = jax.jit(life)
    for i, key in enumerate(KEYS):
        solo = alone(key)
        np.testing.assert_allclose(together.losses[i], solo.losses, rtol=1e-5)
    assert len(np.unique(np.asarray(together.losses)[:, 0])) == 3


def test_the_loss_is_taken_before_the_update():
    first = jax.jit(lambda key: life(key, steps=1))(KEYS[0])
    network = regression.Network(inputs=6)
    params = regression.weights(jax.random.fold_in(KEYS[0], 2), network)
    xs, ys = witness(SMALL, 1)
    prediction, _ = regression.predict(network, params, xs[0])
    np.testing.assert_allclose(first.losses, [(prediction - ys[0]) ** 2], rtol=1e-5)
    assert np.abs(first.parameters["output"]["bias"]) > 0


def test_learning_lowers_the_loss():
    world = regression.World(period=500)
    rates = jnp.array([0.0, 0.01])
    by_rate = jax.vmap(lambda key, rate: life(key, 500, world, rate).losses[0], (None, 0))
    still, learning = jax.jit(jax.vmap(by_rate, (0, None)))(jax.random.split(KEYS[0], 20), rates).T
    assert learning.mean() < 0.6 * still.mean()


# Renewal


def counting(seen):
    """A transform that counts its events in its state and leaves all else as it is."""

    def update(key, params, opt_state, state, evidence):
        seen.append(jax.tree.map(jnp.shape, evidence))
        group = evidence["hidden"]
        ages = jnp.zeros(group.age.shape, bool)
        nothing = transform.Report(*({"hidden": f} for f in (ages, ages, group.age, group.weight)))
        return params, opt_state, state + 1, nothing

    return transform.ApoptosisTransform(lambda params: jnp.int32(0), update)


@pytest.mark.parametrize("record", [0, 3])
def test_without_renewal_it_is_backpropagation(record):
    network, seen = regression.Network(inputs=6), []
    learner = regression_renewal.renewing(
        network, optax.sgd(0.03), counting(seen), 4, record=record
    )
    state = learner._replace(parameters=lambda state: state)
    own, plain = jax.jit(lambda key: (regression.live(key, SMALL, state, 64), life(key)))(KEYS[0])
    np.testing.assert_allclose(own.losses, plain.losses, rtol=1e-5)
    assert own.parameters.transform == 16
    np.testing.assert_array_equal(own.parameters.evidence["hidden"].age, 64)
    assert seen[0]["hidden"].outputs == (record, 5)


def test_an_event_sees_what_the_units_now_make_of_the_last_inputs():
    network = regression.Network("tanh", inputs=6)
    keeping = counting([])._replace(
        init=lambda params: (jnp.zeros((3, 5)), jnp.zeros((3, 6))),
        update=lambda key, params, opt_state, state, evidence: (
            params,
            opt_state,
            (evidence["hidden"].outputs, evidence["hidden"].inputs),
            counting([]).update(key, params, opt_state, 0, evidence)[3],
        ),
    )
    learner = regression_renewal.renewing(network, optax.sgd(0.03), keeping, 4, record=3)
    learner = learner._replace(parameters=lambda state: state)
    state = jax.jit(lambda key: regression.live(key, SMALL, learner, 8).parameters)(KEYS[0])
    outputs, inputs = state.transform
    xs, _ = witness(SMALL, 8)
    np.testing.assert_array_equal(inputs, xs[-3:])
    for x, output in zip(xs[-3:], outputs, strict=True):
        _, hidden = regression.predict(network, state.params, x)
        np.testing.assert_allclose(output, hidden, rtol=1e-5)


def test_events_come_after_every_few_steps_and_not_where_a_task_is_cut_short():
    learner = regression_renewal.renewing(
        regression.Network(inputs=6), optax.sgd(0.03), counting([]), 4
    )
    learner = learner._replace(parameters=lambda state: state)
    live = jax.jit(lambda key: (regression.live(key, SMALL, learner, 23), life(key, 23)))
    own, plain = live(KEYS[0])
    assert own.parameters.transform == 5
    np.testing.assert_array_equal(own.parameters.evidence["hidden"].age, 23)
    np.testing.assert_allclose(own.losses, plain.losses, rtol=1e-5)


def test_evidence_is_what_the_hidden_units_did():
    network = regression.Network("tanh", inputs=6)
    learner = regression_renewal.renewing(network, optax.sgd(0.0), counting([]), 8, decay=0.0)
    learner = learner._replace(parameters=lambda state: state)
    live = jax.jit(lambda key: regression.live(key, SMALL, learner, 8))
    state = live(KEYS[0]).parameters
    xs, ys = witness(SMALL, 8)
    prediction, hidden = regression.predict(network, state.params, xs[-1])
    slope = 2 * (prediction - ys[-1]) * state.params["output"]["kernel"][:, 0]
    known = state.evidence["hidden"]
    np.testing.assert_allclose(known.average("activation"), np.abs(hidden), rtol=1e-4)
    np.testing.assert_allclose(known.average("taylor"), np.abs(hidden * slope), rtol=1e-4)


def test_an_interval_that_does_not_divide_is_refused():
    learner = regression_renewal.renewing(
        regression.Network(inputs=6), optax.sgd(0.1), counting([]), 3
    )
    with pytest.raises(ValueError, match="every must divide the period, 8, got 3"):
        regression.live(KEYS[0], SMALL, learner, 16)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: regression.World("C"), "variant must be one of A, B, got 'C'"),
        (lambda: regression.World(period=0), "period must be at least 1, got 0"),
        (lambda: regression.World(held=21), "held must leave 0 to 16 of the 20 inputs fresh"),
        (lambda: regression.Network("cubic"), "activation must be one of relu, .* got 'cubic'"),
        (lambda: regression.Network(hidden=-1), "hidden must be at least 0, got -1"),
        (lambda: life(KEYS[0], steps=0), "steps must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_refused(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()
