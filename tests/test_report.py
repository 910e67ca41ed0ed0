"""Figures show the numbers they are given; a report is whole, safe and always the same bytes."""

import html.parser
import itertools
import re
import struct

import matplotlib.colors
import numpy as np
import pytest

from experiments.lab import figures, statistics
from experiments.shell import report, storage

ROWS, COLUMNS = ["relu", "tanh"], ["1", "2", "3"]
VALUES = np.array([[0.5, 0.625, 0.75], [0.8, 0.973, 1.0]])  # [row or arm, column or position]
X = [1, 2, 4]
WORDS = {"title": "a title", "xlabel": "across"}
# Machado, Oliveira and Fernandes (2009): what linear RGB becomes without one kind of cone.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
}


def estimate(value, half=0.01):
    value = np.asarray(value, float)
    return statistics.Estimate(value, value - half, value + half, 5)


def table(numbers, **options):
    return figures.table(numbers, ROWS, COLUMNS, title="a title", label="accuracy", **options)


def bands(numbers, names=ROWS, **options):
    return figures.bands(X, numbers, names, ylabel="up", **WORDS, **options)


def panels(numbers, names, **options):
    return figures.panels(X, numbers, names, ROWS, ylabel="up", **WORDS, **options)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def linear(colour):
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(first, second):
    """The contrast ratio of WCAG 2.2, from 1 to 21; ordinary text needs 4.5."""
    dark, light = sorted(linear(colour) @ (0.2126, 0.7152, 0.0722) for colour in (first, second))
    return (light + 0.05) / (dark + 0.05)


def test_table_writes_value_and_half_width_into_its_tile():
    axes = table(statistics.Estimate(VALUES, VALUES - 0.02, VALUES + 0.01 * VALUES, 5)).axes[0]
    tiles = {}
    for text in axes.texts:  # an asymmetric interval: half of low to high, not high - value
        x, y = text.get_position()
        tiles.setdefault((int(y), int(x)), []).append(text.get_text())
    assert tiles == {
        **{(0, 0): ["50.0", "±1.2"], (0, 1): ["62.5", "±1.3"], (0, 2): ["75.0", "±1.4"]},
        **{(1, 0): ["80.0", "±1.4"], (1, 1): ["97.3", "±1.5"], (1, 2): ["100.0", "±1.5"]},
    }
    assert [label.get_text() for label in axes.get_yticklabels()] == ROWS
    assert [label.get_text() for label in axes.get_xticklabels()] == COLUMNS
    assert axes.yaxis_inverted()  # the first row is at the top


def test_table_shows_an_unknown_value_as_a_dash_on_an_uncoloured_tile():
    value = np.where(VALUES == 0.973, np.nan, VALUES)
    axes = table(estimate(value), symbols=[["R1", "R2", "R3"], ["T1", "T2", "T3"]]).axes[0]
    assert texts(axes)[-8:] == ["80.0", "±1.0", "T1", "–", "T2", "100.0", "±1.0", "T3"]
    mask = np.ma.getmaskarray(axes.collections[0].get_array())
    np.testing.assert_array_equal(mask, np.isnan(value))


def test_table_shows_an_unknown_interval_as_a_dash():
    assert texts(table(estimate(VALUES, half=np.nan)).axes[0])[:2] == ["50.0", "±–"]


@pytest.mark.parametrize("value", [np.nan, 0.5])
def test_table_of_equal_or_unknown_values_can_be_drawn(value, tmp_path):
    table(estimate(np.full((2, 3), value))).savefig(tmp_path / "table.png")


def test_table_colours_span_the_limits_given():
    mesh = table(estimate(VALUES), vmin=0.25, vmax=1).axes[0].collections[0]
    assert mesh.get_clim() == (25, 100)


def test_table_text_is_readable_on_every_colour():
    value = np.linspace(0, 1, 200).reshape(20, 10)
    axes = figures.table(estimate(value), "r" * 20, "c" * 10, title="", label="").axes[0]
    faces = axes.collections[0].to_rgba(100 * value).reshape(-1, 4)
    inks = [text.get_color() for text in axes.texts[::2]]
    assert {*inks} == {"black", "white"}
    assert min(map(contrast, faces, inks)) >= 4.5


