"""The plain Cholesky factorisation against LAPACK, by NumPy and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from apoptosis import cholesky

BLOCK = 32  # rows of a block, by default


def matrix(size, condition, seed=0):
    """Symmetric, eigenvalues evenly spread over the logarithms from 1 to 1 / `condition`."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    own = (basis * np.geomspace(1, 1 / condition, size)) @ basis.T
    return ((own + own.T) / 2).astype(np.float32)


def right(size):
    return np.random.default_rng(1).normal(size=(size, 3)).astype(np.float32)


@jax.jit
def solved(a, b):
    return cholesky.inverse_factor(a), cholesky.solve(cholesky.factor(a), b)


@pytest.mark.parametrize("size", [1, 5, BLOCK, BLOCK + 1, 3 * BLOCK - 2])
def test_the_factor_and_the_solution_are_those_of_lapack(size):
    a, b = matrix(size, 10), right(size)
    inverse, x = solved(a, b)
    exact = a.astype(np.float64)
    np.testing.assert_allclose(inverse, np.linalg.inv(np.linalg.cholesky(exact)), atol=5e-6)
    np.testing.assert_array_equal(inverse, np.tril(inverse))
    np.testing.assert_allclose(x, np.linalg.solve(exact, b), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("size", [BLOCK + 1, 3 * BLOCK - 2])
@pytest.mark.parametrize("condition", [1e4, 1e6])
def test_of_an_ill_conditioned_matrix_it_loses_little_more_than_lapack(size, condition):
    a, b = matrix(size, condition), right(size)
    exact = np.linalg.solve(a.astype(np.float64), b)
    miss = lambda x: np.abs(x - exact).max()
    theirs = linalg.cho_solve(linalg.cho_factor(a), b)  # NumPy's own would be of float64
    assert theirs.dtype == np.float32
    _, x = solved(a, b)
    assert miss(x) < 4 * miss(theirs)
    assert miss(x) < 0.05 * np.abs(exact).max()


def test_blocks_of_every_size_agree():
    a = matrix(13, 10)
    found = [cholesky.inverse_factor(a, rows) for rows in (1, 4, 13, 20)]
    for own in found[1:]:
        np.testing.assert_allclose(own, found[0], atol=2e-6)


@pytest.mark.parametrize("worst", [-0.5, 0.0, np.nan])
@pytest.mark.parametrize(("size", "place"), [(1, 0), (33, 0), (33, 31), (33, 32)])
def test_what_is_not_positive_definite_gives_nan(worst, size, place):
    a = np.eye(size, dtype=np.float32)
    a[place, place] = worst
    inverse, x = solved(a, right(size))
    assert np.isnan(inverse).any()
    assert np.isnan(x).any(0).all()


def test_a_batch_is_each_alone_and_what_fails_spoils_no_other():
    size = BLOCK + 1
    batch = np.stack([matrix(size, 10), -matrix(size, 10), matrix(size, 100, 2)])
    b = np.stack([right(size)] * 3)
    inverse, x = jax.vmap(solved)(batch, b)
    assert np.isnan(inverse[1]).any()
    for place in (0, 2):
        alone = solved(batch[place], b[place])
        np.testing.assert_allclose(inverse[place], alone[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(x[place], alone[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("platform", "called"), [("cpu", False), ("cuda", True)])
def test_on_cpus_alone_no_call_waits_for_threads(platform, called):
    both = jax.jit(jax.vmap(lambda a, b: cholesky.solve(cholesky.factor(a), b)))
    traced = both.trace(jnp.ones((2, 64, 64)), jnp.ones((2, 64, 3)))
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("custom_call" in text) == called


def test_what_is_no_system_is_refused():
    with pytest.raises(ValueError, match=r"matrix must be of shape \[N, N\], got \[2, 3\]"):
        cholesky.inverse_factor(jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match="rows must be at least 1, got 0"):
        cholesky.inverse_factor(jnp.eye(2), 0)
