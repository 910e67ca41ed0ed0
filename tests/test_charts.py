"""Charts show the numbers they are given, unknown ones as unknown, and names that can be read."""

import itertools

import matplotlib.colors
import numpy as np
import pytest

from experiments.lab import charts, fits, statistics
from tests import test_report

NAMES = ["relu", "tanh"]
AT = np.array([0.0, 10.0, 30.0])
SHARES = np.array([[1.0, 0.5, 0.25], [1.0, np.nan, 0.0]])
COST = np.array([100.0, 10.0, 1000.0, 500.0])
VALUE = np.array([0.8, 0.7, 0.9, 0.6])
FRONT = [True, True, True, False]
POINTS = ["a", "b", "c", "d"]
GROUPS = ["one", "one", "two", "two"]
TABLE = np.array([[-0.02, 0.0, 0.03], [0.01, np.nan, -0.01]])

estimate, legend = test_report.estimate, test_report.legend


def survival(numbers, names=NAMES, at=AT):
    return charts.survival(at, numbers, names, title="t", xlabel="epoch", ylabel="%")


def scatter(cost, numbers, *, names=POINTS, groups=GROUPS, front=FRONT, **options):
    words = {"title": "t", "xlabel": "cost", "ylabel": "%"}
    return charts.scatter(cost, numbers, names, groups, front, **words, **options)


def matrix(numbers, columns=("x", "y", "z"), **options):
    return charts.matrix(numbers, NAMES, columns, title="t", label="points", **options)


def profile(numbers, **options):
    return charts.profile(AT + 1, numbers, NAMES, title="t", ylabel="norm", **options)


def segments(axes):
    """Both ends of all interval bars, as rounded (x, y, x, y)."""
    ends = [segment.ravel() for bars in axes.collections for segment in bars.get_segments()]
    return {tuple(map(float, np.round(end, 6))) for end in ends if len(end)}


# Survival


def test_survival_draws_steps_that_hold_until_the_next_moment():
    axes = survival(estimate(SHARES, 0.1)).axes[0]
    for line, shares in zip(axes.lines, SHARES, strict=True):
        assert line.get_drawstyle() == "steps-post"
        np.testing.assert_array_equal(line.get_ydata(), 100 * shares)
        np.testing.assert_array_equal(line.get_xdata(), AT)
    corners = axes.collections[0].get_paths()[0].vertices
    for start, end, share in ((0, 10, 100), (10, 30, 50)):
        for edge in (share - 10, share + 10):
            for moment in (start, end):
                assert np.isclose(corners, (moment, edge)).all(axis=-1).any()
    assert legend(axes.figure) == NAMES


# Scatter


@pytest.mark.parametrize("with_interval", [False, True])
def test_scatter_draws_points_and_intervals(with_interval):
    cost = statistics.Estimate(COST, COST / 2, COST * 3, 5) if with_interval else COST
    axes = scatter(cost, estimate(VALUE, 0.05)).axes[0]
    drawn = np.concatenate([line.get_xydata() for line in axes.lines[:2]])
    np.testing.assert_allclose(drawn, np.transpose([COST, 100 * VALUE]))
    expected = {(c, 100 * v - 5, c, 100 * v + 5) for c, v in zip(COST, VALUE, strict=True)}
    low, high = (COST / 2, COST * 3) if with_interval else (COST, COST)
    expected |= {(a, v, b, v) for a, b, v in zip(low, high, 100 * VALUE, strict=True)}
    assert segments(axes) == {tuple(map(float, np.round(each, 6))) for each in expected}
    assert legend(axes.figure) == ["one", "two", "Pareto front"]
    assert axes.get_xscale() == "log"


def test_scatter_joins_the_front_by_cost_and_names_it():
    axes = scatter(COST, estimate(VALUE)).axes[0]
    line = axes.lines[2]
    np.testing.assert_allclose(line.get_xydata(), [(10, 70), (100, 80), (1000, 90)])
    assert line.get_drawstyle() == "steps-post"
    assert [text.get_text() for text in axes.texts if text.get_text()] == ["b", "a", "c"]


