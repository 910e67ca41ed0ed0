"""Depth limits: from the results of a grid over depths to the parts of its report."""

import numpy as np

from elements import datasets
from experiments import (
    elements_depth_figures,
    elements_depth_grid,
    elements_findings,
    elements_paired,
)
from experiments.elements_findings import ALPHA, Finding, points, probability
from experiments.lab import statistics


def analyse(outcome) -> dict:
    """Findings, figures and tables of a full grid over depths."""
    grid = elements_depth_grid.Depths(outcome)
    told = []
    if grid.population.trials > 1:
        told += [_chance(grid, k) for k in range(len(grid.kinds))]
        if grid.reference is not None:
            told += [_degrading(grid, k) for k in range(len(grid.kinds))]
        if grid.both:
            told += [_rescue(grid, k) for k in range(len(grid.kinds))]
            told += _price(grid)
        if len(grid.depths) > 2:
            told += [_critical(grid, k) for k in range(len(grid.kinds))]
        told += _diverging(grid)
    told += elements_findings.failures(grid.population, int(np.sum(outcome.rows["diverged"])))
    return {
        "findings": told,
        "figures": elements_depth_figures.figures(grid),
        "tables": elements_depth_figures.tables(grid),
    }


def _chance(grid, k):
    """The depths at which a kind is not told from chance, over the datasets and on each."""
    told, verdicts = [], []
    for v, variant in enumerate(grid.variants):
        p, cells = grid.above_chance[k, v], grid.samples[k, v]
        lost = ~(p < ALPHA)
        same = _at_chance(grid.together[k, v], grid.chance) < ALPHA
        means = statistics.mean(grid.together[k, v])
        by_depth = "; ".join(
            f"{points(statistics.entry(means, d))} at {depth}"
            + (f" ({probability(p[d])})" if lost[d] else "")
            for d, depth in enumerate(grid.depths)
        )
        verdicts.append(f"{variant} {grid.since(lost)}")
        # On single datasets every depth of every dataset is one family.
        levels = [datasets.find(name).chance for name in grid.datasets]
        excess = (cells - np.array(levels)[:, None]).reshape(-1, cells.shape[-1])
        each = ~(elements_depth_grid.above(excess, 0.0).reshape(cells.shape[:2]) < ALPHA)
        single = ", ".join(f"{n} {grid.since(each[:, s])}" for s, n in enumerate(grid.datasets))
        parts = [f"{variant} {grid.since(lost)}"]
        if same.any():
            parts[0] += f" (shown to be within a point of it at {grid.listed(same)})"
        if len(grid.datasets) > 1:
            parts.append(f"by dataset: {single}")
        failed = grid.diverged[k, v].mean(-1) > 0
        if (failed & lost).any():
            parts.append(f"some of the networks at {grid.listed(failed & lost)} diverged")
        told.append(f"{'; '.join(parts)}. Held-out accuracy: {by_depth}")
    sentence = (
        f"Not told apart from {100 * grid.chance:g} % by one-sided tests over the datasets "
        f"together (Holm over depths): {'. '.join(map(_capitalised, told))}."
    )
    headline = f"At what depth is {grid.names[k]} indistinguishable from chance?"
    return Finding(headline, sentence, ", ".join(verdicts))


def _at_chance(samples, chance):
    """p values `[D]` for a mean within the margin of chance: two one-sided tests, Holm."""
    margin = elements_findings.MARGIN
    below, _ = statistics.against(samples, chance + margin, alternative="less")
    above, _ = statistics.against(samples, chance - margin, alternative="greater")
    return statistics.holm(np.maximum(below, above))


def _degrading(grid, k):
    """Deeper networks against those of a depth that was fixed beforehand."""
    start = grid.reference
    base, deeper = grid.depths[start], grid.depths[start + 1 :]
    told, verdicts = [], []
    for v, variant in enumerate(grid.variants):
        one = grid.together[k, v, start:]
        tests = elements_paired.family(one[1:] - one[0])
        slope = statistics.slope(one, np.array([base, *deeper], float))
        padded = np.zeros((2, len(grid.depths)), bool)
        for row, word in zip(padded, ("lower", "higher"), strict=True):
            row[start + 1 :] = [test.verdict == word for test in tests]
        lower, higher = padded
        if lower.any():
            verdict = f"loses {grid.since(lower)}"
        elif higher.any():
            verdict = f"gains {grid.since(higher)}"
        elif all(test.verdict == "equivalent" for test in tests):
            verdict = "is equivalent throughout"
        else:
            verdict = "shows no clear change"
        verdicts.append(f"{variant} {verdict}")
        each = "; ".join(
            f"{depth}: {elements_paired.told(test)}"
            for depth, test in zip(deeper, tests, strict=True)
        )
        told.append(f"{variant} {verdict} ({each}), {points(slope, signed=True)} points a layer")
    sentence = (
        f"Against {base} hidden layers, a depth that was fixed beforehand, in points, paired by "
        f"trial (Holm over depths): {'. '.join(map(_capitalised, told))}."
    )
    headline = f"Does {grid.names[k]} degrade beyond {base} hidden layers?"
    return Finding(headline, sentence, ", ".join(verdicts))


