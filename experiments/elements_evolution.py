"""What a search in the space of elements has found: the champions and their judgement on test data.

Shapes: `E` champions, `D` datasets, `T` trials, `S` searches, `R` generations.
"""

import functools
import pathlib
from collections.abc import Mapping

import numpy as np

from elements import datasets
from experiments import elements_campaign, elements_entrants
from experiments.elements_entrants import RIVALS, Entrant
from experiments.elements_findings import ALPHA, MARGIN, Finding, points, probability
from experiments.elements_search import METHODS
from experiments.lab import statistics, table
from experiments.shell import run

CAMPS = (*METHODS, RIVALS)
SAID = {
    "first higher": "better",
    "second higher": "worse",
    "equivalent": f"equivalent within {100 * MARGIN:g} point",
    "undecided": "undecided",
}


class Found:
    """The tables of a finished run (as `elements_campaign` writes them), and who won it."""

    def __init__(self, study, contests: Mapping, curves: Mapping):
        self.study, self.contests, self.curves = study, contests, curves

    @staticmethod
    def read(study, folder: pathlib.Path) -> "Found":
        return Found(study, run.read(folder, "contests"), run.read(folder, "curves"))

    @functools.cached_property
    def champions(self) -> dict[Entrant, float]:
        """The best of each search and of phase 5, and their accuracy on validation data: by camp,
        the best first."""
        ranked = elements_campaign.ranked_by(self.contests, elements_campaign.VALIDATION)
        first = elements_entrants.leading(ranked, 1)
        order = sorted(first, key=lambda e: (CAMPS.index(e.method), -ranked[e][0], ranked[e][1]))
        return {entrant: ranked[entrant][0] for entrant in order}

    @functools.cached_property
    def winners(self) -> list[Entrant]:
        """The best champion, by validation data, of each of `CAMPS`."""
        return [next(e for e in self.champions if e.method == camp) for camp in CAMPS]

    @functools.cached_property
    def accuracy(self) -> np.ndarray:
        """`[E, D, T]` of the champions on test data."""
        keep = self.contests["stage"] == elements_campaign.TEST
        rows = {name: column[keep] for name, column in self.contests.items()}
        axes = {"dataset": self.study.datasets, "trial": range(self.study.trials)}
        where = {}
        for number in np.unique(rows["entrant"]):
            own = np.flatnonzero(rows["entrant"] == number)[0]
            where[Entrant.read({n: column[own] for n, column in rows.items()})] = number
        labels = [where[entrant] for entrant in self.champions]
        return table.cube(rows, "accuracy", entrant=labels, **axes)

    def of(self, entrant: Entrant) -> np.ndarray:
        """`[D, T]` of one champion."""
        return self.accuracy[list(self.champions).index(entrant)]

    def curve(self, column: str, method: str) -> np.ndarray:
        """`[R, S]`: a column of the curves over generations and searches."""
        keep = self.curves["method"] == method
        rows = {name: values[keep] for name, values in self.curves.items()}
        axes = {"generation": range(self.study.generations), "search": range(self.study.searches)}
        return table.cube(rows, column, **axes)


def analyse(found: Found) -> dict:
    """The parts of the report, as of a `elements_study.Study`."""
    samples = np.stack([found.of(winner).mean(0) for winner in found.winners])
    pairs = statistics.compare(samples, CAMPS, margin=MARGIN)
    return {
        "findings": _findings(found, pairs),
        "figures": _figures(found, pairs),
        "tables": {"Champions": _champions(found)},
    }


def _findings(found, pairs):
    random, rival, _ = pairs
    evolved = found.winners[0]
    told = [
        _versus(
            "Does the evolved element beat the best of phase 5 at equal parameters?",
            rival,
            f"{evolved.symbol} ({evolved.parameters} parameters) against {found.winners[2].symbol} "
            f"({found.winners[2].parameters}), both chosen on validation data",
        ),
        _versus(
            "Does the evolved element beat that of random search at equal evaluations?",
            random,
            f"{evolved.symbol} ({evolved.parameters} parameters) against {found.winners[1].symbol} "
            f"({found.winners[1].parameters}), both chosen on validation data",
        ),
    ]
    if found.study.searches > 1:
        told.append(_searches(found))
        told += _progress(found) if found.study.generations > 1 else []
    if len(found.study.datasets) > 1:
        told.append(_by_dataset(found))
    keep = found.contests["stage"] == elements_campaign.TEST
    lost = int(np.sum(~np.isfinite(found.contests["loss"][keep])))
    total = (
        f"{lost} of {int(keep.sum()):,} networks of the judgement have a loss that is not finite"
    )
    return [*told, Finding("Failed networks", total + "; they stay in every mean." * (lost > 0))]


