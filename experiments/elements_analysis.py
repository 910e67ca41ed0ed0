"""From the results of a grid of elements to figures, tests, and findings in words."""

from collections.abc import Mapping

import numpy as np

from elements import datasets
from experiments import elements_study
from experiments.elements_population import Population
from experiments.lab import figures, statistics

MARGIN = 0.01  # differences in accuracy below one point are called equivalent, if so tested


class Arms:
    """Test accuracy of a grid, averaged per trial over all but what is asked for."""

    def __init__(self, population: Population, rows: Mapping, column="test_accuracy"):
        self.population = population
        self.samples = elements_study.accuracies(population, rows, column)  # [E, S, T]
        self.activations = list(dict.fromkeys(e.activation for e in population.elements))
        self.depths = sorted({e.depth for e in population.elements})

    def where(self, activation=None, depth=None) -> np.ndarray:
        """`[S, T]`: mean over the elements of this activation and depth (None: any)."""
        chosen = [
            i
            for i, e in enumerate(self.population.elements)
            if activation in (None, e.activation) and depth in (None, e.depth)
        ]
        return self.samples[chosen].mean(0)

    def by_activation(self, dataset=None) -> np.ndarray:
        """`[A, T]`, over all datasets or of one."""
        which = slice(None) if dataset is None else [self.population.datasets.index(dataset)]
        return np.stack([self.where(a)[which].mean(0) for a in self.activations])

    def by_depth(self) -> np.ndarray:
        """`[A, D, S, T]`."""
        return np.stack([[self.where(a, d) for d in self.depths] for a in self.activations])


def grid(population: Population, rows: Mapping) -> dict:
    """The report's parts (findings, figures, tables) for a full grid of square elements."""
    arms = Arms(population, rows)
    ranked = statistics.ranks(arms.by_activation()) if len(arms.activations) > 1 else None
    pairs = _compare(arms.by_activation(), arms.activations)
    diverged = int(np.sum(rows["diverged"]))
    findings = [
        *_ranking(arms, ranked, pairs),
        *_depth(arms),
        *_collapse(arms, "sigmoid"),
        *_one_dataset(arms, "sine", "spirals"),
        *_pair(pairs, "leaky_relu", "relu"),
        _failures(population, diverged),
    ]
    return {
        "findings": findings,
        "figures": _figures(arms, ranked, pairs),
        "tables": _tables(pairs),
    }


def _compare(samples, names):
    return statistics.compare(samples, names, margin=MARGIN) if len(names) > 1 else []


def points(estimate, signed=False) -> str:
    """An estimate of a share as text, in percentage points: `97.3 [96.9, 97.6]`."""
    one = "{:+.1f}" if signed else "{:.1f}"
    value, low, high = (100 * float(getattr(estimate, k)) for k in ("value", "low", "high"))
    return f"{one.format(value)} [{one.format(low)}, {one.format(high)}]"


def _chance(population) -> float:
    return max(datasets.find(name).chance for name in population.datasets)


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _ranking(arms, ranked, pairs):
    if ranked is None:
        return []
    means = statistics.mean(arms.by_activation())
    order = np.argsort(ranked.value, kind="stable")
    told = "; ".join(
        f"{arms.activations[i]} {points(statistics.Estimate(*(np.asarray(f)[i] for f in means[:3]), means.n))}"
        f" (rank {ranked.low[i]:g} to {ranked.high[i]:g})"
        for i in order
    )
    best = arms.activations[order[0]]
    beaten = [
        c
        for c in pairs
        if c.verdict == ("first higher" if c.first == best else "second higher")
        and best in (c.first, c.second)
    ]
    apart = sum(c.verdict.endswith("higher") for c in pairs)
    alike = sum(c.verdict == "equivalent" for c in pairs)
    return [
        (
            "Ranking of activations",
            f"Held-out accuracy in %, over all depths and datasets: {told}.",
        ),
        (
            f"Is {best} best?",
            f"{best} is ahead of {len(beaten)} of the other {len(arms.activations) - 1} activations "
            f"after Holm's correction. Of all {len(pairs)} pairs {apart} differ, {alike} are "
            f"equivalent within {100 * MARGIN:g} point, {len(pairs) - apart - alike} stay undecided.",
        ),
    ]


