"""From the results of phase 7 to the parts of its report."""

import numpy as np

from experiments import elements_findings, elements_generalisation_findings
from experiments import elements_generalisation_measures as measures
from experiments.elements_findings import MARGIN, points
from experiments.lab import statistics

LEVELS = (0.8, 0.9, 0.95)  # accuracies of which is told how many points they need
SIZES = "points of a trial"


def analyse(outcome) -> dict:
    """Findings, figures and tables of sizes, noise on the inputs and wrong labels."""
    cells = measures.Cells(outcome)
    pairs = measures.comparisons(cells)
    return {
        "findings": elements_generalisation_findings.findings(cells, pairs),
        "figures": _figures(cells),
        "tables": _tables(cells, pairs),
    }


def _figures(cells):
    made = {}
    if len(cells.sizes) > 1:
        made |= _over_size(cells)
    if cells.population.sigmas:
        made |= _over_sigma(cells)
    if len(cells.flips) > 1:
        made |= _over_flips(cells)
    return made


def _over_size(cells):
    from experiments.lab import figures

    parts = ["train", *(["validation"] if cells.held_back else []), "test"]
    accuracy = np.stack([cells.by_size(f"{part}_accuracy") for part in parts], 1)  # [A, 3, N, S, T]
    by_dataset = np.moveaxis(accuracy[:, -1], 2, 0)
    gap = accuracy[:, 0] - accuracy[:, -1]
    chance = elements_findings.chance(cells.population)
    axis = {"xlabel": SIZES, "xscale": "log"}
    labels = {**axis, "ylabel": "accuracy, %", "chance": chance}
    mean = "Mean over datasets and trials with its 95 % interval"
    held = f"; {cells.population.held_back} % of the points are held back for validation"
    return {
        "size": (
            figures.panels(
                cells.sizes,
                statistics.stratified(accuracy),
                cells.activations,
                parts,
                title="Accuracy over the number of points",
                **labels,
            ),
            f"{mean}{held if cells.held_back else ''}.",
        ),
        "datasets": (
            figures.panels(
                cells.sizes,
                statistics.mean(by_dataset),
                cells.population.datasets,
                cells.activations,
                title="Test accuracy over the number of points, by dataset",
                **labels,
            ),
            "Mean over trials with its 95 % interval; dotted: chance.",
        ),
        "gap": (
            figures.bands(
                cells.sizes,
                statistics.stratified(gap),
                cells.activations,
                title="The gap over the number of points",
                ylabel="training − test accuracy, points",
                **axis,
            ),
            f"{mean}.",
        ),
    }


def _over_sigma(cells):
    from experiments.lab import figures

    sigmas, accuracy = cells.by_sigma()
    loss = accuracy.mean(2) - accuracy.mean(2)[:, :1]
    both = np.stack([accuracy.mean(2), loss])
    return {
        "noise": (
            figures.panels(
                sigmas,
                statistics.mean(both),
                ("test accuracy, %", "change against σ 0, points"),
                cells.activations,
                title=f"Noise on the test points, networks of {cells.reference} points",
                xlabel="standard deviation σ of the noise",
                ylabel="",
                share_y=False,
            ),
            f"Mean over datasets, trials and {cells.population.noises} draws of noise, with its "
            "95 % interval over trials.",
        )
    }


def _over_flips(cells):
    from experiments.lab import figures

    flips = [f for f in cells.flips if f]
    test = cells.by_flips("test_accuracy", cells.flips)
    control = 1 - cells.by_flips("test_accuracy", flips)
    repeated = np.stack([cells.by_flips("memorised", flips), control], 1)
    of = f"networks of {cells.reference} points"
    mean = "Mean over datasets and trials with its 95 % interval"
    return {
        "memorised": (
            figures.panels(
                flips,
                statistics.stratified(repeated),
                cells.activations,
                ("wrong labels", "test points (control)"),
                title=f"Wrong answers on mislabelled and on unseen points, {of}",
                xlabel="wrong labels, %",
                ylabel="answered wrongly, %",
            ),
            f"{mean}. A network that ignores wrong labels answers on them as on unseen points; "
            "what lies above that is learnt by heart.",
        ),
        "wrong_labels": (
            figures.bands(
                cells.flips,
                statistics.stratified(test),
                cells.activations,
                title=f"Test accuracy over wrong labels, {of}",
                xlabel="wrong labels, %",
                ylabel="test accuracy, %",
                chance=elements_findings.chance(cells.population),
            ),
            f"{mean}; dotted: chance.",
        ),
    }


