"""Architecture space: from the results of many architectures to the parts of their report."""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments import (
    elements_architecture_figures,
    elements_architecture_space,
    elements_findings,
    elements_paired,
)
from experiments.elements_findings import MARGIN, Finding, points, probability
from experiments.lab import statistics

SURE = 0.95  # probability from which on an architecture is surely on the front
POSSIBLE = 0.05  # ... and below which it is not worth a word


def analyse(outcome, families: Mapping[int, Sequence[tuple[int, ...]]]) -> dict:
    """Findings, figures and tables; `families` gives the widths of the matched architectures by
    their target number of parameters."""
    space = elements_architecture_space.Space(outcome, families)
    every, told = range(len(space.activations)), []
    if space.tested:
        if len(space.names) > 1:
            told += [_best(space, k) for k in every]
            told += [_front(space, k) for k in every]
            if len(space.activations) > 1:
                told.append(_fronts(space))
            told += [_frugal(space, k) for k in every]
        if np.ptp(space.parameters) > 0:
            told.append(_doubling(space))
        told += [_depth(space, f, k) for f in range(len(space.families)) for k in every]
        told += [_contrast(space, contrast) for contrast in space.contrasts]
    told += elements_findings.failures(space.population, int(np.sum(outcome.rows["diverged"])))
    return {
        "findings": told,
        "figures": elements_architecture_figures.figures(space),
        "tables": elements_architecture_figures.tables(space),
    }


def _best(space, k):
    """The architecture of highest mean, and how sure its rank is."""
    activation, ranks = space.activations[k], space.ranks[k]
    order = np.lexsort((space.parameters, ranks.value))
    best = space.names[order[0]]
    pairs = statistics.compare(space.together[k], space.names, margin=MARGIN)
    own = [c for c in pairs if best in (c.first, c.second)]
    # `best` has the highest mean: where one of a pair is higher, it is.
    ahead = sum(c.verdict.endswith("higher") for c in own)
    alike = sum(c.verdict == "equivalent" for c in own)
    rivals = [space.names[n] for n in order[1:] if ranks.low[n] <= 1]
    shown = [*order[:3], order[-1]] if len(order) > 3 else order
    each = "; ".join(
        f"{_sized(space, n)} {points(statistics.entry(space.means, (k, n)))}, rank "
        f"{ranks.value[n]:g} [{ranks.low[n]:g}, {ranks.high[n]:g}]"
        for n in shown
    )
    sentence = (
        f"{best}: of the other {len(order) - 1} architectures it is ahead of {ahead} and "
        f"equivalent to {alike} within a point (Holm over all pairs). "
        + (f"The first rank may also be that of {', '.join(rivals)}. " if rivals else "")
        + f"The first, and the last: {each}."
    )
    return Finding(f"Which architecture is best for {activation}?", sentence, best)


def _front(space, k):
    """The architectures of which none is better at no more parameters."""
    on, p = (a[k] for a in space.fronts)
    order = np.argsort(space.parameters, kind="stable")
    told = "; ".join(
        f"{_sized(space, n)} {points(statistics.entry(space.means, (k, n)))}, probability "
        f"{_share(p[n])}"
        for n in order
        if on[n]
    )
    sure = [space.names[n] for n in order if p[n] >= SURE]
    perhaps = [f"{space.names[n]} ({_share(p[n])})" for n in order if p[n] >= POSSIBLE and ~on[n]]
    sentence = (
        f"From small to large, with the probability of being on the front: {told}. "
        + (f"Perhaps on it as well: {', '.join(perhaps)}. " if perhaps else "")
        + "The smallest network is on it by definition."
    )
    headline = f"Which architectures are on the Pareto front of {space.activations[k]}?"
    return Finding(headline, sentence, f"surely {', '.join(sure)}")


def _fronts(space):
    """The front over all activations together."""
    on, p = space.front
    order = sorted(np.argwhere(on).tolist(), key=lambda i: space.parameters[i[1]])
    elements = space.population.elements
    told = "; ".join(
        f"{elements[space.arms[k, n]].symbol} ({space.parameters[n]} parameters) "
        f"{points(statistics.entry(space.means, (k, n)))}, probability {_share(p[k, n])}"
        for k, n in order
    )
    share = p.sum(1) / p.sum()
    shares = ", ".join(
        f"{a} {100 * s:.0f} %" for a, s in zip(space.activations, share, strict=True)
    )
    sure = [a for a, own in zip(space.activations, p, strict=True) if (own >= SURE).any()]
    sentence = (
        f"From small to large, with the probability of being on the front: {told}. The expected "
        f"front consists of {shares}."
    )
    verdict = f"surely {', '.join(sure)}" if sure else "none surely"
    return Finding("Which activations make the Pareto front over all?", sentence, verdict)