def _depth(arms):
    if len(arms.depths) < 2:
        return []
    slopes = statistics.slope(arms.by_depth().mean(2), np.array(arms.depths, float))
    told = []
    for i, name in enumerate(arms.activations):
        low, high = slopes.low[i], slopes.high[i]
        word = "gains" if low > 0 else "loses" if high < 0 else "shows no clear trend at"
        one = statistics.Estimate(slopes.value[i], low, high, slopes.n)
        told.append(f"{name} {word} {points(one, signed=True)}")
    return [("Depth", f"Points of held-out accuracy per added layer: {'; '.join(told)}.")]


def _collapse(arms, name):
    """Whether an activation falls to chance, by depth: tested against chance, Holm over depths."""
    if name not in arms.activations:
        return []
    chance = _chance(arms.population)
    samples = np.stack([arms.where(name, depth).mean(0) for depth in arms.depths])
    means = statistics.mean(samples)
    _, p = statistics.against(samples, chance, alternative="greater")
    told = [
        f"depth {depth}: {points(statistics.Estimate(means.value[i], means.low[i], means.high[i], means.n))}, {_p(p[i])}"
        for i, depth in enumerate(arms.depths)
    ]
    lost = [depth for depth, value in zip(arms.depths, p, strict=True) if not value < 0.05]
    verdict = (
        f"not told apart from chance at depth {', '.join(map(str, lost))}"
        if lost
        else "above chance at every depth"
    )
    return [
        (
            f"Does {name} collapse?",
            f"Averaged over the datasets, {name} is {verdict} (one-sided test against "
            f"{100 * chance:g} %, Holm over depths): {'; '.join(told)}.",
        )
    ]


def _one_dataset(arms, name, dataset):
    if name not in arms.activations or dataset not in arms.population.datasets:
        return []
    if len(arms.activations) < 2:
        return []
    pairs = _compare(arms.by_activation(dataset), arms.activations)
    told = []
    for c in pairs:
        if name not in (c.first, c.second):
            continue
        other = c.second if c.first == name else c.first
        d = c.difference
        if c.first != name:
            d = statistics.Estimate(-d.value, -d.high, -d.low, d.n)
        told.append(f"{points(d, signed=True)} against {other} ({_p(c.p_holm)})")
    return [(f"{name} on {dataset}", f"Over all depths, in points: {'; '.join(told)}.")]


def _pair(pairs, first, second):
    for c in pairs:
        if {c.first, c.second} == {first, second}:
            words = {
                "equivalent": f"equivalent within {100 * MARGIN:g} point",
                "undecided": "neither told apart nor shown to be equivalent",
                "first higher": f"{c.first} is higher",
                "second higher": f"{c.second} is higher",
            }
            return [
                (
                    f"{c.first} against {c.second}",
                    f"{points(c.difference, signed=True)} points, {_p(c.p_holm)} for a difference, "
                    f"{_p(c.p_equivalence)} for equivalence: {words[c.verdict]}.",
                )
            ]
    return []


def _failures(population, diverged):
    return (
        "Failed networks",
        f"{diverged} of {population.size:,} networks diverged (a weight or the loss is not finite)"
        + (
            "; they are kept in every mean, a NaN prediction counting as wrong."
            if diverged
            else "."
        ),
    )