def _tables(cells, pairs):
    made = {"By arm": _by_arm(cells)}
    if len(cells.sizes) > 1:
        made["Points needed"] = _points_needed(cells)
    if cells.held_back:
        made["The validation estimate"] = _validation(cells)
    if pairs:
        made["Pairs of activations"] = _pairs(pairs)
    return made


def _by_arm(cells):
    population, cube = cells.population, cells.outcome.cube
    parts = ["train", *(["validation"] if cells.held_back else []), "test"]
    columns = {f"{part}, %": cube(f"{part}_accuracy") for part in parts}
    columns["gap"] = cube("train_accuracy") - cube("test_accuracy")
    for sigma in sorted(population.sigmas):
        columns[f"σ {sigma:g}, %"] = cube(f"noise_{sigma:g}_accuracy")
    if len(cells.flips) > 1:
        columns["wrong labels repeated, %"] = cube("memorised")
    means = [statistics.stratified(column) for column in columns.values()]
    rows = []
    for i, arm in enumerate(population.arms):
        told = [
            points(statistics.entry(m, i), name == "gap")
            for name, m in zip(columns, means, strict=True)
        ]
        told = ["–" if text.startswith("nan") else text for text in told]
        rows.append([arm.element.symbol, str(arm.samples), str(arm.flipped), *told])
    caption = (
        "Means over datasets and trials with their 95 % intervals; the gap is training (on the "
        "labels shown) minus test accuracy in points; σ is noise on the test points."
    )
    return ["element", "points", "wrong labels, %", *columns], rows, caption


def _points_needed(cells):
    accuracy, names = cells.by_size("test_accuracy"), (*cells.population.datasets, "all")
    accuracy = np.concatenate([accuracy, accuracy.mean(2, keepdims=True)], 2)
    accuracy = np.moveaxis(accuracy, 2, 1)  # [A, S + 1, N, T]
    found = [measures.needed(accuracy, cells.sizes, level) for level in LEVELS]
    rows = [
        [
            activation,
            name,
            *(measures.said(statistics.entry(f, (i, s)), cells.sizes) for f in found),
        ]
        for i, activation in enumerate(cells.activations)
        for s, name in enumerate(names)
    ]
    caption = (
        "Points of which mean test accuracy reaches a level, interpolated over their logarithm, "
        "with the sizes at which its 95 % interval contains the level. Nothing is extrapolated; a "
        "bound alone is that of the whole interval."
    )
    return ["activation", "dataset", *(f"{100 * level:g} %" for level in LEVELS)], rows, caption


def _validation(cells):
    v = measures.Validation(cells)
    rows = [
        [
            str(n),
            str(v.held_back[k]),
            points(v.bias[k].difference, signed=True),
            f"{v.bias[k].p:.2g}",
            f"{v.bias[k].p_equivalence:.2g}",
            points(statistics.entry(v.error, k)),
            f"{100 * v.expected[k]:.1f}",
        ]
        for k, n in enumerate(cells.sizes)
    ]
    header = [SIZES, "held back", "validation − test, points", "p (Holm)", "p of equivalence"]
    header += ["error of one network, points", "expected of counting"]
    caption = (
        "All networks of a size, paired by trial; equivalence by two one-sided tests at "
        f"{100 * MARGIN:g} point, Holm over sizes. The error is the root mean square."
    )
    return header, rows, caption


def _pairs(pairs):
    rows = [
        [
            family,
            f"{c.first} − {c.second}",
            points(c.difference, signed=True),
            f"{c.p_holm:.2g}",
            f"{c.effect:.2f}",
            f"{c.p_equivalence:.2g}",
            c.verdict,
        ]
        for family, found in pairs.items()
        for c in found
    ]
    header = ["test accuracy", "pair", "difference, points", "p (Holm)", "effect d"]
    header += ["p of equivalence", "verdict"]
    caption = (
        "Paired t tests over trials, a trial being its mean over datasets; Holm within each "
        f"quantity; equivalence by two one-sided tests at {100 * MARGIN:g} point."
    )
    return header, rows, caption