def _frugal(space, k):
    """The architecture that makes the most of a parameter."""
    ranks = statistics.ranks(space.frugality[k])
    yields = statistics.mean(space.frugality[k])
    order = np.argsort(ranks.value, kind="stable")
    shown = [*order[:3], order[-1]] if len(order) > 3 else order
    each = "; ".join(
        f"{_sized(space, n)} {points(statistics.entry(yields, n))}, rank {ranks.value[n]:g} "
        f"[{ranks.low[n]:g}, {ranks.high[n]:g}]"
        for n in shown
    )
    best = space.names[order[0]]
    sentence = (
        "In points of held-out accuracy above chance for 100 parameters, the first and the last: "
        f"{each}."
    )
    headline = f"Which architecture has most accuracy per parameter for {space.activations[k]}?"
    return Finding(headline, sentence, best)


def _doubling(space):
    """What twice the parameters bring, over architectures of all kinds."""
    told = "; ".join(
        f"{activation} {elements_paired.told(test)}"
        for activation, test in zip(space.activations, space.doublings, strict=True)
    )
    sentence = (
        "In points of held-out accuracy for twice the parameters, a straight line over the "
        f"architectures from {space.parameters.min()} to {space.parameters.max()} parameters: "
        f"{told} (Holm over activations; equivalent: within {100 * MARGIN:g} point over the whole "
        "range)."
    )
    verdict = _verdicts(space, space.doublings)
    return Finding("Do more parameters bring more accuracy?", sentence, verdict)


def _depth(space, f, k):
    """Deep or shallow at equal parameters: a slope, and every depth against both ends."""
    family, activation = space.families[f], space.activations[k]
    own, depths = space.together[k, family.places], family.depths
    change = space.slopes[f, k]
    slope = statistics.slope(own, np.array(depths, float))
    from_first = elements_paired.family(own[1:] - own[0])
    from_last = elements_paired.family(own[:-1] - own[-1])
    inner = [
        depth
        for depth, a, b in zip(depths[1:-1], from_first[:-1], from_last[1:], strict=True)
        if a.verdict == b.verdict == "higher"
    ]
    word = {"higher": "deep", "lower": "shallow", "equivalent": "equivalent"}
    verdict = "in between" if inner else word.get(change.verdict, "undecided")
    p = change.p_equivalence if change.verdict == "equivalent" else change.p
    each = "; ".join(
        f"{depth}: {elements_paired.told(test)}"
        for depth, test in zip(depths[1:], from_first, strict=True)
    )
    between = f"At {', '.join(map(str, inner))} it is higher than at both ends. " if inner else ""
    counts = space.parameters[family.places]
    sentence = (
        f"{verdict[0].upper()}{verdict[1:]}: {points(slope, signed=True)} points a layer from "
        f"{depths[0]} to {_layers(depths[-1])} ({probability(p)}, {change.verdict}; Holm over "
        f"activations and families, equivalent: within {100 * MARGIN:g} point from end to end). "
        f"{between}Against {_layers(depths[0])} (Holm over depths): {each}. The networks have "
        f"{counts.min()} to {counts.max()} parameters."
    )
    headline = f"At about {family.target} parameters, is deep or shallow better for {activation}?"
    return Finding(headline, sentence, verdict)


def _contrast(space, contrast):
    """One architecture against another, with every activation."""
    first, second = (space.plain[widths] for widths in (contrast.first, contrast.second))
    tests = space.contrasts[contrast]
    told = "; ".join(
        f"{activation} {elements_paired.told(test)}"
        for activation, test in zip(space.activations, tests, strict=True)
    )
    sentence = (
        f"{_sized(space, first)} − {_sized(space, second)}, in points, paired by trial: {told} "
        f"(Holm over activations and all pairs that ask about {contrast.question})."
    )
    names = space.names[first], space.names[second]
    asked = {
        elements_architecture_space.BOTTLENECK: "What does the bottleneck {} do, against {}?",
        elements_architecture_space.WIDENING: "Is widening better than narrowing, {} than {}?",
    }[contrast.question].format(*names)
    return Finding(asked, sentence, _verdicts(space, tests))


def _verdicts(space, tests):
    both = zip(space.activations, tests, strict=True)
    return ", ".join(f"{activation} {test.verdict}" for activation, test in both)


def _sized(space, n):
    return f"{space.names[n]} ({space.parameters[n]} parameters)"


def _layers(depth):
    return "1 hidden layer" if depth == 1 else f"{depth} hidden layers"


def _share(p):
    """A probability that never looks surer than it is."""
    return "> 0.99" if 0.99 < p < 1 else "< 0.01" if 0 < p < 0.01 else f"{p:.2f}"
