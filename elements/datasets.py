"""Two-dimensional binary problems, as pure functions of a key, a size and a noise.

A dataset is a `shape`: it turns uniform and normal draws and labels into N points. Labels
alternate, 0 first, and point i rests on draws of its own: any prefix is balanced, and the first n
of N points are those of a sample of n. Adding a dataset is a function and a line in `TABLE`. All
share the same two draws, so one program that samples any of them compiles one random generator.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from elements import names


class Draws(NamedTuple):
    """What a shape is made of: `u` and `v` uniform on [0, 1) `[N]`, `normal [2, N]`."""

    u: jax.Array
    v: jax.Array
    normal: jax.Array


class Points(NamedTuple):
    """`x [2, N]` points, `y [N]` labels 0. or 1."""

    x: jax.Array
    y: jax.Array


class Form(NamedTuple):
    """Traced parameters of the shapes: cells per side of the checkerboard, gap of `linear`."""

    grid: jax.Array | int = 4
    margin: jax.Array | float = 1.0


@dataclasses.dataclass(frozen=True)
class Dataset:
    """`shape(draws, y, noise, form) -> x [2, N]`; `noise` is the default of its noise."""

    name: str
    shape: Callable
    noise: float
    description: str
    chance: float = 0.5  # accuracy of the best constant prediction: the labels are balanced


def _polar(radius, angle):
    return jnp.stack([radius * jnp.cos(angle), radius * jnp.sin(angle)])


def _xor(draws, y, noise, form):
    # A second coin places a point in one of its label's two corners.
    a = jnp.where(draws.u < 0.5, 1.0, -1.0)
    return jnp.stack([a, jnp.where(y > 0, -a, a)]) + noise * draws.normal


def _spirals(draws, y, noise, form):
    angle = jnp.sqrt(draws.u) * 1.5 * 2 * math.pi
    arm = _polar(2 * angle / (3 * math.pi), angle)
    return jnp.where(y > 0, -arm, arm) + noise * draws.normal


def _moons(draws, y, noise, form):
    t = math.pi * draws.u
    upper = jnp.stack([jnp.cos(t), jnp.sin(t)])
    lower = jnp.stack([1 - jnp.cos(t), 0.5 - jnp.sin(t)])
    return jnp.where(y > 0, lower, upper) + noise * draws.normal


def _circles(draws, y, noise, form):
    radius = jnp.where(y > 0, 0.5, 1.0) + noise * draws.normal[0]
    return _polar(radius, 2 * math.pi * draws.u)


def _gaussian_clusters(draws, y, noise, form):
    # Centres at 0°, 90°, 180°, 270° with labels 0, 1, 0, 1.
    quarter = y + 2 * jnp.floor(2 * draws.u)
    return _polar(jnp.full_like(y, 1.5), quarter * (math.pi / 2)) + noise * draws.normal


def _checkerboard(draws, y, noise, form):
    # A cell among those of the label's colour, then a uniform place within it.
    grid = jnp.asarray(form.grid, draws.u.dtype)
    cells = jnp.ceil((grid * grid - y) / 2)
    cell = jnp.minimum(jnp.floor(draws.u * cells), cells - 1)
    within = draws.u * cells - cell  # what is left of u is uniform again
    number = 2 * cell + y
    row = jnp.floor(number / grid)
    column = number - row * grid
    # In a board of even side every other row starts with the other colour.
    even = jnp.mod(grid, 2) == 0
    column = jnp.where(
        even & (jnp.mod(row, 2) == 1), column + jnp.where(jnp.mod(column, 2) == 0, 1, -1), column
    )
    place = jnp.stack([column + within, row + draws.v])
    return place * (2 / grid) - 1 + noise * draws.normal


def _rings(draws, y, noise, form):
    # Radii 1, 2, 3 with labels 0, 1, 0: half of all points lie on the middle ring.
    outer = 1 + 2 * jnp.floor(2 * draws.v)
    radius = jnp.where(y > 0, 2.0, outer) + noise * draws.normal[0]
    return _polar(radius, 2 * math.pi * draws.u)


def _swiss_roll(draws, y, noise, form):
    # t ∈ 1.5π·[1, 3]; the label is whether t lies above its median, here above the middle.
    t = 1.5 * math.pi * (1 + 2 * (draws.u + y) / 2)
    return _polar(t / (4.5 * math.pi), t) + noise * draws.normal


def _linear(draws, y, noise, form):
    # Two blobs whose means lie `margin` from the origin on either side, along the diagonal.
    side = jnp.where(y > 0, 1.0, -1.0) * form.margin / math.sqrt(2)
    return jnp.stack([side, side]) + noise * draws.normal


TABLE = (
    Dataset("xor", _xor, 0.1, "four corners (±1, ±1), equal signs against unequal"),
    Dataset("spirals", _spirals, 0.2, "two arms of 1.5 turns"),
    Dataset("moons", _moons, 0.1, "two interleaved half circles"),
    Dataset("circles", _circles, 0.1, "radius 1 around radius 0.5, noise on the radius"),
    Dataset("gaussian_clusters", _gaussian_clusters, 0.3, "4 clusters at radius 1.5, alternating"),
    Dataset("checkerboard", _checkerboard, 0.0, "a board of grid × grid cells on [−1, 1]²"),
    Dataset("rings", _rings, 0.1, "radii 1 and 3 against 2, noise on the radius"),
    Dataset("swiss_roll_2d", _swiss_roll, 0.02, "the inner half of a roll against the outer"),
    Dataset("linear", _linear, 0.5, "two blobs, each `margin` from the origin"),
)

NAMES = tuple(dataset.name for dataset in TABLE)


def find(name: str) -> Dataset:
    """The dataset called `name`; raises ValueError naming the near miss."""
    return TABLE[names.find(name, NAMES, "dataset")]


def index(name: str) -> int:
    """Position of `name` in `TABLE`: what a traced dataset is."""
    return names.find(name, NAMES, "dataset")


def sample(key, dataset, n: int, noise=None, form: Form | None = None) -> Points:
    """`n` points of `dataset`, a name or a traced index into `TABLE`.

    The labels are balanced: 0, 1, 0, 1, …. `noise` may be traced; None takes the dataset's own
    default. Raises ValueError for an unknown name, n < 2 or a negative noise.
    """
    if n < 2:
        raise ValueError(f"n must be at least 2 (a point of each label), got {n}")
    traced = noise is None or isinstance(noise, jax.core.Tracer)
    if not traced and not noise >= 0:
        raise ValueError(f"noise must not be negative, got {noise}")
    which = index(dataset) if isinstance(dataset, str) else dataset
    if noise is None:
        noise = jnp.asarray([d.noise for d in TABLE])[which]
    form = Form() if form is None else form
    uniform_key, normal_key = jax.random.split(key)
    # [n, 2] and not [2, n]: the draws of a prefix are a prefix of the draws.
    uniform = jax.random.uniform(uniform_key, (n, 2)).T
    draws = Draws(uniform[0], uniform[1], jax.random.normal(normal_key, (n, 2)).T)
    y = labels(n).astype(draws.u.dtype)
    shapes = [dataset.shape for dataset in TABLE]
    return Points(lax.switch(which, shapes, draws, y, noise, form), y)


def labels(n: int) -> jax.Array:
    """`[n]` labels as `sample` gives them, before any is flipped: 0, 1, 0, 1, …."""
    return jnp.arange(n) % 2
