"""The analysis of the study of fitness: correlations with the truth, and who would be picked.

Shapes: `F` measures, `K` kinds of groups, `M` moments, `T` seeds.
"""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.apoptosis_fitness_training import Experiment, kind
from experiments.lab import charts, figures, statistics, table
from experiments.shell import run

ALPHA = 0.05
CONTROL = "random"
COLUMNS = ("correlation", "signed", "overlap")


class Found(NamedTuple):
    """The numbers of a run, `[F, K, M, T]` each, means over the layers of a kind; `chance [K]` is
    the overlap that picks at random have."""

    measures: Sequence[str]
    kinds: Sequence[str]
    moments: Sequence[int]
    correlation: np.ndarray
    signed: np.ndarray
    overlap: np.ndarray
    chance: np.ndarray


def read(experiment: Experiment, folder: pathlib.Path) -> Found:
    """What a finished run has found."""
    rows = run.read(folder, "results")
    groups = list(dict.fromkeys(rows["group"]))
    kinds = sorted({kind(group) for group in groups}, reverse=True)
    axes = {
        "measure": experiment.measures,
        "group": groups,
        "step": experiment.moments,
        "seed": range(experiment.seeds),
    }
    members = [[i for i, group in enumerate(groups) if kind(group) == own] for own in kinds]

    def by_kind(column):
        dense = table.cube(rows, column, **axes)
        return np.stack([dense[:, own].mean(1) for own in members], 1)

    chance = by_kind("chance")[0, :, 0, 0]
    return Found(experiment.measures, kinds, experiment.moments, *map(by_kind, COLUMNS), chance)


def summary(experiment: Experiment, found: Found) -> dict[str, np.ndarray]:
    """A row per kind, moment and measure, with 95 % intervals over seeds."""
    places = list(np.ndindex(len(found.kinds), len(found.moments), len(found.measures)))
    kinds, moments, measures = np.transpose(places)
    columns = {
        "preset": np.array([experiment.subject.preset.name] * len(places)),
        "kind": np.array(found.kinds)[kinds],
        "step": np.array(found.moments)[moments],
        "measure": np.array(found.measures)[measures],
        "n": np.full(len(places), experiment.seeds),
    }
    for name in COLUMNS:
        estimate = statistics.mean(getattr(found, name))
        for suffix, values in zip(("", "_low", "_high"), estimate[:3], strict=True):
            columns[f"{name}{suffix}"] = values[measures, kinds, moments]
    return columns | {"overlap_by_chance": found.chance[kinds]}


class Verdict(NamedTuple):
    """A measure's mean over moments, and whether it is told from the control on the same seeds.

    `p` is of a two-sided paired t test, Holm-corrected over all measures and kinds.
    """

    measure: str
    kind: str
    estimate: statistics.Estimate
    p: float

    @property
    def told(self) -> str:
        if self.measure == CONTROL:
            return "the control"
        if not self.p < ALPHA:
            return "undecided"
        return "better than the control" if self.better else "worse than the control"

    @property
    def better(self) -> bool:
        return bool(self.estimate.value > 0)


def verdicts(found: Found, column: str) -> list[Verdict]:
    """All measures and kinds, of `correlation` or `overlap`, against the control if it is there.

    Without the control they are tested against what chance gives.
    """
    values = getattr(found, column).mean(2)  # [F, K, T]
    base = np.zeros_like(values[0]) if column != "overlap" else found.chance[:, None]
    if CONTROL in found.measures:
        base = values[found.measures.index(CONTROL)]
    others = [i for i, name in enumerate(found.measures) if name != CONTROL]
    estimates = statistics.mean(values)
    p = np.full(values.shape[:2], np.nan)
    apart = values[others] - base
    if others:
        flat = apart.reshape(-1, values.shape[-1])
        _, corrected = statistics.against(flat, 0.0, alternative="two-sided")
        p[others] = corrected.reshape(len(others), -1)
    return [
        Verdict(name, own, statistics.entry(estimates, (i, k)), float(p[i, k]))
        for k, own in enumerate(found.kinds)
        for i, name in enumerate(found.measures)
    ]


