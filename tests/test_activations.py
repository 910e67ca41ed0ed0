"""Every activation is what its row of the table says, and `select` is the same function."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from elements import activations

SAMPLED = np.concatenate([np.linspace(-30, 30, 60_001), [-1e4, -1e3, 1e3, 1e4]]).astype(np.float32)
KINK_FREE = np.linspace(-6, 6, 1200)  # an even number of points: no 0
every_activation = pytest.mark.parametrize("activation", activations.TABLE, ids=lambda a: a.name)


def value_and_slope(function, z):
    return jax.jvp(function, (z,), (jnp.ones_like(z),))


@jax.jit
def rows(z):
    """Value and slope of every activation by name, in one compilation."""
    return {a.name: value_and_slope(a.function, z) for a in activations.TABLE}


@every_activation
def test_the_range_is_the_declared_one_to_three_digits(activation):
    values, _ = rows(SAMPLED)[activation.name]
    for seen, limit in zip((values.min(), values.max()), activation.range, strict=True):
        reached = math.isclose(seen, limit, abs_tol=1e-3)
        assert reached if math.isfinite(limit) else seen * math.copysign(1, limit) > 9


@every_activation
def test_the_slope_at_zero_is_the_declared_one(activation):
    _, slopes = rows(SAMPLED)[activation.name]
    np.testing.assert_allclose(slopes[SAMPLED == 0], [activation.slope], atol=1e-6)


@every_activation
def test_the_slope_is_that_of_the_values(activation):
    with jax.enable_x64(True):
        (up, _), (_, slope), (down, _) = (
            map(np.asarray, rows(KINK_FREE + h)[activation.name]) for h in (1e-6, 0, -1e-6)
        )
    np.testing.assert_allclose(slope, (up - down) / 2e-6, atol=1e-8)


@every_activation
def test_values_and_slopes_are_finite_far_out(activation):
    assert all(np.isfinite(a).all() for a in rows(SAMPLED)[activation.name])


def test_only_the_half_lines_are_initialised_as_rectifiers():
    assert [a.name for a in activations.TABLE if a.rectifier] == ["relu", "leaky_relu"]


# The fast sine


@pytest.mark.parametrize("how", [lambda f: f, jax.jit, jax.vmap], ids=["plain", "jit", "vmap"])
@pytest.mark.parametrize(("reach", "error"), [(30, 3e-7), (10_000, 6e-7)])
def test_the_sine_and_its_slope_are_accurate(how, reach, error):
    x = np.random.default_rng(0).uniform(-reach, reach, 200_000).astype(np.float32)
    x = np.concatenate([x, np.arange(-9, 10, dtype=np.float32) * np.float32(math.pi / 2)])
    value, slope = how(lambda x: value_and_slope(activations.sine, x))(x)
    exact = x.astype(np.float64)
    assert np.abs(value - np.sin(exact)).max() <= error
    assert np.abs(slope - np.cos(exact)).max() <= error


@pytest.mark.parametrize("how", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_the_sine_is_bounded_by_one_and_unknown_at_infinity(how):
    both = how(lambda x: jnp.stack(value_and_slope(activations.sine, x)))
    huge = np.geomspace(1e4, 3e38, 100_000).astype(np.float32)
    assert np.abs(both(np.concatenate([huge, -huge]))).max() <= 1
    assert np.isnan(both(np.array([np.inf, -np.inf, np.nan], np.float32))).all()


def test_the_sine_of_doubles_is_exact():
    with jax.enable_x64(True):
        x = jnp.linspace(-50.0, 50.0, 1001)
        value, slope = value_and_slope(activations.sine, x)
        np.testing.assert_allclose(value, np.sin(x), atol=1e-15)
        np.testing.assert_allclose(slope, np.cos(x), atol=1e-15)


def test_the_slope_of_the_slope_of_the_sine_is_minus_the_sine():
    x = np.linspace(-20, 20, 1001, dtype=np.float32)
    curvature = jax.vmap(jax.grad(jax.grad(activations.sine)))(x)
    np.testing.assert_allclose(curvature, -np.sin(x.astype(np.float64)), atol=5e-6)


# Softplus


def test_softplus_is_that_of_jax():
    z = np.linspace(-40, 40, 8001, dtype=np.float32)  # 0 included
    own, theirs = activations.find("softplus").function, jax.nn.softplus
    (value, slope), (expected, sigmoid) = jax.jit(
        lambda z: [value_and_slope(f, z) for f in (own, theirs)]
    )(z)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(slope, sigmoid, rtol=2e-6)


# Value and slope together

REFERENCES = {
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
    "sine": jnp.sin,
    "swish": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "elu": jax.nn.elu,
}
ORDER = np.arange(len(activations.TABLE))[::-1]


@jax.jit
def forms(z):
    """Values and slopes `[form, 2, activation, N]`: by name, by traced index, vmapped over both."""
    by_name = [jnp.stack(activations.value_and_slope(name, z)) for name in activations.NAMES]
    traced = jax.lax.map(lambda i: activations.value_and_slope(i, z), ORDER[::-1])
    one = lambda i: jax.vmap(lambda z: activations.value_and_slope(i, z))(z)
    vmapped = jax.vmap(one)(ORDER)
    return jnp.stack(by_name, axis=1), jnp.stack(traced), jnp.stack(vmapped)[:, ::-1]


def test_every_shared_form_has_a_reference():
    assert {a.name for a in activations.TABLE if a.both} == set(REFERENCES)


@pytest.mark.parametrize("name", REFERENCES)
def test_shared_forms_are_the_functions_of_jax(name):
    """In double precision to rounding; in single precision within 4e-6 of that, for |z| ≤ 30."""
    single = [a[activations.index(name)] for a in forms(SAMPLED)[0]]
    near = np.abs(SAMPLED) <= 30
    with jax.enable_x64(True):
        exact = jax.jit(lambda z: value_and_slope(REFERENCES[name], z))(SAMPLED.astype(np.float64))
        double = activations.value_and_slope(name, SAMPLED.astype(np.float64))
        np.testing.assert_allclose(double, exact, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(np.stack(single)[:, near], np.stack(exact)[:, near], atol=4e-6)


def test_names_traced_indices_and_batches_of_both_give_the_same():
    by_name, traced, vmapped = forms(SAMPLED)
    np.testing.assert_allclose(traced, by_name, atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose(vmapped, by_name, atol=1e-6, rtol=1e-6)


@every_activation
def test_the_slope_of_the_pair_is_that_of_the_function(activation):
    value, slope = rows(SAMPLED)[activation.name]
    pair = [a[activations.index(activation.name)] for a in forms(SAMPLED)[0]]
    np.testing.assert_allclose(pair, [value, slope], atol=1e-6, rtol=1e-6)


@every_activation
def test_what_is_not_a_number_stays_so_and_rectifiers_keep_infinity(activation):
    z = np.array([np.nan, np.inf, -np.inf], np.float32)
    value, slope = forms(z)[1][:, activations.index(activation.name)]
    assert np.isnan(value[0])
    if activation.rectifier:
        leak = activation.slope * 0.01
        np.testing.assert_array_equal(value[1:], [np.inf, -np.inf if leak else 0])
        np.testing.assert_array_equal(slope[1:], np.float32([1, leak]))


def test_an_activation_of_a_function_alone_has_its_slope():
    softplus = activations.find("softplus").function
    mish = activations.Activation(
        "mish", lambda z: z * jnp.tanh(softplus(z)), "smooth rectifier", (-0.31, math.inf), 0.6, ""
    )
    with jax.enable_x64(True):
        run = jax.jit(mish.value_and_slope)
        (up, _), (value, slope), (down, _) = (
            map(np.asarray, run(KINK_FREE + h)) for h in (1e-6, 0, -1e-6)
        )
    np.testing.assert_allclose(value, KINK_FREE * np.tanh(np.logaddexp(0, KINK_FREE)), atol=1e-12)
    np.testing.assert_allclose(slope, (up - down) / 2e-6, atol=1e-8)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"'thanh'.*did you mean 'tanh'"):
        activations.value_and_slope("thanh", np.zeros(1))


# Selection


def test_select_is_the_function_in_value_and_gradient_under_a_batched_index():
    z = np.linspace(-5, 5, 41, dtype=np.float32)  # 0 included
    weights = np.cos(3 * z)

    def values_and_gradient(function):
        value, pull = jax.vjp(function, z)
        return function(z), value, *pull(weights)

    @jax.jit
    def both(which):
        selected = lambda i: values_and_gradient(lambda z: activations.select(i, z))
        plain = [values_and_gradient(activation.function) for activation in activations.TABLE]
        return jax.vmap(selected)(which), plain

    which = np.arange(len(activations.TABLE))[::-1]
    selected, plain = both(which)
    np.testing.assert_allclose(np.stack(selected, axis=1)[::-1], plain, atol=2e-6)


@every_activation
def test_an_index_is_the_place_of_a_name(activation):
    place = activations.index(activation.name)
    assert activations.TABLE[place] is activations.find(activation.name) is activation


def test_the_steepest_slope_is_that_of_the_whole_line():
    expected = {"relu": 1, "leaky_relu": 1, "tanh": 1, "sigmoid": 0.25, "sine": 1, "linear": 1}
    expected |= {"gelu": 1.12899, "swish": 1.09984, "softplus": 1, "elu": 1}
    for name, slope in expected.items():
        assert activations.steepest(name) == pytest.approx(slope, abs=1e-4)
        assert activations.steepest(activations.index(name)) == pytest.approx(slope, abs=1e-4)
