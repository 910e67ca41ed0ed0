"""More figures of estimates, in the style and with the rules of `figures`.

Shapes: `R` rows, `C` columns, `A` arms, `X` moments, `L` layers, `N` points. Every number is drawn
with its interval, an unknown one (NaN) is shown as unknown, and estimates are drawn times `unit`.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.lab import figures, statistics

DIVERGING = "RdBu_r"  # blue, white, red: safe for the colour-blind
# Where a name may stand beside its point, as multiples of a gap in points: first where a front that
# climbs to the right leaves room.
_PLACES = [(-1, 1), (1, -1), (-1, 0), (1, 0), (0, 1), (0, -1), (1, 1), (-1, -1)]
_GAPS = (7, 14, 22, 32, 44, 58)


def survival(
    at, estimate: statistics.Estimate, names: Sequence[str], *, title, xlabel, ylabel, unit=100
) -> Figure:
    """Steps with interval bands, one for each arm of an `estimate` [A, X] of shares.

    A share holds from its moment in `at` [X] up to the next; where it is unknown the curve ends.
    """
    sizes = {"arms": len(names), "moments": len(at)}
    value, low, high = figures.scaled("estimate", estimate, unit, **sizes)
    figure = figures.canvas(10, 4.8)
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    stride = -(-len(at) // 10)
    for arm, name in enumerate(names):
        look = _look(arm)
        axes.fill_between(
            at, low[arm], high[arm], step="post", color=look["color"], alpha=0.15, linewidth=0
        )
        axes.plot(
            at,
            value[arm],
            drawstyle="steps-post",
            linestyle=figures.DASHES[arm % len(figures.DASHES)],
            markevery=(arm % stride, stride),
            markersize=5,
            label=name,
            **look,
        )
    axes.set_ylim(-0.02 * unit, 1.02 * unit)
    _finish(axes, title)
    figure.legend(loc="outside right upper", frameon=False, handlelength=3.5)
    return figure


def scatter(
    cost,
    estimate: statistics.Estimate,
    names: Sequence[str],
    groups: Sequence[str],
    front,
    *,
    title,
    xlabel,
    ylabel,
    unit=100,
    xscale="log",
) -> Figure:
    """Points of an `estimate` [N] over their cost, with the front drawn and its names written.

    `cost` is [N] numbers or an estimate of them (not scaled); `groups` [N] names what shares a
    colour and a marker; `front` [N] says which points to join, by steps: what the front offers at
    a cost is its best point that costs no more. Infinite limits run to the edge. Points of which
    one coordinate is not finite, or not positive on a log axis, are named below the legend.
    """
    count = {"points": len(names)}
    y = np.stack(figures.scaled("estimate", estimate, unit, **count))
    if isinstance(cost, statistics.Estimate):
        x = np.stack(figures.scaled("cost", cost, 1, **count))
    else:
        figures.require("cost", cost, **count)
        x = np.stack([np.asarray(cost, dtype=np.float64)] * 3)
    figures.require("groups", groups, **count)
    figures.require("front", front, **count)
    drawn = np.isfinite(x[0]) & np.isfinite(y[0]) & ((xscale != "log") | (x[0] > 0))
    best = np.flatnonzero(drawn & np.asarray(front, dtype=bool))
    best = best[np.lexsort((y[0, best], x[0, best]))]
    figure = figures.canvas(10, 5.6)
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel, xscale=xscale)
    axes.set_xlim(_span(x[:, drawn], xscale))
    axes.set_ylim(_span(y[:, drawn], "linear"))
    for number, group in enumerate(dict.fromkeys(groups)):
        chosen = drawn & (np.asarray(groups) == group)
        look = _look(number)
        bars = {"color": look["color"], "alpha": 0.45, "linewidth": 1.5, "zorder": 1.5}
        axes.hlines(y[0, chosen], *np.clip(x[1:, chosen], *axes.get_xlim()), **bars)
        axes.vlines(x[0, chosen], *np.clip(y[1:, chosen], *axes.get_ylim()), **bars)
        axes.plot(x[0, chosen], y[0, chosen], linestyle="", label=group, **look)
    line = {"color": "0.35", "linewidth": 1, "zorder": 1, "label": "Pareto front"}
    axes.plot(x[0, best], y[0, best], drawstyle="steps-post", **line)
    for name in np.asarray(names)[~drawn]:
        axes.plot([], [], linestyle="", label=f"{figures.UNKNOWN} {name}")
    _finish(axes, title)
    figure.legend(loc="outside right upper", frameon=False)
    shared = {}
    for point in best:
        shared.setdefault((x[0, point], y[0, point]), []).append(names[point])
    _write_names(figure, axes, x[:, drawn], y[:, drawn], shared)
    return figure


def matrix(
    estimate: statistics.Estimate,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title,
    label,
    xlabel="",
    ylabel="",
    diverging=False,
    centre=0,
    unit=100,
    **options,
) -> Figure:
    """`figures.table` of an `estimate` [R, C] for any rows and columns, `options` as there.

    `diverging` colours deviations from `centre`, equally far to both sides: blue below, red above.
    Names too long for a tile's width are turned.
    """
    words = {"title": title, "label": label, "xlabel": xlabel, "ylabel": ylabel}
    if diverging:
        if {"vmin", "vmax"} & options.keys():
            raise ValueError("vmin and vmax follow from centre where diverging is True")
        away = np.abs(np.asarray(estimate.value, dtype=np.float64) - centre)
        most = np.max(away, where=np.isfinite(away), initial=0) or 1.0
        options |= {"vmin": centre - most, "vmax": centre + most}
    figure = figures.table(estimate, rows, columns, unit=unit, **words, **options)
    axes = figure.axes[0]
    if diverging:
        (mesh,) = axes.collections
        mesh.set_cmap(DIVERGING)
        inks = figures.ink(mesh.to_rgba(np.multiply(estimate.value, unit)))
        for text in axes.texts:
            column, row = np.floor(text.get_position()).astype(int)
            if np.isfinite(estimate.value[row][column]):
                text.set_color(inks[row, column])
    figure.draw_without_rendering()
    names = axes.get_xticklabels()
    tile = axes.get_window_extent().width / len(columns)
    if max(name.get_window_extent().width for name in names) > 0.95 * tile:
        for name in names:
            name.set(rotation=40, ha="left", rotation_mode="anchor")
    return figure


def profile(
    layers,
    estimate: statistics.Estimate,
    names: Sequence[str],
    *,
    title,
    ylabel,
    xlabel="layer",
    unit=1,
    yscale="log",
    **options,
) -> Figure:
    """`figures.bands` of a quantity `estimate` [A, L] over `layers` [L], on a logarithmic axis.

    `options` as there. What is not positive lies below every logarithmic axis: a curve or a band
    that comes to nought leaves the figure at the bottom.
    """
    words = {"title": title, "xlabel": xlabel, "ylabel": ylabel}
    figure = figures.bands(layers, estimate, names, unit=unit, **words, **options)
    axes = figure.axes[0]
    axes.set_yscale(yscale, **({"nonpositive": "clip"} if yscale == "log" else {}))
    return figure


def _look(number):
    """Colour and marker of an arm or a group."""
    colours, markers = figures.COLOURS, figures.MARKERS
    return {"color": colours[number % len(colours)], "marker": markers[number % len(markers)]}


def _finish(axes, title):
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figures.entitle(axes, title)


def _span(numbers, scale):
    """Limits of an axis that shows all finite `numbers` (positive, on a log axis) with a margin."""
    shown = numbers[np.isfinite(numbers) & ((scale != "log") | (numbers > 0))]
    if not shown.size:
        return (1, 10) if scale == "log" else (0, 1)
    shown = np.log10(shown) if scale == "log" else shown
    low, high = shown.min(), shown.max()
    margin = 0.08 * (high - low) or 0.5
    limits = low - margin, high + margin
    return tuple(10.0**each for each in limits) if scale == "log" else limits


def _write_names(figure, axes, x, y, points):
    """Writes the names at `points` {(x, y): names} where they hide least of the `x`, `y` [3, N].

    Of names that share a point the first stands for all, with their number. A name farther away is
    tied to its point by a line.
    """
    figure.draw_without_rendering()  # settles where the axes are
    pixel = figure.dpi / 72
    inside = axes.get_window_extent()
    middle, left, right, bottom, top = (
        np.clip(axes.transData.transform(np.transpose([x[i], y[j]])), inside.min, inside.max)
        for i, j in ((0, 0), (1, 0), (2, 0), (0, 1), (0, 2))
    )
    corners = axes.transData.transform([*points]) if points else []
    steps = [(corner[0], start[1]) for start, corner in itertools.pairwise(corners)]
    pairs = [(middle - 4 * pixel, middle + 4 * pixel), (left, right), (bottom, top)]
    if steps:
        pairs += [(corners[:-1], steps), (corners[1:], steps)]
    taken = np.concatenate([np.hstack([np.minimum(*p), np.maximum(*p)]) for p in pairs])
    taken = taken[~np.isnan(taken).any(axis=-1)] + np.array([-1, -1, 1, 1]) * pixel
    offsets = np.array([np.multiply(place, gap) for gap in _GAPS for place in _PLACES]) * pixel
    far, written = np.repeat(_GAPS, len(_PLACES)), np.empty((0, 4))
    tie = {"arrowstyle": "-", "color": "0.5", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
    for (position, names), corner in zip(points.items(), corners, strict=True):
        more = f" +{len(names) - 1}" if len(names) > 1 else ""
        style = {"textcoords": "offset points", "size": 9, "in_layout": False}
        text = axes.annotate(names[0] + more, position, (0, 0), **style)
        size = text.get_window_extent().size
        starts = corner + offsets + size * (np.sign(offsets) - 1) / 2
        boxes = np.hstack([starts, starts + size])
        cost = _overlap(boxes, taken).sum(axis=-1) + 5 * _overlap(boxes, written).sum(axis=-1)
        cost += 10 * (size.prod() - _overlap(boxes, inside.extents[None])[:, 0])
        cost += size.prod() * far * 0.002
        chosen = np.argmin(cost)
        written = np.vstack([written, boxes[chosen]])
        text.set_position((starts[chosen] - corner) / pixel)
        if far[chosen] > _GAPS[1]:
            end = offsets[chosen] / pixel * 0.95
            axes.annotate("", position, end, textcoords="offset points", arrowprops=tie)


def _overlap(first, second):
    """Areas `[F, S]` that boxes `[F, 4]` and `[S, 4]` (left, bottom, right, top) share."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return np.prod(np.clip(high - low, 0, None), axis=-1)