def _versus(headline, c, who):
    sentence = (
        f"{who}: {points(c.difference, signed=True)} points of test accuracy over "
        f"{c.difference.n} fresh trials ({probability(c.p_holm)} for a difference, "
        f"{probability(c.p_equivalence)} for equivalence, Holm over all pairs of the three): "
        f"{SAID[c.verdict]}."
    )
    return Finding(headline, sentence, SAID[c.verdict])


def _searches(found):
    """The champions of all searches, a search being the unit."""
    champions = {e.camp: found.of(e).mean() for e in found.champions}
    means = [[champions[m, s] for s in range(found.study.searches)] for m in METHODS]
    (c,) = statistics.compare(np.array(means), METHODS, margin=MARGIN)
    return Finding(
        "Does evolution find better elements than random search, from search to search?",
        f"The champions of {found.study.searches} evolved searches less those of as many random "
        f"ones on the same trials: {points(c.difference, signed=True)} points of test accuracy, "
        f"the search being the unit ({probability(c.p_holm)}): {SAID[c.verdict]}.",
        SAID[c.verdict],
    )


def _progress(found):
    """Whether the last generation's mean is above that of random genomes on the same trials."""
    evolved, random = (found.curve("mean_accuracy", method) for method in METHODS)
    ahead = (evolved - random)[[0, -1]]
    (_, p), estimate = (
        statistics.against(ahead, 0, alternative="greater")[1],
        statistics.mean(ahead),
    )
    verdict = "yes" if p < ALPHA else "not shown"
    first, last = (points(statistics.entry(estimate, i), signed=True) for i in (0, 1))
    return [
        Finding(
            "Do the populations improve?",
            "Mean validation accuracy of a generation less that of random genomes on the same "
            f"trials, over searches: {first} points in the first generation, where both are drawn "
            f"alike, {last} in the last ({probability(p)} for more than 0): {verdict}.",
            verdict,
        )
    ]


def _by_dataset(found):
    difference = found.of(found.winners[0]) - found.of(found.winners[2])
    _, p = statistics.against(difference, 0, alternative="two-sided")
    estimate = statistics.mean(difference)
    told = "; ".join(
        f"{points(statistics.entry(estimate, i), signed=True)} on {name} ({probability(p[i])})"
        for i, name in enumerate(found.study.datasets)
    )
    ahead = int(np.sum((p < ALPHA) & (estimate.value > 0)))
    behind = int(np.sum((p < ALPHA) & (estimate.value < 0)))
    verdict = f"better on {ahead}, worse on {behind} of {len(p)}"
    sentence = f"Evolved less best of phase 5, in points (Holm over datasets): {told}: {verdict}."
    return Finding("On which datasets does the evolved element lead?", sentence, verdict)


def _name(entrant: Entrant) -> str:
    return entrant.method + f" {entrant.search + 1}" * (entrant.search >= 0)


def _champions(found):
    estimate = statistics.mean(found.accuracy.mean(1))
    header = ["champion of", "network", "parameters", "validation, %", "test, %"]
    rows = [
        [
            _name(entrant),
            entrant.symbol,
            f"{entrant.parameters:,}",
            f"{100 * validation:.1f}",
            points(statistics.entry(estimate, i)),
        ]
        for i, (entrant, validation) in enumerate(found.champions.items())
    ]
    caption = (
        "By camp, the best on validation data first (selection and playoff: it was chosen there, "
        "so that number flatters); test accuracy over fresh trials with its 95 % interval. A "
        "network of several activations is written layer by layer, each by letters and width."
    )
    return header, rows, caption


