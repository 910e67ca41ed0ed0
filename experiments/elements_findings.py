"""Findings in words, generated from the tests: none is written by hand."""

from typing import NamedTuple

import numpy as np

from elements import datasets
from experiments.lab import statistics

MARGIN = 0.01  # accuracies that differ by less than one point count as equivalent, if so tested
ALPHA = 0.05


class Finding(NamedTuple):
    """A headline and a sentence; where the headline is a question of the study, its answer in a
    word or two, which is compared between protocols ('' for none)."""

    headline: str
    sentence: str
    verdict: str = ""


def points(estimate, signed=False) -> str:
    """A share with its interval, in percentage points: `97.3 [96.9, 97.6]`."""
    one = "{:+.1f}" if signed else "{:.1f}"
    # Adding 0 turns a rounded −0 into 0.
    shown = [one.format(round(100 * float(v), 1) + 0) for v in estimate[:3]]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def probability(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def chance(population) -> float:
    return max(datasets.find(name).chance for name in population.datasets)


def ranking(arms, ranks, pairs) -> list[Finding]:
    """Who leads, how sure the order is, and how many pairs really differ."""
    means = statistics.mean(arms.by_activation())
    order = np.argsort(ranks.value, kind="stable")
    told = "; ".join(
        f"{arms.activations[i]} {points(statistics.entry(means, i))}, "
        f"rank {ranks.low[i]:g} to {ranks.high[i]:g}"
        for i in order
    )
    best = arms.activations[order[0]]
    ahead = sum(
        (c.first == best and c.verdict == "first higher")
        or (c.second == best and c.verdict == "second higher")
        for c in pairs
    )
    apart = sum(c.verdict.endswith("higher") for c in pairs)
    alike = sum(c.verdict == "equivalent" for c in pairs)
    open_ = len(pairs) - apart - alike
    return [
        Finding("Ranking", f"Held-out accuracy in %, over all shapes and datasets: {told}."),
        Finding(
            "Which activation leads?",
            f"{best}: it is ahead of {ahead} of the other {len(arms.activations) - 1} activations "
            f"after Holm's correction. Of all pairs ({len(pairs)}) these differ: {apart}; are "
            f"equivalent within {100 * MARGIN:g} point: {alike}; stay undecided: {open_}.",
            f"{best}, ahead of {ahead} of {len(arms.activations) - 1}",
        ),
    ]


def depth(arms) -> list[Finding]:
    """The slope of accuracy over depth, by activation."""
    slopes = statistics.slope(arms.by_depth().mean(2), np.array(arms.depths, float))
    told, signs = [], []
    for i, name in enumerate(arms.activations):
        one = statistics.entry(slopes, i)
        sign = "+" if one.low > 0 else "−" if one.high < 0 else "0"
        word = {"+": "gains", "−": "loses", "0": "shows no clear trend,"}[sign]
        told.append(f"{name} {word} {points(one, signed=True)}")
        signs.append(f"{name} {sign}")
    sentence = f"In points of held-out accuracy a layer: {'; '.join(told)}."
    return [Finding("What does depth do?", sentence, ", ".join(signs))]


def collapse(arms, name: str) -> list[Finding]:
    """At which depths an activation is not told apart from chance (Holm over depths)."""
    level = chance(arms.population)
    samples = np.stack([arms.where(name, depth).mean(0) for depth in arms.depths])
    means = statistics.mean(samples)
    _, p = statistics.against(samples, level, alternative="greater")
    told = "; ".join(
        f"{points(statistics.entry(means, i))} at {depth} ({probability(p[i])})"
        for i, depth in enumerate(arms.depths)
    )
    lost = [str(depth) for depth, value in zip(arms.depths, p, strict=True) if not value < ALPHA]
    verdict = "above chance at every depth"
    if lost:
        verdict = f"not told apart from chance at depth {', '.join(lost)}"
    return [
        Finding(
            f"Does {name} collapse?",
            f"Over the datasets together it is {verdict} (one-sided tests against "
            f"{100 * level:g} %, Holm over depths). Held-out accuracy by depth: {told}.",
            verdict,
        )
    ]


def one_dataset(arms, name: str, dataset: str) -> list[Finding]:
    """How an activation stands on one dataset against each of the others."""
    pairs = statistics.compare(arms.by_activation(dataset), arms.activations, margin=MARGIN)
    told, ahead = [], 0
    for c in pairs:
        if name not in (c.first, c.second):
            continue
        d, other = c.difference, c.second
        if c.second == name:
            d, other = statistics.Estimate(-d.value, -d.high, -d.low, d.n), c.first
        ahead += bool(d.value > 0 and c.p_holm < ALPHA)
        told.append(f"{points(d, signed=True)} against {other} ({probability(c.p_holm)})")
    sentence = f"In points, over all shapes: {'; '.join(told)}."
    verdict = f"ahead of {ahead} of {len(told)}"
    return [Finding(f"How does {name} do on {dataset}?", sentence, verdict)]


def pair(pairs, first: str, second: str) -> list[Finding]:
    """The verdict on two activations."""
    (c,) = (c for c in pairs if {c.first, c.second} == {first, second})
    verdict = {
        "equivalent": f"equivalent within {100 * MARGIN:g} point",
        "undecided": "neither told apart nor shown to be equivalent",
        "first higher": f"{c.first} is higher",
        "second higher": f"{c.second} is higher",
    }[c.verdict]
    return [
        Finding(
            f"{first} against {second}?",
            f"{points(c.difference, signed=True)} points ({probability(c.p_holm)} for a "
            f"difference, {probability(c.p_equivalence)} for equivalence): {verdict}.",
            verdict,
        )
    ]


def failures(population, diverged: int) -> list[Finding]:
    kept = "; they stay in every mean, where a NaN prediction counts as wrong" if diverged else ""
    return [
        Finding(
            "Failed networks",
            f"{diverged} of {population.size:,} networks diverged (a weight or the loss is not "
            f"finite){kept}.",
        )
    ]
