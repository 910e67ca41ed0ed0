"""Answers of the page that carry an interval: cells of the table, curves, differences."""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.lab import statistics
from experiments.shell.web import backend, design, frames

ALL = "all"
MARGIN = 0.01  # of equivalence, for shares
FEWER = 999  # resamples of a curve: its band is looked at, not quoted


def samples(frame: frames.Frame, own: design.Design, metric: str, arms=None) -> np.ndarray:
    """`[A, S, T]`: a metric over arms (all, or those at `arms`), datasets and trials; what is not
    stored yet is masked."""
    chosen = np.arange(len(own.arms)) if arms is None else np.asarray(arms)
    rows, where = own.rows(None if arms is None else chosen), np.full(len(own.arms), -1)
    where[chosen] = np.arange(len(chosen))
    shape = len(chosen), len(own.datasets), len(own.trials)
    cells = where[own.arm[rows]], own.dataset[rows], own.trial[rows]
    dense = np.ma.masked_all(shape)
    dense[cells] = np.asarray(frame.columns[metric][rows], np.float64)
    return dense


def units(dense: np.ndarray, own: design.Design, dataset: str) -> np.ndarray:
    """`[A, T]` of `samples`: a trial is its value on the dataset, or its mean over all (masked
    until all are stored)."""
    if dataset != ALL:
        return dense[:, own.datasets.index(dataset)]
    whole = ~np.ma.getmaskarray(dense).any(axis=1)
    return np.ma.array(dense.filled(np.nan).mean(axis=1), mask=~whole)


def means(rows: np.ndarray, resamples: int = 4999) -> list[dict]:
    """The mean of each masked row `[A, T]` over the trials that it has, with its interval."""
    there = ~np.ma.getmaskarray(rows)
    counts, found = there.sum(1), [None] * len(rows)
    for n in np.unique(counts):
        which = np.flatnonzero(counts == n)
        if n == 0:
            none = {"value": None, "low": None, "high": None, "n": 0}
            found = [none if counts[i] == 0 else f for i, f in enumerate(found)]
            continue
        dense = np.ma.getdata(rows)[which][there[which]].reshape(len(which), n)
        estimate = statistics.mean(dense, resamples=resamples)
        for place, i in enumerate(which):
            found[i] = estimated(statistics.entry(estimate, place))
    return found


def estimated(estimate: statistics.Estimate) -> dict:
    value, low, high = (number(v) for v in estimate[:3])
    return {"value": value, "low": low, "high": high, "n": estimate.n}


def number(value):
    """A float for JSON: None for what is not finite."""
    value = float(value)
    return value if np.isfinite(value) else None


def numbers(values: np.ndarray, digits: int = 6) -> list:
    """An array for JSON, to so many significant digits."""
    if values.ndim > 1:
        return [numbers(row, digits) for row in values]
    return [float(f"{v:.{digits}g}") if np.isfinite(v) else None for v in values.tolist()]


def table(
    frame: frames.Frame, own: design.Design, metric: str, dataset: str, science: backend.Backend
) -> dict:
    """The periodic table: panels (one for each level of the factors) of rows × columns of cells."""
    told = means(units(samples(frame, own, metric), own, dataset))
    kinds = [
        {science.element: element, **{name: values[i] for name, values in own.properties.items()}}
        for i, element in enumerate(own.elements)
    ]
    row_title, column_title, places = science.places(kinds)
    rows = list(dict.fromkeys(p.row for p in sorted(places, key=lambda p: p.row_order)))
    columns = list(dict.fromkeys(p.column for p in sorted(places, key=lambda p: p.column_order)))
    of_arm = [places[element] for element in own.arm_element]
    column, levels = [columns.index(p.column) for p in of_arm], own.arm_levels
    if len(columns) == 1 and own.factors:  # the factors' levels make better columns than panels
        said = [" · ".join(level.values()) for level in levels]
        columns, column_title = list(dict.fromkeys(said)), " · ".join(own.factors)
        column, levels = [columns.index(text) for text in said], [{}] * len(said)
    panels: dict[tuple, dict] = {}
    for i, (label, element) in enumerate(zip(own.arms, own.arm_element, strict=True)):
        panel = panels.setdefault(tuple(levels[i].items()), {"levels": levels[i], "cells": []})
        cell = {"arm": label, "element": own.elements[element], **told[i]}
        cell |= {"row": rows.index(of_arm[i].row), "column": column[i]}
        panel["cells"].append(cell)
    values = [t["value"] for t in told if t["value"] is not None]
    return {
        "metric": metric,
        "dataset": dataset,
        "rows": {"title": row_title, "names": rows},
        "columns": {"title": column_title, "names": columns},
        "range": [min(values), max(values)] if values else None,
        "trials": len(own.trials),
        "panels": list(panels.values()),
    }