def test_scatter_tells_groups_apart():
    first, second, _ = scatter(COST, estimate(VALUE)).axes[0].lines
    assert first.get_color() != second.get_color()
    assert first.get_marker() != second.get_marker()


def test_scatter_writes_names_beside_each_other_and_inside():
    generator = np.random.default_rng(0)
    cost = np.exp(generator.uniform(4, 10, 40))
    value = 0.6 + 0.035 * np.log(cost / 50) + generator.normal(0, 0.04, 40)
    names = [f"rel-{arm}x16" for arm in range(40)]
    options = {"names": names, "groups": ["all"] * 40, "front": fits.pareto(cost, value)}
    axes = scatter(cost, estimate(value), **options).axes[0]
    boxes = [text.get_window_extent().extents for text in axes.texts if text.get_text()]
    assert len(boxes) == np.sum(options["front"]) > 5
    inside = axes.get_window_extent().extents
    for box in boxes:
        assert (box[:2] >= inside[:2]).all()
        assert (box[2:] <= inside[2:]).all()
    for one, other in itertools.combinations(boxes, 2):
        assert (one[2:] <= other[:2]).any() or (other[2:] <= one[:2]).any()


def test_scatter_counts_names_that_share_a_point():
    cost, value = np.array([10.0, 10, 10, 500]), np.array([0.5, 0.5, 0.5, 0.4])
    axes = scatter(cost, estimate(value)).axes[0]
    assert [text.get_text() for text in axes.texts] == ["a +2"]


@pytest.mark.parametrize("place", ["value", "cost", "cost not positive"])
def test_scatter_names_what_cannot_be_placed(place):
    cost, value = COST.copy(), VALUE.copy()
    if place == "value":
        value[0] = np.nan
    else:
        cost[0] = np.inf if place == "cost" else 0
    axes = scatter(cost, estimate(value)).axes[0]
    assert legend(axes.figure) == ["one", "two", "Pareto front", "– a"]
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [(10, 70)])
    assert [text.get_text() for text in axes.texts] == ["b", "c"]


def test_scatter_runs_infinite_limits_to_the_edge_and_leaves_out_unknown_ones():
    high, low = VALUE + 0.05, VALUE - 0.05
    high[0], low[1] = np.inf, np.nan
    axes = scatter(COST, statistics.Estimate(VALUE, low, high, 5)).axes[0]
    uprights = {bar[0]: bar for bar in segments(axes) if bar[0] == bar[2] and bar[1] != bar[3]}
    assert uprights[100][3] == pytest.approx(axes.get_ylim()[1])
    np.testing.assert_allclose(uprights[1000], (1000, 85, 1000, 95))
    assert 10 not in uprights


@pytest.mark.parametrize("xscale", ["linear", "log"])
def test_scatter_of_nothing_known_can_be_drawn(xscale, tmp_path):
    figure = scatter(COST, estimate(VALUE * np.nan), xscale=xscale)
    figure.savefig(tmp_path / "scatter.png")
    assert legend(figure)[3:] == ["– a", "– b", "– c", "– d"]


# Matrix


@pytest.mark.parametrize("centre", [0, 0.02])
def test_diverging_colours_lie_equally_far_around_the_centre(centre):
    axes = matrix(estimate(TABLE), diverging=True, centre=centre).axes[0]
    mesh = axes.collections[0]
    np.testing.assert_allclose(
        mesh.get_clim(), 100 * centre + np.array([-1, 1]) * (3 + 50 * centre)
    )
    below, middle, above = mesh.to_rgba(100 * centre + np.array([-2.0, 0, 2]))
    assert below[2] > below[0]
    assert above[0] > above[2]
    assert middle[:3].min() > 0.9


