"""Figures and tables of the depth limits, from an `elements_depth_grid.Depths`."""

import numpy as np

from experiments import elements_paired
from experiments.elements_findings import MARGIN, points
from experiments.lab import statistics

LABELS = {"xlabel": "hidden layers", "ylabel": "held-out accuracy, %"}
MEANING = "Mean over datasets and trials with its 95 % interval"


def figures(grid) -> dict:
    """Figures by stem, with their captions."""
    from experiments.lab import charts
    from experiments.lab import figures as lab

    means = statistics.stratified(grid.samples)  # [K, V, D]
    depths = len(grid.depths)
    rows = statistics.Estimate(*(a.reshape(-1, depths) for a in means[:3]), means.n)
    made = {
        "table": (
            lab.table(
                rows,
                [_named(grid, name, v) for name in grid.names for v in grid.variants],
                list(map(str, grid.depths)),
                title="The periodic table: depth and skip connections",
                label=LABELS["ylabel"],
                xlabel=LABELS["xlabel"],
            ),
            f"Mean over {len(grid.datasets)} datasets and {grid.population.trials} trials, with "
            "the half-width of its 95 % interval.",
        )
    }
    if depths == 1:
        return made
    made["depth"] = (
        lab.panels(
            grid.depths,
            means,
            grid.names,
            grid.variants,
            title="Held-out accuracy over depth",
            chance=grid.chance,
            **LABELS,
        ),
        f"{MEANING}; dotted: chance.",
    )
    if grid.both:
        made["skip"] = _skip(charts, grid)
    by_dataset = statistics.mean(grid.samples)  # [K, V, D, S]
    for v, variant in enumerate(grid.variants):
        cells = (np.moveaxis(a[:, v], 2, 0) for a in by_dataset[:3])
        made[f"datasets_{variant}"] = (
            lab.panels(
                grid.depths,
                statistics.Estimate(*cells, by_dataset.n),
                grid.datasets,
                grid.names,
                title=f"Held-out accuracy over depth, by dataset ({variant})",
                chance=grid.chance,
                **LABELS,
            ),
            "Mean over trials with its 95 % interval; dotted: chance.",
        )
    if depths > 2:
        made["critical"] = _critical(lab, grid)
    return made


def _skip(charts, grid):
    """Skip − plain over depth."""
    gain = statistics.mean(grid.together[:, 1] - grid.together[:, 0])
    figure = charts.profile(
        grid.depths,
        gain,
        grid.names,
        title="What skip connections bring: skip − plain",
        xlabel=LABELS["xlabel"],
        ylabel="difference in held-out accuracy, points",
        yscale="linear",
        unit=100,
    )
    axes = figure.axes[0]
    axes.axhspan(-100 * MARGIN, 100 * MARGIN, color="0.9", zorder=0)
    axes.axhline(0, color="0.3", linewidth=1, zorder=0.5)
    caption = (
        "Paired by trial, over the datasets, with 95 % intervals; shaded: the margin of "
        "equivalence. A network of one hidden layer has nothing for them to join."
    )
    return figure, caption


def _critical(lab, grid):
    """Critical depths with their intervals; arrows where only a bound is known."""
    names = [_named(grid, name, v) for name in grid.names for v in grid.variants]
    value, low, high = (a.ravel() for a in grid.falls.critical[:3])
    first, last = grid.depths[0], grid.depths[-1]
    figure = lab.canvas(10, 0.34 * len(names) + 1.4)
    axes = figure.add_subplot(xlabel=LABELS["xlabel"])
    beside = axes.get_yaxis_transform()
    for row, verdict in enumerate(grid.falls.verdict.ravel()):
        look = {"color": lab.COLOURS[row % len(grid.variants)], "markersize": 7}
        ends = np.nan_to_num([low[row], high[row]], posinf=last, neginf=first)
        if verdict != "unidentified":
            axes.hlines(row, *np.clip(ends, first, last), color=look["color"], linewidth=2.5)
            mark = {"within": "o", "beyond": ">", "below": "<"}[verdict]
            axes.plot(np.clip(value[row], first, last), row, mark, **look)
        note = grid.critical(*np.unravel_index(row, grid.falls.verdict.shape))
        axes.text(1.02, row, note, transform=beside, va="center_baseline")
    axes.set_xlim(first - 0.3, last + 0.3)
    axes.set_xticks(grid.depths)
    axes.set_yticks(np.arange(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    lab.entitle(axes, "Critical depth: half way down from the top to chance")
    caption = (
        "Logistic fit of accuracy over depth, mean over datasets; 95 % intervals over trials. "
        "Arrow: past the depths tried, the line ends at the bound."
    )
    return figure, caption


def tables(grid) -> dict:
    """Tables by title: every cell, what skips do, and the critical depths."""
    made = _cells(grid)
    if grid.population.trials < 2:
        return made
    if grid.both:
        made |= _gains(grid)
    return made | (_fits(grid) if len(grid.depths) > 2 else {})


def _cells(grid):
    by_dataset = statistics.mean(grid.samples)
    together = statistics.stratified(grid.samples)
    rows = []
    for k, v, d in np.ndindex(*grid.arms.shape):
        element = grid.population.elements[grid.arms[k, v, d]]
        cells = [statistics.entry(by_dataset, (k, v, d, s)) for s in range(len(grid.datasets))]
        p = f"{grid.above_chance[k, v, d]:.2g}" if grid.population.trials > 1 else "–"
        overall = statistics.entry(together, (k, v, d))
        rows.append([element.symbol, *map(points, [overall, *cells]), p])
    caption = (
        f"Held-out accuracy in %, mean over {grid.population.trials} trials with its 95 % "
        "interval; p: one-sided test against chance over the datasets together, Holm over depths."
    )
    return {"Every cell": (["element", "all", *grid.datasets, "p (above chance)"], rows, caption)}


def _gains(grid):
    rows = [
        [f"{name}, {grid.depths[d]}", *elements_paired.cells(test)]
        for k, name in enumerate(grid.names)
        for d, test in zip(grid.joined, grid.gains[k], strict=True)
    ]
    caption = f"{elements_paired.CAPTION} The depths of an activation are a family."
    return {"Skip − plain": (["activation, depth", *elements_paired.HEADER], rows, caption)}


def _fits(grid):
    rows = []
    for k, v in np.ndindex(*grid.falls.verdict.shape):
        value, low, high, _ = statistics.entry(grid.falls.scale, (k, v))
        rows.append(
            [
                _named(grid, grid.names[k], grid.variants[v]),
                grid.critical(k, v),
                str(grid.falls.verdict[k, v]),
                _known(points(statistics.entry(grid.falls.top, (k, v)))),
                _known(f"{value:.2f} [{low:.2f}, {high:.2f}]"),
                f"{100 * grid.falls.residual[k, v]:.1f}",
            ]
        )
    header = [
        "activation",
        "critical depth",
        "verdict",
        "top, %",
        "scale, layers",
        "misfit, points",
    ]
    caption = (
        "Least-squares fit of a logistic fall to chance to the means over datasets and trials; "
        "misfit: root mean square over depths. 'within' has value and interval within the depths "
        "tried; 'beyond' and 'below' only a bound; 'unidentified' neither."
    )
    return {"Critical depths": (header, rows, caption)}


def _known(text):
    return "–" if text.startswith("nan") else text


def _named(grid, name, variant):
    return f"{name}, {variant}" if grid.both or variant == "skip" else name
