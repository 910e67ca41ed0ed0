"""Learning dynamics in tables."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from experiments import elements_dynamics_claims as claims
from experiments.elements_dynamics_measures import GOAL, WAY, Times, Watched
from experiments.lab import statistics, survival


def tables(watched: Watched, contests: Sequence[claims.Contest]) -> dict:
    """By title: header, rows and caption. `contests` are `claims.Contest`."""
    found = {}
    for title, times in (
        (f"Time to {100 * GOAL:g} % held-out accuracy", watched.goal()),
        (f"Time to {100 * WAY:g} % of its own final accuracy", watched.settled()),
    ):
        found[f"{title}, by activation"] = _times(watched, times)
    found["Learning, by element"] = _learning(watched)
    layers = _layers(watched)
    if layers:
        found["Layers, by element"] = layers
    pairs = [row for each in contests for row in _pairs(each)]
    if pairs:
        found["All pairs of activations"] = (PAIRS, pairs, PAIRS_CAPTION)
    return found


def _times(watched: Watched, times: Times):
    epochs, reached = watched.strata(times.epochs), watched.strata(times.reached) > 0
    horizon = watched.population.epochs
    medians = survival.quantile(epochs, reached, stratified=True)
    means = survival.restricted_mean(epochs, reached, horizon, stratified=True)
    shares = statistics.stratified(reached)
    scale = claims.epochs_of(watched)
    survivors = [
        each[there].mean() if there.any() else np.nan
        for each, there in zip(epochs, reached, strict=True)
    ]
    rows = []
    for i, name in enumerate(watched.activations):
        one = lambda estimate, i=i: statistics.entry(estimate, i)
        fast = f"{survivors[i]:.0f}" if reached[i].any() else "–"
        row = [
            claims.share(one(shares)),
            claims.median(one(medians), horizon),
            claims.number(one(means), scale),
            fast,
        ]
        rows.append([name, *row])
    header = ["activation", "reached, %", "median (Kaplan–Meier), epochs"]
    header += [f"mean restricted to {horizon}, epochs", "mean over those that reached it"]
    caption = (
        "Over all shapes and datasets; times are known to the recorded epoch. A network that never "
        "got there is censored, and counts with the whole time in the restricted mean. The last "
        "column is a warning, not a result: it leaves out the slow, so that an activation looks "
        f"the faster the more of its networks fail.{_misled(means.value, survivors)}"
    )
    return header, rows, caption


def _misled(means, survivors) -> str:
    """How many pairs the mean over survivors puts in the other order."""
    pairs = [
        p
        for p in itertools.combinations(range(len(means)), 2)
        if not np.isnan(survivors[p[0]] + survivors[p[1]])
    ]
    turned = sum((means[i] - means[j]) * (survivors[i] - survivors[j]) < 0 for i, j in pairs)
    return f" Here it turns {turned} of {len(pairs)} pairs round." if pairs else ""


def _learning(watched: Watched):
    goal, settled, scale = watched.goal(), watched.settled(), claims.epochs_of(watched)
    columns = {
        f"reached {100 * GOAL:g} %, %": _cells(goal.reached, claims.share),
        "median time to it, epochs": _medians(watched, goal),
        "restricted mean, epochs": _cells(goal.epochs, lambda e: claims.number(e, scale)),
        "restricted mean to its own level, epochs": _cells(
            settled.epochs, lambda e: claims.number(e, scale)
        ),
    }
    moved = watched.unsteadiness()
    if moved is not None:
        columns[f"{claims.LOSS.name}, {claims.LOSS.unit}"] = _cells(
            moved[0], lambda e: claims.number(e, claims.LOSS)
        )
    caption = (
        "Means over datasets and trials with 95 % intervals, medians by Kaplan–Meier; an interval "
        "of no width means that no trial differed, not that the number is certain."
    )
    return _by_element(watched, columns, caption)


def _layers(watched: Watched):
    columns = {}
    if "gradient_norm" in watched.layers:
        for when, moment in (("start", 0), ("end", -1)):
            found = watched.across(moment)
            columns[f"first/last gradient, {when}, decades"] = _cells(
                found.decades, lambda e: claims.number(e, claims.ACROSS)
            )
            columns[f"vanishing, {when}, %"] = _cells(found.vanishing, claims.share)
            columns[f"exploding, {when}, %"] = _cells(found.exploding, claims.share)
    if "weight_norm" in watched.layers:
        columns["growth of the weights"] = _cells(
            watched.growth(), lambda e: claims.number(e, claims.GROWTH)
        )
        columns["saturated, %"] = _cells(watched.units("saturated"), claims.share)
        columns["dead, %"] = _cells(watched.units("dead"), claims.share)
        columns["rank of the last features"] = _cells(
            watched.rank(), lambda e: claims.number(e, claims.RANK)
        )
    caption = (
        "Means over datasets and trials with 95 % intervals. Ratios of gradients are cut to nine "
        "decades, so that an exact zero has a logarithm; vanishing is below a thousandth, "
        "exploding above a thousand. Saturation, dead units and rank are those at the end."
    )
    return _by_element(watched, columns, caption) if columns else None


def _by_element(watched, columns, caption):
    symbols = [e.symbol for e in watched.population.elements]
    rows = [list(row) for row in zip(symbols, *columns.values(), strict=True)]
    return ["element", *columns], rows, caption


def _cells(values, said: Callable) -> list[str]:
    """Of `values [A, S, T]` a cell for each arm."""
    estimate = statistics.stratified(values)
    return [said(statistics.entry(estimate, i)) for i in range(len(values))]


def _medians(watched, times):
    estimate = survival.quantile(times.epochs, times.reached, stratified=True, resamples=999)
    return [
        claims.median(statistics.entry(estimate, i), watched.population.epochs)
        for i in range(len(times.epochs))
    ]


PAIRS = ["pair", "of what", "difference", "p (Holm)", "p of equivalence", "verdict"]
PAIRS_CAPTION = (
    "Paired t tests over trials, a trial being its mean over shapes and datasets; Holm over the "
    "pairs of a quantity; equivalence by two one-sided tests at the margin that the findings name."
)


def _pairs(found: claims.Contest) -> list[list[str]]:
    return [
        [
            f"{c.first} − {c.second}",
            f"{found.what}, {found.scale.unit}",
            claims.number(c.difference, found.scale, signed=True),
            f"{c.p_holm:.2g}",
            f"{c.p_equivalence:.2g}",
            c.verdict,
        ]
        for c in found.pairs
    ]