def summary(
    frame: frames.Frame, own: design.Design, metrics: Sequence[str], arms: Sequence[int]
) -> list[dict]:
    """An estimate of each metric for each of `arms` by dataset, and over all datasets."""
    dense = {metric: samples(frame, own, metric, arms) for metric in metrics}
    told = {
        (metric, dataset): means(units(dense[metric], own, dataset))
        for metric in metrics
        for dataset in (*own.datasets, ALL)
    }
    return [
        {
            "arm": own.arms[arm],
            "element": own.elements[own.arm_element[arm]],
            **own.arm_levels[arm],
            "dataset": dataset,
            **{metric: told[metric, dataset][i] for metric in metrics},
        }
        for i, arm in enumerate(arms)
        for dataset in (*own.datasets, ALL)
    ]


def curves(
    columns: Mapping[str, np.ndarray], metrics: Sequence[str], trial_of: Mapping[int, int]
) -> dict:
    """Each metric over epochs: the mean over trials with its band.

    `columns` are rows of one arm, on one dataset or several; `trial_of` gives each network's
    trial: the unit. A trial counts as its mean over its networks.
    """
    epochs, epoch = np.unique(columns["epoch"], return_inverse=True)
    trials, trial = np.unique([trial_of[n] for n in columns["network"]], return_inverse=True)
    flat = epoch * len(trials) + trial
    counts = np.bincount(flat, minlength=len(epochs) * len(trials)).reshape(len(epochs), -1)
    whole = (counts == counts.max()).all(axis=1)
    found = {}
    for metric in metrics:
        values = np.asarray(columns[metric], np.float64)
        sums = np.bincount(flat, values, len(epochs) * len(trials)).reshape(counts.shape)
        estimate = statistics.mean(sums[whole] / counts[whole], resamples=FEWER)
        band = {f: numbers(np.asarray(getattr(estimate, f))) for f in ("value", "low", "high")}
        found[metric] = {**band, "n": estimate.n}
    return {"epochs": epochs[whole].tolist(), "trials": len(trials), "metrics": found}


def layers(columns: Mapping[str, np.ndarray], leave: Sequence[str]) -> dict:
    """Each quantity over epochs × layers `[R, L]`: the mean over networks."""
    epochs, epoch = np.unique(columns["epoch"], return_inverse=True)
    names, layer = _ordered(columns["layer"])
    flat, size = epoch * len(names) + layer, len(epochs) * len(names)
    counts = np.bincount(flat, minlength=size)
    found = {}
    for name, column in columns.items():
        if name in leave or column.dtype.kind not in "fiub":
            continue
        with np.errstate(invalid="ignore"):  # an epoch that has no such layer is unknown
            values = np.bincount(flat, np.asarray(column, np.float64), size) / counts
        found[name] = numbers(values.reshape(len(epochs), len(names)))
    return {
        "epochs": epochs.tolist(),
        "layers": [str(name) for name in names],
        "networks": len(np.unique(columns["network"])),
        "quantities": found,
    }


def _ordered(column):
    values, code = np.unique(np.asarray(column), return_inverse=True)
    return values.tolist(), code.ravel()


def compare(frame, own: design.Design, arms: Sequence[int], metric: str, dataset: str) -> dict:
    """Means of some arms and all their paired differences, over the trials that all have."""
    rows = units(samples(frame, own, metric, arms), own, dataset)
    shared = ~np.ma.getmaskarray(rows).any(axis=0)
    if not shared.any():
        raise backend.Invalid("these have no trial in common yet: compare them when more is stored")
    dense, names = np.ma.getdata(rows)[:, shared], [own.arms[a] for a in arms]
    margin = MARGIN if metric.endswith("accuracy") else _margin(dense)
    pairs = statistics.compare(dense, names, margin=margin)
    return {
        "metric": metric,
        "dataset": dataset,
        "margin": margin,
        "trials": int(shared.sum()),
        "means": [
            {"arm": arm, **told} for arm, told in zip(names, means(np.ma.array(dense)), strict=True)
        ],
        "pairs": [
            {
                **pair._asdict(),
                "difference": estimated(pair.difference),
                **{f: number(getattr(pair, f)) for f in ("p", "p_holm", "effect", "p_equivalence")},
            }
            for pair in pairs
        ],
    }


def _margin(dense: np.ndarray) -> float:
    """For what is no share: a hundredth of the largest mean."""
    size = float(np.nanmax(np.abs(dense.mean(axis=1)), initial=0.0))
    return size / 100 if np.isfinite(size) and size > 0 else MARGIN
