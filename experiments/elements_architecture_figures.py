"""Figures and tables of the architectures, from an `elements_architecture_space.Space`."""

import numpy as np

from experiments import elements_paired
from experiments.elements_findings import MARGIN, points
from experiments.lab import statistics

ACCURACY = "held-out accuracy, %"
MEANING = "mean over datasets and trials with its 95 % interval"


def figures(space) -> dict:
    """Figures by stem, with their captions."""
    from experiments.lab import charts
    from experiments.lab import figures as lab

    made = {"table": _table(charts, space)}
    if len(space.names) > 1:
        made["front"] = _front(charts, space)
        for k, activation in enumerate(space.activations):
            made[f"front_{activation}"] = _front_of(charts, space, k)
    for family in space.families:
        made[f"family_{family.target}"] = (
            lab.bands(
                family.depths,
                statistics.entry(space.means, (slice(None), family.places)),
                space.activations,
                title=f"Deep or shallow at about {family.target} parameters",
                xlabel="hidden layers, equally wide",
                ylabel=ACCURACY,
                chance=space.chance,
            ),
            f"Held-out accuracy, {MEANING}; dotted: chance. True numbers of parameters: "
            f"{', '.join(map(str, space.parameters[family.places]))}.",
        )
    if not space.tested:
        return made
    if space.contrasts:
        made["contrasts"] = _contrasts(lab, space)
    if len(space.names) > 1:
        for k, activation in enumerate(space.activations):
            made[f"ranking_{activation}"] = (
                lab.ranking(
                    statistics.entry(space.means, k),
                    _sized(space),
                    title=f"Ranking of architectures of {activation}",
                    xlabel=ACCURACY,
                    ranks=space.ranks[k],
                ),
                "Beside the name the number of parameters, at the right the 95 % interval of the "
                "rank over joint resamples of the trials.",
            )
    return made


def _table(charts, space):
    """Architectures that stand for themselves × activations; all where there are no others."""
    matched = {n for family in space.families for n in family.places}
    listed = [n for n in range(len(space.names)) if n not in matched] or range(len(space.names))
    chosen = sorted(listed, key=lambda n: space.parameters[n])
    sized = _sized(space)
    figure = charts.matrix(
        statistics.Estimate(*(a[:, chosen].T for a in space.means[:3]), space.means.n),
        [sized[n] for n in chosen],
        space.activations,
        title="Architectures × activations: held-out accuracy",
        label=ACCURACY,
        ylabel="hidden layers · parameters",
    )
    caption = (
        f"Mean over {len(space.population.datasets)} datasets and {space.population.trials} "
        "trials, with the half-width of its 95 % interval; from small to large. The families of "
        "equal parameters have figures of their own."
    )
    return figure, caption


def _front(charts, space):
    on, _ = space.front
    symbols = np.array([e.symbol for e in space.population.elements])[space.arms]
    figure = charts.scatter(
        np.tile(space.parameters, len(space.activations)),
        statistics.Estimate(*(a.ravel() for a in space.means[:3]), space.means.n),
        symbols.ravel().tolist(),
        np.repeat(space.activations, len(space.names)).tolist(),
        on.ravel(),
        title="Held-out accuracy over parameters, all activations",
        xlabel="parameters",
        ylabel=ACCURACY,
    )
    return figure, f"Every architecture with every activation, {MEANING}."


def _front_of(charts, space, k):
    kinds = ["other shapes"] * len(space.names)
    for family in space.families:
        for n in family.places:
            kinds[n] = f"about {family.target} parameters"
    figure = charts.scatter(
        space.parameters,
        statistics.entry(space.means, k),
        space.names,
        kinds,
        space.fronts[0][k],
        title=f"Held-out accuracy over parameters, {space.activations[k]}",
        xlabel="parameters",
        ylabel=ACCURACY,
    )
    return figure, f"Every architecture, {MEANING}; colours tell the families of equal parameters."


def _contrasts(lab, space):
    rows = [
        (f"{activation}: {_pair(space, contrast)}", test.difference)
        for contrast, tests in space.contrasts.items()
        for activation, test in zip(space.activations, tests, strict=True)
    ]
    labels, differences = zip(*rows, strict=True)
    figure = lab.differences(
        differences,
        labels,
        MARGIN,
        title="Bottlenecks, and widening against narrowing",
        xlabel="difference in held-out accuracy, points",
    )
    return figure, "Paired by trial, over the datasets; shaded: the margin of equivalence."


def tables(space) -> dict:
    """Tables by title: every architecture, the families, and the pairs."""
    made = _every(space)
    for family in space.families:
        made |= _family(space, family)
    if space.tested and space.contrasts:
        made |= _pairs(space)
    return made


def _every(space):
    by_dataset, yields = statistics.mean(space.samples), statistics.mean(space.frugality)
    count, rows = len(space.population.datasets), []
    for k, n in np.ndindex(*space.arms.shape):
        element = space.population.elements[space.arms[k, n]]
        low, high = (int(a[n]) if a[n] == a[n] else "–" for a in space.ranks[k][1:3])
        own = [statistics.entry(by_dataset, (k, n, s)) for s in range(count)]
        overall = statistics.entry(space.means, (k, n))
        rows.append(
            [
                element.symbol,
                str(element.parameters),
                *map(points, [overall, *own]),
                f"{space.ranks[k].value[n]:g} [{low}, {high}]",
                _known(space.fronts[1][k, n]),
                _known(space.front[1][k, n]),
                points(statistics.entry(yields, (k, n))),
            ]
        )
    header = ["element", "parameters", "all", *space.population.datasets, "rank"]
    header += ["on its front", "on the front over all", "points per 100 parameters"]
    caption = (
        f"Held-out accuracy in %, mean over {space.population.trials} trials with its 95 % "
        "interval; rank among the architectures of its activation; probability of being on the "
        "Pareto front of accuracy over parameters, of its activation and over all; accuracy above "
        "chance for 100 parameters."
    )
    return {"Every architecture": (header, rows, caption)}


def _family(space, family):
    rows = []
    for depth, n in zip(family.depths, family.places, strict=True):
        means = [statistics.entry(space.means, (k, n)) for k in range(len(space.activations))]
        width = space.population.elements[space.arms[0, n]].width
        rows.append([str(depth), str(width), str(space.parameters[n]), *map(points, means)])
    header = ["hidden layers", "width", "parameters", *space.activations]
    caption = (
        f"The equal width whose true number of parameters is closest to {family.target}; held-out "
        f"accuracy in %, {MEANING}."
    )
    return {f"About {family.target} parameters": (header, rows, caption)}


def _pairs(space):
    rows = [
        [f"{_pair(space, contrast)}, {activation}", *elements_paired.cells(test)]
        for contrast, tests in space.contrasts.items()
        for activation, test in zip(space.activations, tests, strict=True)
    ]
    caption = f"{elements_paired.CAPTION} All bottlenecks are a family, and widening is."
    return {"Pairs of architectures": (["pair", *elements_paired.HEADER], rows, caption)}


def _pair(space, contrast):
    first, second = (space.names[space.plain[w]] for w in (contrast.first, contrast.second))
    return f"{first} − {second}"


def _sized(space):
    both = zip(space.names, space.parameters, strict=True)
    return [f"{name} · {parameters}" for name, parameters in both]


def _known(probability):
    return "–" if np.isnan(probability) else f"{probability:.2f}"
