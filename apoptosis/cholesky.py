"""Symmetric positive definite systems of equations, also many batches of them in one program.

By `jax.scipy.linalg`, but not on CPUs: there a batched call of it hands its matrices to the threads
of XLA, one of which it runs on, and waits; as soon as every thread waits, so it does for ever
(jaxlib 0.10). Plain array operations do without.

Shapes: `N` equations, `M` right-hand sides.
"""

import jax
import jax.numpy as jnp
from jax.scipy import linalg

_ROWS = 32  # of a block: about as many turns of the outer loop as of the inner one, for N of 1000


def factor(matrix: jax.Array) -> jax.Array:
    """What `solve` needs of a symmetric `matrix [N, N]` = LLᵀ: `[N, N]`, L⁻¹ on CPUs, else Lᵀ.

    With NaN where the matrix is not positive definite, as far as rounding errors can tell.
    """
    library = lambda matrix: linalg.cho_factor(matrix)[0]
    return jax.lax.platform_dependent(matrix, cpu=inverse_factor, default=library)


def solve(factor: jax.Array, right: jax.Array) -> jax.Array:
    """`X [N, M]` with LLᵀX = `right [N, M]`, by the `factor [N, N]` of the matrix."""
    plain = lambda inverse, right: _product(inverse.T, _product(inverse, right))
    library = lambda upper, right: linalg.cho_solve((upper, False), right)
    return jax.lax.platform_dependent(factor, right, cpu=plain, default=library)


def inverse_factor(matrix: jax.Array, rows: int = _ROWS) -> jax.Array:
    """`L⁻¹ [N, N]`, lower triangular, of the symmetric `matrix [N, N]` = LLᵀ.

    Outer-product Cholesky in blocks of so many `rows` (Golub & Van Loan 2013, §4.2), done to the
    matrix and the identity beside it: what makes Lᵀ of the one makes L⁻¹ of the other. As columns
    of the one end where those of the other begin, both share an array. NaN where the matrix is
    not positive definite, as far as its rounding errors can tell. Raises ValueError for a matrix
    that is not square, or fewer rows than 1.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix must be of shape [N, N], got {list(matrix.shape)}")
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    n = len(matrix)
    rows = min(rows, n)
    size = n + -n % rows
    whole = jnp.eye(size, dtype=matrix.dtype).at[:n, :n].set(matrix)
    columns, unit = jnp.arange(size), jnp.eye(rows, dtype=matrix.dtype)

    def step(k, whole):
        start = k * rows
        own = jax.lax.dynamic_slice_in_dim(whole, start, rows)
        square = jax.lax.dynamic_slice_in_dim(own, start, rows, 1)
        inverse = _inverse_root(square) if rows == 1 else inverse_factor(square, 1)
        own = _product(inverse, jax.lax.dynamic_update_slice_in_dim(own, unit, start, 1))
        later = columns >= start + rows
        rest = jnp.where(later | (columns < start), whole, 0)
        rest -= _product(jnp.where(later, own, 0).T, own)
        return jax.lax.dynamic_update_slice_in_dim(rest, own, start, 0)

    return jax.lax.fori_loop(0, size // rows, step, whole)[:n, :n]


def _inverse_root(pivot):
    return jnp.where(pivot > 0, jax.lax.rsqrt(pivot), jnp.nan)


def _product(a, b):
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