@pytest.mark.parametrize("kind", test_report.BLINDNESS)
def test_diverging_colours_stay_apart_for_colour_blind_readers(kind):
    ends = matplotlib.colormaps[charts.DIVERGING]([0.15, 0.85])
    seen = [np.asarray(test_report.BLINDNESS[kind]) @ test_report.linear(end) for end in ends]
    assert np.linalg.norm(seen[0] - seen[1]) > 0.25  # black and white are 1.73 apart


def test_matrix_text_is_readable_on_every_colour():
    value = np.linspace(-1, 1, 200).reshape(20, 10)
    words = {"title": "", "label": "", "diverging": True}
    axes = charts.matrix(estimate(value), "r" * 20, "c" * 10, **words).axes[0]
    faces = axes.collections[0].to_rgba(100 * value).reshape(-1, 4)
    inks = [text.get_color() for text in axes.texts[::2]]
    assert {*inks} == {"black", "white"}
    assert min(map(test_report.contrast, faces, inks)) >= 4.5


def test_matrix_writes_numbers_and_shows_unknown_ones_as_in_the_table():
    axes = matrix(estimate(TABLE), diverging=True).axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts[:6] == ["−2.0", "±1.0", "0.0", "±1.0", "3.0", "±1.0"]
    assert texts[8] == "–"
    assert axes.texts[8].get_color() == "0.25"
    plain = matrix(estimate(TABLE)).axes[0].collections[0]
    assert (plain.get_cmap().name, plain.get_clim()) == ("viridis", (-2, 3))


def test_matrix_of_equal_or_unknown_values_can_be_drawn(tmp_path):
    for value in (0.0, np.nan):
        matrix(estimate(np.full((2, 3), value)), diverging=True).savefig(tmp_path / "matrix.png")


@pytest.mark.parametrize(("name", "turned"), [("rings", False), ("tested on checkerboards", True)])
def test_matrix_turns_names_that_are_wider_than_a_tile(name, turned):
    axes = matrix(estimate(np.ones((2, 8))), [f"{name} {i}" for i in range(8)]).axes[0]
    angles = {label.get_rotation() for label in axes.get_xticklabels()}
    assert angles == {40.0 if turned else 0.0}


# Profile


def test_a_profile_is_bands_on_a_logarithmic_axis():
    value = np.array([[1e-3, 1e-5, 0.0], [2.0, np.nan, 0.1]])
    axes = profile(statistics.Estimate(value, value / 2, value * 2, 5)).axes[0]
    assert axes.get_yscale() == "log"
    np.testing.assert_array_equal([line.get_ydata() for line in axes.lines], value)
    low, high = axes.get_ylim()
    assert 0 < low <= 1e-5
    assert high >= 2
    assert profile(estimate(value), yscale="linear").axes[0].get_yscale() == "linear"


# Refusals

REFUSED = [
    (
        lambda: survival(estimate(SHARES), ["a"]),
        r"estimate\.value .* 1 arms × 3 moments, got \(2, 3",
    ),
    (lambda: survival(estimate(SHARES), at=[1]), r"estimate\.value .* 2 arms × 1 moments"),
    (lambda: scatter(COST[:3], estimate(VALUE)), r"cost must .* 4 points, got \(3,\)"),
    (lambda: scatter(estimate(COST[:3]), estimate(VALUE)), r"cost\.value must .* got \(3,\)"),
    (lambda: scatter(COST, estimate(VALUE[:3])), r"estimate\.value must .* 4 points, got \(3,\)"),
    (lambda: scatter(COST, estimate(VALUE), groups=["a"]), r"groups must .* got \(1,\)"),
    (lambda: scatter(COST, estimate(VALUE), front=[True]), r"front must .* got \(1,\)"),
    (lambda: matrix(estimate(TABLE.T)), r"estimate\.value must .* 2 rows × 3 columns, got \(3, 2"),
    (lambda: matrix(estimate(TABLE), diverging=True, vmin=0), r"vmin and vmax follow from centre"),
    (lambda: profile(estimate(TABLE[:, :2])), r"estimate\.value .* 3 positions, got \(2, 2\)"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_bad_input_is_refused_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()
