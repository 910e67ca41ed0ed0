"""Every dataset has the geometry it is described by, balanced labels and its own noise.

Without noise each of the N points must lie on its curve; with noise, the same draws must move it by
a normal deviate of the stated size.
"""

import jax
import numpy as np
import pytest
import scipy.stats

from elements import datasets
from tests import tolerance

N = 10_000
NOISE = {
    "xor": 0.1,
    "spirals": 0.2,
    "moons": 0.1,
    "circles": 0.1,
    "gaussian_clusters": 0.3,
    "checkerboard": 0,
    "rings": 0.1,
    "swiss_roll_2d": 0.02,
    "linear": 0.5,
}
every_dataset = pytest.mark.parametrize("name", datasets.NAMES)


@jax.jit
def _draw(seed, which, noise, form):
    return datasets.sample(jax.random.key(seed), which, N, noise, form)


def draw(name, noise=0.0, grid=4, margin=1.0, seed=0):
    """Points in float64 from the one program that most of these tests share."""
    form = datasets.Form(np.int32(grid), np.float32(margin))
    points = _draw(seed, datasets.index(name), np.float32(noise), form)
    return datasets.Points(*(np.asarray(a, np.float64) for a in points))


def polar(x):
    return np.hypot(*x), np.arctan2(x[1], x[0]) % (2 * np.pi)


def same_angle(a, b):
    return np.abs(np.exp(1j * a) - np.exp(1j * b)).max() < 1e-4


def evenly_spread(values, low, high):
    """Uniform on [low, high]? A true uniform fails this once in a million seeds."""
    return scipy.stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-6


def a_quarter(*events):
    shares = np.mean(events, axis=1)
    return tolerance.within_sampling_error(shares, 0.25, np.sqrt(0.25 * 0.75 / N))


def test_the_table_is_the_specified_one():
    assert {dataset.name: dataset.noise for dataset in datasets.TABLE} == NOISE


@every_dataset
def test_shapes_and_balance(name):
    x, y = datasets.sample(jax.random.key(0), name, 7)
    assert (x.shape, x.dtype, y.dtype) == ((2, 7), np.float32, np.float32)
    assert y.tolist() == [0, 1, 0, 1, 0, 1, 0]
    more = datasets.sample(jax.random.key(0), name, 12)
    np.testing.assert_array_equal(more.x[:, :7], x)  # a sample is a part of any larger one


@every_dataset
def test_the_chance_level_is_that_of_a_constant_prediction(name):
    _, y = draw(name)
    assert datasets.find(name).chance == max(np.mean(y == 0), np.mean(y == 1))


@every_dataset
def test_the_key_alone_decides(name):
    for noise, chance in ((0.1, 0.01), (0, 1 if name == "linear" else 0.8)):
        first, again, other = (draw(name, noise, seed=seed).x for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert np.mean(first == other) <= chance


@every_dataset
def test_a_traced_index_is_the_name(name):
    """Which also holds the default noise, the default grid of 4 and the default margin of 1."""
    by_name = datasets.sample(jax.random.key(0), name, N)
    np.testing.assert_allclose(by_name.x, draw(name, NOISE[name]).x, atol=1e-5)


@every_dataset
def test_the_noise_is_normal_of_its_size_and_related_to_nothing(name):
    size = 0.05
    clean, noisy = draw(name).x, draw(name, size).x
    if name in ("circles", "rings"):
        (r, angle), (moved, moved_angle) = polar(clean), polar(noisy)
        assert same_angle(angle, moved_angle)
        deviates = [(moved - r) / size]
    else:
        deviates = (noisy - clean) / size
    assert all(scipy.stats.kstest(d, "norm").pvalue > 1e-6 for d in deviates)
    related = np.corrcoef([*clean, *deviates])[2:] - np.eye(2 + len(deviates))[2:]
    assert tolerance.within_sampling_error(related, 0, 1 / np.sqrt(N))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("xor", 10, -0.1), "noise must not be negative, got -0.1"),
        (("xor", 1), "n must be at least 2"),
        (("spiral", 10), "unknown dataset 'spiral'; did you mean 'spirals'"),
    ],
)
def test_nonsense_is_refused_in_words(arguments, message):
    with pytest.raises(ValueError, match=message):
        datasets.sample(jax.random.key(0), *arguments)


