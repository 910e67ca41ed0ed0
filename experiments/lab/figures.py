"""Figures of estimates: pure functions from numbers to a `matplotlib.figure.Figure`.

Nothing here knows what was measured: rows, columns, arms and panels arrive with their names. Every
number is drawn with its interval, and an unknown one (NaN) is shown as unknown. Figures are built
without pyplot, so they share no state and need no closing.

Shapes: `R` rows, `C` columns, `A` arms, `X` positions along the x axis, `P` panels. Estimates,
limits, chance levels and margins come in their own unit and are drawn times `unit` (100: fractions
as per cent). A shape that does not fit the names raises ValueError.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from experiments.lab import statistics

# Okabe and Ito (2008), without the yellow that vanishes on white. Seven colours against eight
# markers and four dashes: no two of the first 56 arms look the same, and the first seven differ in
# colour and in marker. Dots are kept for the chance level.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", (0, (5, 1.5)), (0, (6, 1.5, 1.5, 1.5)), (0, (2, 1)))

UNKNOWN = "–"


def table(
    estimate: statistics.Estimate,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title,
    label,
    xlabel="",
    ylabel="",
    symbols=None,
    unit=100,
    digits=1,
    vmin=None,
    vmax=None,
) -> Figure:
    """The periodic table: an `estimate` [R, C] as tiles of colour, value and half-width.

    `symbols` [R, C] are short strings for the tiles' corners; `label` explains the colour bar,
    which runs from `vmin` to `vmax`, by default the extremes of the values. Unknown tiles are
    hatched.
    """
    shape = {"rows": len(rows), "columns": len(columns)}
    value, low, high = scaled("estimate", estimate, unit, **shape)
    if symbols is not None:
        require("symbols", symbols, **shape)
    width = np.clip(8 / len(columns), 0.75, 1.3)
    figure = canvas(width * len(columns) + 2.4, 0.85 * len(rows) + 1.2)
    axes = figure.add_subplot()
    axes.patch.set(facecolor="0.94", edgecolor="0.82", hatch="///")  # seen through unknown tiles
    mesh = axes.pcolormesh(
        np.ma.masked_invalid(value),
        cmap="viridis",
        vmin=None if vmin is None else vmin * unit,
        vmax=None if vmax is None else vmax * unit,
        edgecolors="white",
        linewidth=3,
    )
    inks = np.where(np.isnan(value), "0.25", ink(mesh.to_rgba(value)))
    form = f".{digits}f"
    for row, column in np.ndindex(value.shape):
        number, half = value[row, column], (high - low)[row, column] / 2
        style = {"color": inks[row, column], "ha": "center", "va": "center", "in_layout": False}
        axes.text(column + 0.5, row + 0.48, _number(number, form), size=15, weight="bold", **style)
        if not np.isnan(number):
            axes.text(column + 0.5, row + 0.78, f"±{_number(half, form)}", size=10, **style)
        if symbols is not None:
            style |= {"ha": "left", "va": "top"}
            axes.text(column + 0.07, row + 0.1, symbols[row][column], size=9, **style)
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.tick_params(length=0, labelsize=11, labeltop=True, labelbottom=False)
    axes.xaxis.set_label_position("top")
    axes.set_xlabel(xlabel, size=11)
    axes.set_ylabel(ylabel, size=11)
    axes.set_ylim(len(rows), 0)
    axes.spines[:].set_visible(False)
    entitle(axes, title)
    figure.colorbar(mesh, label=label, aspect=30, pad=0.02).outline.set_visible(False)
    return figure


def bands(
    x,
    estimate: statistics.Estimate,
    names: Sequence[str],
    *,
    title,
    xlabel,
    ylabel,
    chance=None,
    unit=100,
    xscale="linear",
) -> Figure:
    """Lines over `x` [X] with interval bands, one for each arm of an `estimate` [A, X]."""
    curves = scaled("estimate", estimate, unit, arms=len(names), positions=len(x))
    figure = canvas(10, 4.8)
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    _draw_bands(axes, x, curves, names, chance, unit, xscale)
    entitle(axes, title)
    figure.legend(loc="outside right upper", frameon=False, handlelength=3.5)
    return figure


def panels(
    x,
    estimate: statistics.Estimate,
    panels: Sequence[str],
    names: Sequence[str],
    *,
    title,
    xlabel,
    ylabel,
    chance=None,
    unit=100,
    xscale="linear",
    share_y=True,
) -> Figure:
    """Small multiples of `bands`: a panel for each [A, X] of an `estimate` [P, A, X].

    `chance` is one level for all panels or one for each [P].
    """
    sizes = {"panels": len(panels), "arms": len(names), "positions": len(x)}
    curves = np.stack(scaled("estimate", estimate, unit, **sizes), axis=1)
    chances = chance if np.ndim(chance) else [chance] * len(panels)
    require("chance", chances, panels=len(panels))
    columns = 2 if len(panels) in (2, 4) else min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = canvas(10, 2.7 * rows + 1)
    grid = figure.subplots(rows, columns, sharex=True, sharey=share_y, squeeze=False).flat
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for panel, axes in enumerate(grid[: len(panels)]):
        _draw_bands(axes, x, curves[panel], names, chances[panel], unit, xscale)
        axes.set_title(panels[panel], loc="left", size=11)
        if panel % columns == 0:
            axes.set_ylabel(ylabel)
        if panel + columns >= len(panels):
            axes.set_xlabel(xlabel)
            axes.tick_params(labelbottom=True)
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, handlelength=3.5)
    return figure


def ranking(
    estimate: statistics.Estimate,
    names: Sequence[str],
    *,
    title,
    xlabel,
    ranks: statistics.Estimate | None = None,
    unit=100,
    digits=1,
) -> Figure:
    """Points and intervals of an `estimate` [A], highest at the top, unknown at the bottom.

    The column on the right gives the `ranks`, an estimate [A] in places, or else the numbers.
    """
    numbers = np.stack(scaled("estimate", estimate, unit, arms=len(names)))
    if ranks is None:
        heading, form, noted = "value", f".{digits}f", numbers
    else:
        heading, form, noted = "rank", ".3g", np.stack(scaled("ranks", ranks, 1, arms=len(names)))
    order = np.argsort(-numbers[0], kind="stable")
    notes = [_interval(noted[:, arm], form) for arm in order]
    names = [names[arm] for arm in order]
    figure, _ = _forest(numbers[:, order], names, notes, heading, title, xlabel)
    return figure


def differences(
    estimates: Sequence[statistics.Estimate],
    labels: Sequence[str],
    margin: float,
    *,
    title,
    xlabel,
    unit=100,
    digits=1,
) -> Figure:
    """Forest plot of differences, one scalar estimate each; up to ±`margin` is shaded."""
    if not margin > 0:
        raise ValueError(f"margin must be positive, got {margin}")
    if len(estimates) != len(labels):
        raise ValueError(
            f"there must be {len(labels)} estimates for as many labels, got {len(estimates)}"
        )
    numbers = np.transpose([(each.value, each.low, each.high) for each in estimates]) * unit
    notes = [_interval(each, f"+z.{digits}f") for each in numbers.T]
    figure, axes = _forest(numbers, labels, notes, "difference", title, xlabel)
    bound = margin * unit
    label = f"equivalence margin ±{bound:.{digits}f}"
    axes.axvspan(-bound, bound, color="0.9", zorder=0, label=label)
    axes.axvline(0, color="0.3", linewidth=1)
    figure.legend(loc="outside lower right", frameon=False)
    return figure


def _draw_bands(axes, x, curves, names, chance, unit, xscale):
    value, low, high = curves
    stride = -(-len(x) // 10)
    for arm, name in enumerate(names):
        colour = COLOURS[arm % len(COLOURS)]
        axes.fill_between(x, low[arm], high[arm], color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            x,
            value[arm],
            color=colour,
            linestyle=DASHES[arm % len(DASHES)],
            marker=MARKERS[arm % len(MARKERS)],
            markevery=(arm % stride, stride),
            markersize=5,
            label=name,
        )
    if chance is not None:
        axes.axhline(chance * unit, color="0.35", linestyle=":", label="chance")
    axes.set_xscale(xscale)
    if len(x) <= 10:
        axes.set_xticks(x, [f"{position:g}" for position in x])
        axes.minorticks_off()
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _forest(numbers, names, notes, heading, title, xlabel):
    """Points and intervals from `numbers` [3, A], first arm at the top, with notes on the right."""
    value, low, high = numbers
    figure = canvas(10, 0.34 * len(names) + 1.4)
    axes = figure.add_subplot(xlabel=xlabel)
    height = np.arange(len(names))
    axes.hlines(height, low, high, color=COLOURS[0], linewidth=2.5)
    axes.plot(value, height, "o", color=COLOURS[0], markersize=7)
    axes.set_yticks(height, names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    beside = axes.get_yaxis_transform()
    for position, note in enumerate(np.where(np.isnan(value), UNKNOWN, notes)):
        axes.text(1.02, position, note, transform=beside, va="center_baseline")
    axes.text(1.02, -0.6, heading, transform=beside, va="bottom", weight="bold")
    entitle(axes, title)
    return figure, axes


def canvas(width, height):
    """An empty figure of so many inches whose parts keep clear of each other and of the edge."""
    return Figure((width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))


def entitle(axes, title):
    """A bold title over the left end of the axes."""
    axes.set_title(title, loc="left", weight="bold", pad=10)


def _number(number, form):
    return UNKNOWN if np.isnan(number) else f"{number:{form}}".replace("-", "−")


def _interval(numbers, form):
    value, low, high = (_number(number, form) for number in numbers)
    return f"{value} [{low}, {high}]"


def ink(colours):
    """Black or white [...], whichever contrasts more with `colours` [..., RGBA] (WCAG 2.2)."""
    channels = np.asarray(colours)[..., :3]
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return np.where(linear @ (0.2126, 0.7152, 0.0722) > 0.179, "black", "white")


def scaled(name, estimate, unit, **sizes):
    """The estimate's value, low and high times `unit`, each an array of just the named `sizes`."""
    parts = {part: getattr(estimate, part) for part in ("value", "low", "high")}
    for part, array in parts.items():
        require(f"{name}.{part}", array, **sizes)
    return [np.multiply(array, unit) for array in parts.values()]


def require(name, array, **sizes):
    """Raises ValueError unless the array has just the named sizes."""
    if np.shape(array) != tuple(sizes.values()):
        expected = " × ".join(f"{size} {axis}" for axis, size in sizes.items())
        raise ValueError(f"{name} must have shape {expected}, got {np.shape(array)}")
