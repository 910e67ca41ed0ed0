"""The study of strategies in figures: curves with events, spikes, ages and fitness."""

import numpy as np

from experiments.apoptosis_compare_findings import Tests
from experiments.apoptosis_compare_measures import AFTER, Found
from experiments.lab import figures, statistics

BINS = 120  # of a curve: means of as many stretches of steps
MANY = 40  # events; more are not drawn one by one
RESAMPLES = 999  # for the limits of a band


def draw(found: Found, margin: float) -> dict:
    """By stem: figure and caption."""
    tests = Tests(found, margin)
    made = {"loss": _curves(found)}
    against = tests.against(found.final)
    if against:
        made["differences"] = _differences(against, margin)
    spikes = tests.spikes()
    if spikes:
        made["spikes"] = _spikes(spikes)
    made["ages"] = _ages(found)
    made["fitness"] = _fitness(found)
    return made


def _panels(found, title, xlabel, ylabel):
    """An empty panel for each arm, and the figure."""
    columns = min(4, len(found.names))
    rows = -(-len(found.names) // columns)
    figure = figures.canvas(3 * columns + 0.5, 1.9 * rows + 0.8)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(found.names) :]:
        axes.set_visible(False)
    for name, axes in zip(found.names, grid.flat, strict=False):
        axes.set_title(name, loc="left", size=10)
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(xlabel, size=10)
    figure.supylabel(ylabel, size=10)
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    return figure, list(grid.flat[: len(found.names)])


def _curves(found):
    steps = found.losses.shape[-1]
    edges = np.unique(np.linspace(0, steps, min(BINS, steps) + 1).round().astype(int))
    sums = np.add.reduceat(found.losses, edges[:-1], axis=-1) / np.diff(edges)
    highest = np.maximum.reduceat(found.losses, edges[:-1], axis=-1)
    means = statistics.mean(np.moveaxis(sums, 1, -1), resamples=RESAMPLES)
    tops = np.moveaxis(highest, 1, -1).mean(-1)
    figure, panels = _panels(found, "Training loss, with events", "step", "nats per character")
    at, base = edges[1:], found.baseline
    for a, axes in enumerate(panels):
        events = np.unique(np.concatenate([np.zeros(0, int), *found.happened[a]]))
        if len(events) <= MANY:
            for step in events:
                axes.axvline(step, color="0.8", linewidth=0.8, zorder=0)
        axes.plot(at, means.value[base], color=figures.COLOURS[6], linewidth=0.8, linestyle=":")
        colour = figures.COLOURS[0]
        axes.fill_between(at, means.low[a], means.high[a], color=colour, alpha=0.2, linewidth=0)
        axes.plot(at, tops[a], color=figures.COLOURS[1], linewidth=0.6)
        axes.plot(at, means.value[a], color=colour, linewidth=1.2)
        axes.set_yscale("log")
    return figure, (
        f"Mean over seeds in {len(at)} stretches of steps with its 95 % interval (blue), and the "
        "highest loss of a stretch (orange); dotted the baseline. Grey lines are the steps of "
        f"events, where there are at most {MANY}."
    )


def _differences(against, margin):
    order = sorted(against, key=lambda name: against[name].difference.value)
    figure = figures.differences(
        [against[name].difference for name in order],
        order,
        margin,
        title="Validation loss at the end, minus the baseline's",
        xlabel="nats per character; negative is better",
        unit=1,
        digits=3,
    )
    return figure, (
        "Differences of the same seed with 95 % intervals, not corrected for their number; the "
        "findings' tests are exact and corrected."
    )


def _spikes(spikes):
    parts = zip(*(estimate[:3] for estimate, _ in spikes.values()), strict=True)
    estimate = statistics.Estimate(*map(np.array, parts), next(iter(spikes.values()))[0].n)
    figure = figures.ranking(
        estimate, list(spikes), title="Spikes after events", xlabel="nats", unit=1, digits=3
    )
    return figure, (
        f"Highest training loss within {AFTER} steps after an event minus that of the baseline of "
        "the same seed; mean over events and seeds with its 95 % interval."
    )


def _ages(found):
    rows, steps = found.neurons, found.losses.shape[-1]
    figure, panels = _panels(found, "Ages at the end", "age in steps", "share of neurons")
    bins = np.linspace(0, steps, 26)
    for a, axes in enumerate(panels):
        ages = rows["age"][rows["arm"] == a]
        axes.hist(ages, bins, weights=np.full(len(ages), 1 / max(len(ages), 1)))
        axes.set_yscale("log")
    return figure, (
        "All seeds and groups together. On the right, at the run's length, are those that were "
        "never replaced."
    )


def _fitness(found):
    rows = found.neurons
    worth = np.full(len(rows["arm"]), np.nan)
    groups = len(found.experiment.groups)
    cell = (rows["arm"] * (rows["seed"].max() + 1) + rows["seed"]) * groups + rows["group"]
    _, cell = np.unique(cell, return_inverse=True)
    mean = np.bincount(cell, rows["taylor"]) / np.bincount(cell)
    with np.errstate(divide="ignore", invalid="ignore"):
        worth = np.log10(rows["taylor"] / mean[cell])
    figure, panels = _panels(
        found, "Fitness at the end", "log10 of |Σ h·dL/dh| over its mean in the layer", "share"
    )
    bins = np.linspace(-3, 1.5, 37)
    base = worth[rows["arm"] == found.baseline]
    for a, axes in enumerate(panels):
        for values, style in (
            (worth[rows["arm"] == a], {"color": figures.COLOURS[0], "alpha": 0.6}),
            (base, {"color": figures.COLOURS[6], "histtype": "step", "linewidth": 0.8}),
        ):
            shown = np.clip(values[~np.isnan(values)], bins[0], bins[-1])
            axes.hist(shown, bins, weights=np.full(len(shown), 1 / max(len(values), 1)), **style)
    return figure, (
        "Taylor fitness of the neurons living at the end, all seeds and layers together; the black "
        "line is the baseline's. The ends of the axis hold all that lies beyond."
    )