def _rescue(grid, k):
    """Whether skips bring back what is lost: at chance when plain, above it and better with."""
    plain, skip = grid.above_chance[k] < ALPHA
    lost, better = ~plain, np.zeros(len(grid.depths), bool)
    better[grid.joined] = [test.verdict == "higher" for test in grid.gains[k]]
    saved = lost & skip & better
    if not lost.any():
        verdict = "nothing to rescue"
    elif not saved.any():
        verdict = "no"
    elif (saved == lost).all():
        verdict = f"yes, at {grid.listed(saved)}"
    else:
        verdict = f"at {grid.listed(saved)}, not at {grid.listed(lost & ~saved)}"
    each = "; ".join(
        f"{grid.depths[d]}: {elements_paired.told(test)}"
        for d, test in zip(grid.joined, grid.gains[k], strict=True)
    )
    level = statistics.mean(grid.together[k, 1, grid.deep].mean(0) - grid.together[k, 0, 0])
    sentence = (
        f"{_capitalised(verdict)}. Rescued is a depth at which the plain network is not told from "
        "chance and the one with skips is, and is higher than the plain one. Skip − plain in "
        f"points by depth (Holm over depths): {each}. With skips the networks of "
        f"{grid.listed(_mask(grid, grid.deep))} layers stand {points(level, signed=True)} points "
        f"from the shallowest plain one ({grid.depths[0]})."
    )
    return Finding(f"Do skips rescue {grid.names[k]}?", sentence, verdict)


def _price(grid):
    """What skips cost or bring, over the deep networks and over all depths; one family."""
    every = grid.joined
    spans = [grid.deep] if np.array_equal(grid.deep, every) else [grid.deep, every]
    gain = grid.together[:, 1] - grid.together[:, 0]  # [K, D, T]
    tests = elements_paired.family(np.concatenate([gain[:, span].mean(1) for span in spans]))
    found = []
    for k, name in enumerate(grid.names):
        own = tests[k :: len(grid.kinds)]
        said = [elements_paired.told(test) for test in own]
        words = [f"over {grid.listed(_mask(grid, span))} hidden layers" for span in spans]
        each = "; ".join(f"{word} {test}" for word, test in zip(words, said, strict=True))
        verdict = {"higher": "gain", "lower": "cost"}.get(own[0].verdict, own[0].verdict)
        sentence = (
            f"Skip − plain in points of held-out accuracy, {each} (Holm over activations and "
            "spans)."
        )
        found.append(Finding(f"What do skips do to deep {name}?", sentence, verdict))
    return found


def _diverging(grid):
    """Where networks diverge: a failure of its own, which also pulls the mean below chance."""
    found = []
    for k, name in enumerate(grid.names):
        told, verdicts = [], []
        for v, variant in enumerate(grid.variants):
            some = grid.diverged[k, v].mean(-1) > 0
            verdicts.append(f"{variant} {grid.since(some)}")
            share = statistics.mean(grid.diverged[k, v])
            each = "; ".join(
                f"{points(statistics.entry(share, d))} % at {grid.depths[d]}"
                for d in np.flatnonzero(some)
            )
            told.append(verdicts[-1] + (f" ({each})" if each else ""))
        sentence = (
            f"{'. '.join(map(_capitalised, told))}. Diverged networks count as wrong throughout."
        )
        found.append(Finding(f"At what depth does {name} diverge?", sentence, ", ".join(verdicts)))
    return found


def _critical(grid, k):
    """The depth at half height between a kind's own top and chance."""
    told, verdicts = [], []
    for v, variant in enumerate(grid.variants):
        said = grid.critical(k, v)
        verdict = str(grid.falls.verdict[k, v])
        top = statistics.entry(grid.falls.top, (k, v))
        if verdict == "within":
            said += f", falling from {points(top)} %"
        told.append(f"{variant}: {said}")
        verdicts.append(f"{variant} {verdict}")
    sentence = (
        "Half way down from its own top to chance in a logistic fit of accuracy over depth: "
        f"{'; '.join(told)}. The depths tried are {grid.depths[0]} to {grid.depths[-1]}; nothing "
        "is extrapolated beyond them."
    )
    headline = f"What is the critical depth of {grid.names[k]}?"
    return Finding(headline, sentence, ", ".join(verdicts))


def _mask(grid, positions):
    return np.isin(np.arange(len(grid.depths)), positions)


def _capitalised(text):
    return text[:1].upper() + text[1:]
