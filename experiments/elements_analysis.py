"""From the results of a grid of elements to the parts of its report."""

from collections.abc import Mapping

import numpy as np

from experiments import elements_findings, elements_study
from experiments.elements_findings import MARGIN, points
from experiments.elements_population import Population
from experiments.lab import statistics


class Arms:
    """Held-out accuracy of a grid, averaged within each trial over all but what is asked for."""

    def __init__(self, population: Population, rows: Mapping):
        self.population = population
        self.samples = elements_study.cube(population, rows, "test_accuracy")  # [E, S, T]
        self.activations = list(dict.fromkeys(e.activation for e in population.elements))
        self.depths = sorted({e.depth for e in population.elements})

    def where(self, activation: str, depth: int | None = None) -> np.ndarray:
        """`[S, T]`: mean over the elements of this activation and depth (None: any)."""
        chosen = [
            i
            for i, e in enumerate(self.population.elements)
            if e.activation == activation and depth in (None, e.depth)
        ]
        return self.samples[chosen].mean(0)

    def by_activation(self, dataset: str | None = None) -> np.ndarray:
        """`[A, T]`, over all datasets or of one."""
        which = slice(None) if dataset is None else [self.population.datasets.index(dataset)]
        return np.stack([self.where(a)[which].mean(0) for a in self.activations])

    def by_depth(self) -> np.ndarray:
        """`[A, D, S, T]`."""
        return np.stack([[self.where(a, d) for d in self.depths] for a in self.activations])


def grid(population: Population, rows: Mapping) -> dict:
    """Findings, figures and tables of a full grid of square elements."""
    arms = Arms(population, rows)
    several = len(arms.activations) > 1
    ranks = statistics.ranks(arms.by_activation()) if several else None
    pairs = (
        statistics.compare(arms.by_activation(), arms.activations, margin=MARGIN) if several else []
    )
    return {
        "findings": _findings(arms, ranks, pairs, int(np.sum(rows["diverged"]))),
        "figures": _figures(arms, ranks, pairs),
        "tables": _tables(pairs),
    }


def _findings(arms, ranks, pairs, diverged):
    has = set(arms.activations).__contains__
    told = []
    if ranks is not None:
        told += elements_findings.ranking(arms, ranks, pairs)
    if len(arms.depths) > 1:
        told += elements_findings.depth(arms)
    if has("sigmoid"):
        told += elements_findings.collapse(arms, "sigmoid")
    if has("sine") and "spirals" in arms.population.datasets and ranks is not None:
        told += elements_findings.one_dataset(arms, "sine", "spirals")
    if has("relu") and has("leaky_relu"):
        told += elements_findings.pair(pairs, "leaky_relu", "relu")
    return told + elements_findings.failures(arms.population, diverged)


def _figures(arms, ranks, pairs):
    from experiments.lab import figures

    chance, by_depth = elements_findings.chance(arms.population), arms.by_depth()
    made = {"table": _periodic_table(figures, arms)}
    if len(arms.depths) > 1:
        labels = {"xlabel": "hidden layers", "ylabel": "held-out accuracy, %", "chance": chance}
        made["depth"] = (
            figures.bands(
                arms.depths,
                statistics.stratified(by_depth),
                arms.activations,
                title="Held-out accuracy over depth",
                **labels,
            ),
            "Mean over datasets and trials with its 95 % interval; dotted: chance.",
        )
        made["datasets"] = (
            figures.panels(
                arms.depths,
                statistics.mean(np.moveaxis(by_depth, 2, 0)),
                arms.population.datasets,
                arms.activations,
                title="Held-out accuracy over depth, by dataset",
                **labels,
            ),
            "Mean over trials with its 95 % interval; dotted: chance.",
        )
    if ranks is not None:
        made["ranking"] = (
            figures.ranking(
                statistics.mean(arms.by_activation()),
                arms.activations,
                title="Ranking of activations",
                xlabel="held-out accuracy, %",
                ranks=ranks,
            ),
            "Over all shapes and datasets; at the right the 95 % interval of the rank.",
        )
        made["differences"] = (
            figures.differences(
                [c.difference for c in pairs],
                [f"{c.first} − {c.second}" for c in pairs],
                MARGIN,
                title="Paired differences between activations",
                xlabel="difference in held-out accuracy, points",
            ),
            "Paired by trial, over all shapes and datasets; shaded: the margin of equivalence.",
        )
    return made


def _periodic_table(figures, arms):
    elements = arms.population.elements
    columns = sorted({(e.width, e.skip, e.depth) for e in elements})
    place = {(e.activation, e.width, e.skip, e.depth): i for i, e in enumerate(elements)}
    index = np.array([[place[a, *column] for column in columns] for a in arms.activations])
    by_depth_only = len({column[:2] for column in columns}) == 1
    names = [f"{d}" if by_depth_only else f"{d}×{w}{' skip' * s}" for w, s, d in columns]
    figure = figures.table(
        statistics.entry(statistics.stratified(arms.samples), index),
        arms.activations,
        names,
        title="The periodic table: held-out accuracy",
        label="held-out accuracy, %",
        xlabel="hidden layers" if by_depth_only else "hidden layers × width",
        symbols=np.array([e.symbol for e in elements])[index],
    )
    caption = (
        f"Mean over {len(arms.population.datasets)} datasets and {arms.population.trials} trials, "
        "with the half-width of its 95 % interval."
    )
    return figure, caption


def _tables(pairs):
    if not pairs:
        return {}
    header = ["pair", "difference, points", "p (Holm)", "effect d", "p of equivalence", "verdict"]
    rows = [
        [
            f"{c.first} − {c.second}",
            points(c.difference, signed=True),
            f"{c.p_holm:.2g}",
            f"{c.effect:.2f}",
            f"{c.p_equivalence:.2g}",
            c.verdict,
        ]
        for c in pairs
    ]
    caption = (
        "Paired t tests over trials, a trial being its mean over shapes and datasets; Holm over "
        f"all pairs; equivalence by two one-sided tests at {100 * MARGIN:g} point."
    )
    return {"All pairs of activations": (header, rows, caption)}