@pytest.mark.parametrize("kind", BLINDNESS)
def test_arm_colours_stay_apart_for_colour_blind_readers(kind):
    seen = [np.asarray(BLINDNESS[kind]) @ linear(colour) for colour in figures.COLOURS]
    apart = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
    assert min(apart) > 0.1  # black and white are 1.73 apart


def test_bands_draw_value_interval_and_chance():
    axes = bands(estimate(VALUES), chance=0.25).axes[0]
    for arm, band in enumerate(axes.collections):
        np.testing.assert_allclose(axes.lines[arm].get_ydata(), 100 * VALUES[arm])
        corners = band.get_paths()[0].vertices
        for position, middle in zip(X, 100 * VALUES[arm], strict=True):
            y = corners[corners[:, 0] == position, 1]
            np.testing.assert_allclose([y.min(), y.max()], [middle - 1, middle + 1])
    np.testing.assert_allclose(axes.lines[-1].get_ydata(), 25)
    assert axes.lines[-1].get_linestyle() == ":"
    assert legend(axes.figure) == [*ROWS, "chance"]


def test_bands_tell_fifty_six_arms_apart():
    names = [f"arm {arm}" for arm in range(56)]
    lines = bands(estimate(np.ones((56, 3))), names).axes[0].lines
    looks = [(line.get_color(), line.get_marker(), str(line._dash_pattern)) for line in lines]
    assert len({*looks}) == 56
    assert len({colour for colour, _, _ in looks[:7]}) == 7
    assert len({marker for _, marker, _ in looks[:7]}) == 7


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_panels_draw_each_its_own_numbers_under_one_legend(count):
    value = np.stack([VALUES / (panel + 1) for panel in range(count)])
    names = [f"panel {panel}" for panel in range(count)]
    chances = np.linspace(0.1, 0.5, count)
    figure = panels(estimate(value), names, chance=chances)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == names
    for panel, axes in enumerate(shown):
        np.testing.assert_allclose(axes.lines[1].get_ydata(), 100 * value[panel, 1])
        np.testing.assert_allclose(axes.lines[-1].get_ydata(), 100 * chances[panel])
    assert legend(figure) == [*ROWS, "chance"]


def test_ranking_sorts_by_value_with_the_unknown_last():
    value, names = np.array([0.5, np.nan, 0.9]), ["low", "unknown", "high"]
    places = statistics.Estimate(np.array([2, 3, 1]), np.array([1, 3, 1]), np.array([2, 3, 1]), 5)
    axes = figures.ranking(estimate(value), names, ranks=places, **WORDS).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["high", "low", "unknown"]
    assert axes.yaxis_inverted()
    assert texts(axes) == ["1 [1, 1]", "2 [1, 2]", "–", "rank"]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [90, 50, np.nan])
    ends = [segment[:, 0] for segment in axes.collections[0].get_segments()[:2]]
    np.testing.assert_allclose(ends, [[89, 91], [49, 51]])
    assert texts(figures.ranking(estimate(value), names, **WORDS).axes[0])[0] == "90.0 [89.0, 91.0]"