def _figures(arms, ranked, pairs):
    population, by_depth = arms.population, arms.by_depth()
    columns = list(dict.fromkeys((e.width, e.skip, e.depth) for e in population.elements))
    columns.sort()
    place = {(e.activation, e.width, e.skip, e.depth): i for i, e in enumerate(population.elements)}
    index = np.array([[place[a, *c] for c in columns] for a in arms.activations])
    cells = statistics.stratified(arms.samples)
    several = len({(width, skip) for width, skip, _ in columns}) > 1
    label = lambda w, s, d: f"{d}×{w}{' skip' if s else ''}" if several else str(d)
    chance = _chance(population)
    made = {
        "table": (
            figures.table(
                statistics.Estimate(
                    cells.value[index], cells.low[index], cells.high[index], cells.n
                ),
                arms.activations,
                [label(*c) for c in columns],
                title="The periodic table: held-out accuracy",
                label="held-out accuracy, %",
                xlabel="hidden layers × width" if several else "hidden layers",
                symbols=np.array([e.symbol for e in population.elements])[index],
            ),
            f"Mean over {len(population.datasets)} datasets and {population.trials} trials, with "
            "the half-width of its 95 % interval.",
        ),
    }
    if len(arms.depths) > 1:
        made["depth"] = (
            figures.bands(
                arms.depths,
                statistics.stratified(by_depth),
                arms.activations,
                title="Held-out accuracy over depth",
                xlabel="hidden layers",
                ylabel="held-out accuracy, %",
                chance=chance,
            ),
            "Mean over datasets and trials with its 95 % interval; dotted: chance.",
        )
        made["datasets"] = (
            figures.panels(
                arms.depths,
                statistics.mean(np.moveaxis(by_depth, 2, 0)),
                population.datasets,
                arms.activations,
                title="Held-out accuracy over depth, by dataset",
                xlabel="hidden layers",
                ylabel="held-out accuracy, %",
                chance=chance,
            ),
            "Mean over trials with its 95 % interval.",
        )
    if ranked is not None:
        made["ranking"] = (
            figures.ranking(
                statistics.mean(arms.by_activation()),
                arms.activations,
                title="Ranking of activations",
                xlabel="held-out accuracy, %",
                ranks=ranked,
            ),
            "Over all depths and datasets; at the right the 95 % interval of the rank.",
        )
        made["differences"] = (
            figures.differences(
                [c.difference for c in pairs],
                [f"{c.first} − {c.second}" for c in pairs],
                MARGIN,
                title="Paired differences between activations",
                xlabel="difference in held-out accuracy, points",
            ),
            "Paired by trial over all depths and datasets; shaded: the margin of equivalence.",
        )
    return made


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
        "Paired t tests over trials (each trial's mean over depths and datasets), Holm over all "
        f"pairs; equivalence by two one-sided tests at {100 * MARGIN:g} point."
    )
    return {"All pairs of activations": (header, rows, caption)}


def against_published(population, rows, published) -> dict:
    """Our training accuracy beside a published one, cell by cell.

    The published trials shared one data draw, so the standard error of a published mean lies
    between s/√n (all variance from the initialisation) and s (all from the data), s being our
    standard deviation over trials that vary both. A difference is judged by both.
    """
    samples = elements_study.accuracies(population, rows, "train_accuracy")
    estimate = statistics.mean(samples)
    header = ["element", "dataset", "ours, %", "published, %", "difference", "within its error?"]
    body, counts = [], {"yes": 0, "as one data draw": 0, "no": 0}
    for i, e in enumerate(population.elements):
        for j, dataset in enumerate(population.datasets):
            theirs = published.get((e.activation, e.depth, dataset))
            if theirs is None or set(e.widths) != {8} or e.skip:
                continue
            s, n = samples[i, j].std(ddof=1) if population.trials > 1 else np.nan, population.trials
            difference = estimate.value[i, j] - theirs
            narrow, wide = 1.96 * s * np.sqrt(2 / n), 1.96 * s * np.sqrt(1 + 1 / n)
            size = abs(difference) - 0.0005  # published to a tenth of a point
            verdict = "yes" if size <= narrow else "as one data draw" if size <= wide else "no"
            counts[verdict] += 1
            one = statistics.Estimate(*(f[i, j] for f in estimate[:3]), n)
            body.append(
                [
                    e.symbol,
                    dataset,
                    points(one),
                    f"{100 * theirs:.1f}",
                    f"{100 * difference:+.1f}",
                    verdict,
                ]
            )
    if not body:
        return {}
    total = len(body)
    caption = (
        f"Of {total} cells {counts['yes']} agree within the sampling error of both means over "
        f"trials; {counts['as one data draw']} only if the published error is that of a single "
        f"draw of the data, which all published trials shared; {counts['no']} not even so."
    )
    return {"Training accuracy beside the published one": (header, body, caption)}