def summary(found: Found) -> dict[str, np.ndarray]:
    """A row per champion × dataset and, as dataset `all`, per champion; 95 % intervals."""
    names = (*found.study.datasets, "all")
    samples = np.concatenate([found.accuracy, found.accuracy.mean(1, keepdims=True)], axis=1)
    estimate = statistics.mean(samples)
    said = [entrant.columns() for entrant in found.champions]
    columns = {n: np.repeat(np.array([c[n] for c in said]), len(names)) for n in said[0]}
    columns["dataset"] = np.tile(np.array(names), len(said))
    columns["n"] = np.full(len(columns["dataset"]), found.study.trials)
    validation = np.full((len(said), len(names)), np.nan)
    validation[:, -1] = list(found.champions.values())
    columns["validation_accuracy"] = validation.ravel()
    for suffix in ("", "_low", "_high"):
        columns["test_accuracy" + suffix] = getattr(estimate, suffix[1:] or "value").ravel()
    return columns


def _figures(found, pairs):
    from experiments.lab import figures

    chance = max(datasets.find(name).chance for name in found.study.datasets)
    estimate = statistics.mean(found.accuracy.mean(1))
    made = {
        "champions": (
            figures.ranking(
                estimate,
                [f"{_name(e)}: {_short(e.symbol)}" for e in found.champions],
                title="The champions on test data",
                xlabel="test accuracy, %",
            ),
            f"Mean over datasets and {found.study.trials} fresh trials, 95 % intervals.",
        ),
        "differences": (
            figures.differences(
                [c.difference for c in pairs],
                [f"{c.first} − {c.second}" for c in pairs],
                MARGIN,
                title="Paired differences between the winners",
                xlabel="difference in test accuracy, points",
            ),
            "The best champion of each camp by validation data, paired by trial; shaded: the "
            "margin of equivalence.",
        ),
        "shapes": (_shapes(found.winners), "Units of each hidden layer, and its activation."),
    }
    if found.study.generations > 1:
        lines = [("best_accuracy", "best"), ("mean_accuracy", "mean")]
        curves = np.stack([found.curve(column, m) for column, _ in lines for m in METHODS])
        made["fitness"] = (
            figures.bands(
                np.arange(1, found.study.generations + 1),
                statistics.mean(curves),
                [f"{method}, {said}" for _, said in lines for method in METHODS],
                title="Fitness over generations",
                xlabel="generation",
                ylabel="validation accuracy, %",
                chance=chance,
            ),
            f"Mean over {found.study.searches} independent searches with its 95 % interval; every "
            "generation on trials of its own, which both methods share; dotted: chance.",
        )
    return made


def _short(symbol, most=40):
    return symbol if len(symbol) <= most else symbol[: most - 1] + "…"


def _shapes(winners):
    """Bars for the layers of each winner, side by side; a bar says its activation."""
    from experiments.lab import figures

    figure = figures.canvas(10, 1.1 + 1.7 * len(winners))
    deepest, widest = max(len(e.widths) for e in winners), max(max(e.widths) for e in winners)
    kinds = list(dict.fromkeys(kind for e in winners for kind in e.kinds))
    axes = figure.subplots(len(winners), sharex=True, sharey=True)
    for own, entrant in zip(axes, winners, strict=True):
        layers = np.arange(1, len(entrant.widths) + 1)
        colours = [figures.COLOURS[kinds.index(k) % len(figures.COLOURS)] for k in entrant.kinds]
        own.bar(layers, entrant.widths, color=colours, width=0.7)
        for layer, width, kind in zip(layers, entrant.widths, entrant.kinds, strict=True):
            own.annotate(
                f"{kind}\n{width}",
                (layer, width),
                (0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                size=9,
            )
        skip = ", skip" if entrant.skip else ""
        figures.entitle(own, f"{_name(entrant)}: {entrant.parameters:,} parameters{skip}")
        own.set(ylabel="units", ylim=(0, 1.45 * widest), xlim=(0.4, deepest + 0.6))
        own.spines[["top", "right"]].set_visible(False)
    axes[-1].set(xlabel="hidden layer", xticks=np.arange(1, deepest + 1))
    return figure