def test_differences_shade_the_margin_and_write_signs():
    estimates = [estimate(-0.0001), estimate(0.03)]
    axes = figures.differences(estimates, ["a − b", "a − c"], 0.02, **WORDS).axes[0]
    assert texts(axes) == ["+0.0 [−1.0, +1.0]", "+3.0 [+2.0, +4.0]", "difference"]
    shade = axes.patches[0]
    assert (shade.get_x(), shade.get_width()) == (-2, 4)
    assert legend(axes.figure) == ["equivalence margin ±2.0"]


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda: table(estimate(VALUES.T)), r"estimate.value must have shape 2 rows × 3 columns"),
        (lambda: table(estimate(VALUES), symbols=[["a"]]), r"symbols must have .* got \(1, 1\)"),
        (lambda: table(estimate(VALUES)._replace(low=0.0)), r"estimate.low must have shape"),
        (lambda: bands(estimate(VALUES), ["one"]), "must have shape 1 arms × 3 positions"),
        (lambda: panels(estimate(VALUES), ["p"]), "must have shape 1 panels × 2 arms × 3 positio"),
        (lambda: panels(estimate([VALUES]), ["p"], chance=[0, 1]), "chance must have shape 1 pan"),
        (lambda: figures.ranking(estimate(VALUES), ROWS, **WORDS), r"shape 2 arms, got \(2, 3\)"),
        (
            lambda: figures.ranking(estimate([1, 2]), ROWS, ranks=estimate([1]), **WORDS),
            r"ranks.value must have shape 2 arms, got \(1,\)",
        ),
        (lambda: figures.differences([estimate(0)], ROWS, 1, **WORDS), "2 estimates .* got 1"),
        (lambda: figures.differences([estimate(0)], ["d"], 0, **WORDS), "margin must be positive"),
    ],
)
def test_figures_refuse_what_does_not_fit(draw, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw()


def example(**changes):
    contents = {
        "title": "title <script>",
        "question": "question <script>?",
        "findings": [("headline <script>", "sentence <script>")],
        "figures": {
            "z_first": (table(estimate(VALUES)), "caption <script>"),
            "a-second": (bands(estimate(VALUES)), "another caption"),
        },
        "tables": {"table <script>": (["<script>", "b"], [["<script>", "<script>"]], "<script>")},
        "facts": {"fact <script>": "value <script>", "trials": 5},
    }
    return report.Report(**{**contents, **changes})


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return report.write(tmp_path_factory.mktemp("run"), example())


def test_report_escapes_every_text(page):
    text = page.read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 13  # the title is also the window's


def test_report_reads_in_order(page):
    text = page.read_text()
    ids = re.findall(r'<section id="(\w+)">', text)
    assert ids == ["question", "findings", "figures", "tables", "measured"]
    assert re.findall(r'<img src="(.*?)"', text) == ["z_first.png", "a-second.png"]


def test_report_leaves_out_what_is_empty(tmp_path):
    path = report.write(tmp_path, example(findings=[], figures={}, tables={}))
    assert re.findall(r'<section id="(\w+)">', path.read_text()) == ["question", "measured"]


def test_report_closes_every_tag(page):
    opened = []

    class Balance(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "img"):
                opened.append(tag)

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Balance().feed(page.read_text())
    assert opened == []


def test_report_shows_images_of_the_declared_size(page):
    images = re.findall(r'<img src="(.*?)".*? width="(\d+)" height="(\d+)">', page.read_text())
    assert len(images) == 2
    for source, width, height in images:
        data = (page.parent / source).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert struct.unpack(">II", data[16:24]) == (int(width), int(height))
    files = {file.name for file in page.parent.iterdir()}
    assert files == {"report.html", "findings.json", *(source for source, _, _ in images)}


def test_report_needs_no_other_host(page):
    assert not re.search(r"https?:|src=\"//|url\(|@import|<link|<script", page.read_text())


def test_report_made_again_is_the_same_bytes(page, tmp_path):
    report.write(tmp_path, example())
    for file in page.parent.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


def test_report_writes_the_page_after_all_it_shows(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(storage, "write_bytes", lambda path, data: written.append(path))
    path = report.write(tmp_path, example())
    names = ("z_first.png", "a-second.png", "findings.json")
    assert written == [*(tmp_path / name for name in names), path]


def test_findings_are_written_with_their_verdicts_and_figures(tmp_path):
    report.write(tmp_path, example(), {"A headline": "higher"})
    told, made = storage.read_json(tmp_path / "findings.json"), example()
    assert (told["title"], told["question"]) == (made.title, made.question)
    assert told["findings"] == [list(pair) for pair in made.findings]
    assert told["verdicts"] == {"A headline": "higher"}
    captions = [(stem, caption) for stem, (_, caption) in made.figures.items()]
    assert [(f["stem"], f["caption"]) for f in told["figures"]] == captions


@pytest.mark.parametrize("stem", ["", "../up", "a b", "a/b", "a.png"])
def test_report_refuses_a_stem_that_is_no_plain_name(stem):
    with pytest.raises(ValueError, match="stem must be letters, digits"):
        example(figures={stem: (None, "")})


def test_report_refuses_a_row_that_does_not_fit_its_header():
    with pytest.raises(ValueError, match="each row of table 'short' must have 2 cells"):
        example(tables={"short": (["a", "b"], [["1", "2"], ["1"]], "")})
