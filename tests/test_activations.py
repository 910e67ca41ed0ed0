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


# Softplus


def test_softplus_is_that_of_jax():
    z = np.linspace(-40, 40, 8001, dtype=np.float32)  # 0 included
    own, theirs = activations.find("softplus").function, jax.nn.softplus
    (value, slope), (expected, sigmoid) = jax.jit(
        lambda z: [value_and_slope(f, z) for f in (own, theirs)]
    )(z)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(slope, sigmoid, rtol=2e-6)


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