def analyse(experiment: Experiment, found: Found) -> dict:
    """The parts of the report."""
    by = {column: verdicts(found, column) for column in ("correlation", "overlap")}
    findings = []
    for k, own in enumerate(found.kinds):
        findings.append(
            (
                f"Which fitness knows what a neuron is worth? ({own})",
                "Rank correlation with the absolute change of the held-out loss, mean over the "
                f"moments: {_listed(by['correlation'], own, 1, 2)}.",
            )
        )
        findings.append(
            (
                f"Would it pick the right ones? ({own})",
                f"Of its lowest {experiment.share:.0%}, so many per cent are the oracle's lowest "
                f"(by chance {100 * found.chance[k]:.1f}): {_listed(by['overlap'], own, 100, 1)}.",
            )
        )
    unknown = int(np.isnan(found.correlation).sum())
    if unknown:
        told = f"{unknown} of {found.correlation.size} correlations are unknown: all scores equal."
        findings.append(("Unknown", told))
    return {
        "findings": findings,
        "figures": _figures(experiment, found),
        "tables": {own: _table(experiment, found, k) for k, own in enumerate(found.kinds)},
    }


def shown(estimate, unit=1, digits=2) -> str:
    """`0.91 [0.90, 0.93]`."""
    if np.isnan(estimate.value):
        return figures.UNKNOWN
    value, low, high = (f"{float(v) * unit:.{digits}f}" for v in estimate[:3])
    return f"{value} [{low}, {high}]"


def _listed(all_verdicts, own, unit, digits):
    chosen = [v for v in all_verdicts if v.kind == own]
    order = sorted(chosen, key=lambda v: -np.nan_to_num(v.estimate.value, nan=-np.inf))
    return "; ".join(f"{v.measure} {shown(v.estimate, unit, digits)}, {v.told}" for v in order)


def _table(experiment, found, k):
    correlation, signed, overlap = (
        statistics.mean(getattr(found, column)[:, k]) for column in COLUMNS
    )
    rows = [
        [
            name,
            *(shown(statistics.entry(correlation, (i, m))) for m in range(len(found.moments))),
            *(shown(statistics.entry(signed, (i, m))) for m in range(len(found.moments))),
            *(shown(statistics.entry(overlap, (i, m)), 100, 0) for m in range(len(found.moments))),
        ]
        for i, name in enumerate(found.measures)
    ]
    header = ["fitness"]
    header += [
        f"{word}, step {m}"
        for word in ("correlation", "signed", "overlap, %")
        for m in found.moments
    ]
    caption = (
        f"Means over {experiment.seeds} seeds and all layers with 95 % intervals over seeds. "
        "Correlation: Spearman's, of the fitness with the absolute change of the loss on "
        f"{experiment.windows} windows of held-out text when the neuron is silenced; signed: with "
        f"the change itself. Overlap: of the lowest {experiment.share:.0%} by fitness, those that "
        f"are the lowest by absolute change ({100 * found.chance[k]:.1f} % by chance)."
    )
    return header, rows, caption


def _figures(experiment, found):
    sizes = len(found.measures), len(found.kinds) * len(found.moments)
    flat = found.correlation.reshape(*sizes, -1)
    columns = [f"{own} {m}" for own in found.kinds for m in found.moments]
    matrix = charts.matrix(
        statistics.mean(flat),
        found.measures,
        columns,
        title="Fitness against the truth",
        label="rank correlation",
        xlabel="kind of group and training step",
        diverging=True,
        unit=1,
        digits=2,
    )
    overlap = statistics.mean(found.overlap.swapaxes(0, 1))
    panels = figures.panels(
        found.moments,
        overlap,
        found.kinds,
        found.measures,
        title=f"Of the lowest {experiment.share:.0%} by fitness, the lowest in truth",
        xlabel="training step",
        ylabel="per cent",
        chance=found.chance,
    )
    over = f"means over {experiment.seeds} seeds and the layers, with 95 % intervals over seeds"
    return {
        "correlation": (
            matrix,
            "Rank correlation of each fitness with the absolute change of the held-out loss when a "
            f"neuron is silenced: {over}",
        ),
        "overlap": (
            panels,
            f"How many of those that a fitness would pick are the right ones: {over}",
        ),
    }