# One by one, without noise


def test_xor_has_four_corners():
    x, y = draw("xor")
    assert (np.abs(x) == 1).all()
    np.testing.assert_array_equal(y, x[0] != x[1])
    corner = x[0] + 2 * x[1]  # four different numbers
    assert a_quarter(*(corner == c for c in (-3, -1, 1, 3)))


def test_spirals_have_two_opposite_arms_of_one_and_a_half_turns():
    x, y = draw("spirals")
    r, angle = polar(np.where(y > 0, -x, x))
    theta = r * 3 * np.pi / 2
    assert same_angle(theta, angle)
    assert evenly_spread((theta / (1.5 * 2 * np.pi)) ** 2, 0, 1)


def test_moons_are_interleaved_half_circles():
    x, y = draw("moons")
    cosine, sine = np.where(y > 0, [1 - x[0], 0.5 - x[1]], x)
    np.testing.assert_allclose(np.hypot(cosine, sine), 1, atol=1e-6)
    assert evenly_spread(np.arctan2(sine, cosine), 0, np.pi)


def test_circles_have_radius_one_and_a_half():
    x, y = draw("circles")
    r, angle = polar(x)
    np.testing.assert_allclose(r, np.where(y > 0, 0.5, 1), atol=1e-6)
    assert evenly_spread(angle, 0, 2 * np.pi)


def test_gaussian_clusters_alternate_around_a_circle():
    x, y = draw("gaussian_clusters")
    r, angle = polar(x)
    np.testing.assert_allclose(r, 1.5, atol=1e-6)
    quarter = np.round(angle / (np.pi / 2)) % 4
    assert same_angle(angle, quarter * np.pi / 2)
    np.testing.assert_array_equal(y, quarter % 2)
    assert a_quarter(*(quarter == q for q in range(4)))


@pytest.mark.parametrize("grid", [2, 3, 4, 5])
def test_a_checkerboard_is_uniform_within_its_colours(grid):
    x, y = draw("checkerboard", grid=grid)
    assert (np.abs(x) <= 1).all()
    row, column = np.floor((x + 1) / 2 * grid)
    np.testing.assert_array_equal(y, (row + column) % 2)
    fine = np.floor((x + 1) / 2 * 3 * grid)  # nine ninths of every cell
    for colour in (0, 1):
        _, counts = np.unique(fine[:, y == colour], axis=1, return_counts=True)
        assert len(counts) == 9 * ((grid * grid + 1 - colour) // 2)
        assert scipy.stats.chisquare(counts).pvalue > 1e-6


def test_rings_alternate():
    x, y = draw("rings")
    r, angle = polar(x)
    ring = np.round(r)
    np.testing.assert_allclose(r, ring, atol=1e-5)
    np.testing.assert_array_equal(y, ring == 2)
    assert a_quarter(ring == 1, ring == 3)
    assert all(evenly_spread(angle[ring == k], 0, 2 * np.pi) for k in (1, 2, 3))


def test_the_swiss_roll_is_cut_at_its_median():
    x, y = draw("swiss_roll_2d")
    r, angle = polar(x)
    t = r * 4.5 * np.pi
    assert same_angle(t, angle)
    assert evenly_spread(t, 1.5 * np.pi, 4.5 * np.pi)
    np.testing.assert_array_equal(y, t > np.median(t))


@pytest.mark.parametrize("margin", [0.5, 2.0])
def test_linear_blobs_lie_a_margin_from_the_origin(margin):
    x, y = draw("linear", margin=margin)
    side = np.where(y > 0, 1, -1) * margin / np.sqrt(2)
    np.testing.assert_allclose(x, [side, side], rtol=1e-6)
