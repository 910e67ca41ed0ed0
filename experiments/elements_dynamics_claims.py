"""What is claimed of learning dynamics, by which tests: leads, trends over depth, faults.

Shapes: `A` arms, `S` datasets, `T` trials, `G` activations.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.elements_dynamics_measures import Ratio, Watched
from experiments.elements_findings import ALPHA, Finding, points, probability
from experiments.lab import statistics

RARE = 0.05  # a fault that more than one network in twenty has is an activation's own
SOON = 0.01  # of all epochs: times that differ by less count as equivalent, if so tested


class Scale(NamedTuple):
    """How a quantity is told: its unit, `factor` of them in one, digits; and the margin (in the
    quantity's own scale) within which two activations count as equivalent."""

    name: str
    unit: str
    factor: float
    digits: int
    margin: float


def epochs_of(watched: Watched) -> Scale:
    """The scale of times: equivalent is what differs by less than one per cent of all epochs."""
    return Scale("time", "epochs", 1, 0, SOON * watched.population.epochs)


LOSS = Scale("unsteadiness of the loss", "millinats", 1000, 2, 0.001)
TREND = Scale("unsteadiness about the trend", "millinats", 1000, 2, 0.001)
ACROSS = Scale("first/last gradient at the end", "decades", 1, 2, 0.1)
GROWTH = Scale("growth of the weights", "× the start", 1, 2, 0.05)
SATURATED = Scale("saturated", "points", 100, 1, 0.01)
DEAD = Scale("dead units", "points", 100, 1, 0.01)
RANK = Scale("rank of the features", "directions", 1, 2, 0.1)


def number(estimate, scale: Scale, signed=False) -> str:
    """`12.3 [11.0, 13.7]` in the scale's unit."""
    form = f"{{:{'+' if signed else ''}.{scale.digits}f}}"
    # Adding 0 turns a rounded −0 into 0.
    shown = [
        form.format(round(scale.factor * float(v), scale.digits) + 0).replace("-", "−")
        for v in estimate[:3]
    ]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def margin(scale: Scale) -> str:
    """`1 point`, `0.1 decades`."""
    value = scale.factor * scale.margin
    return f"{value:g} {scale.unit.removesuffix('s') if value == 1 else scale.unit}"


def share(estimate) -> str:
    """A share in per cent with its interval, of which only what lies between 0 and 1 can be."""
    value, low, high, n = estimate
    return points(statistics.Estimate(value, np.clip(low, 0, 1), np.clip(high, 0, 1), n))


def median(estimate, last: int) -> str:
    """Median epochs with their interval; what was not reached by the `last` is beyond it."""
    shown = [
        "–" if np.isnan(v) else f"{v:.0f}" if np.isfinite(v) else f">{last}"
        for v in map(float, estimate[:3])
    ]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


class Contest(NamedTuple):
    """A quantity of all activations, `[G, T]`, and its comparison between all pairs."""

    what: str
    scale: Scale
    samples: np.ndarray
    pairs: list[statistics.Comparison]


def contest(watched: Watched, what: str, scale: Scale, samples: np.ndarray) -> Contest:
    """`samples [G, T]` compared between all pairs of activations, if there are several."""
    several = len(watched.activations) > 1
    pairs = statistics.compare(samples, watched.activations, margin=scale.margin) if several else []
    return Contest(what, scale, samples, pairs)


def lead_of(
    watched: Watched,
    found: Contest,
    headline: str,
    lead: str,
    *,
    lowest: bool = False,
    more: Callable[[int], str] = lambda i: "",
) -> list[Finding]:
    """The activations in order (highest first, or the lowest), and how many pairs are settled.

    The verdict is the first one and all that it is not proven to be ahead of.
    """
    if not found.pairs:
        return []
    names, means = watched.activations, statistics.mean(found.samples)
    order = np.argsort(means.value if lowest else -means.value, kind="stable")
    told = "; ".join(
        f"{names[i]} {number(statistics.entry(means, i), found.scale)}{more(i)}" for i in order
    )
    best = names[order[0]]
    better = ("second higher", "first higher") if lowest else ("first higher", "second higher")
    behind = {
        c.second if c.first == best else c.first
        for c in found.pairs
        if best in (c.first, c.second) and c.verdict == better[c.second == best]
    }
    front = ", ".join(name for name in names if name not in behind)
    alike = sum(c.verdict == "equivalent" for c in found.pairs)
    apart = sum(c.verdict.endswith("higher") for c in found.pairs)
    sentence = (
        f"{lead}: {told}. {best} is ahead of {len(behind)} of the other {len(names) - 1} (paired t "
        f"tests, Holm over all pairs). Of all pairs ({len(found.pairs)}) these differ: {apart}; "
        f"are equivalent within {margin(found.scale)}: {alike}; stay undecided: "
        f"{len(found.pairs) - alike - apart}."
    )
    return [Finding(headline, sentence, front if behind else "none ahead")]


def trend(
    watched: Watched,
    headline: str,
    values: np.ndarray,
    scale: Scale,
    what: str,
    never: np.ndarray | None = None,
) -> list[Finding]:
    """Slopes of `values [A, S, T]` over depth by activation, Holm over activations.

    `never [G]` says of which activations no network got where the values are times to.
    """
    if len(watched.depths) < 2:
        return []
    x = np.array(watched.depths, float) - np.mean(watched.depths)
    slopes = (watched.by_depth(values) * (x / (x**2).sum())[:, None]).sum(1)  # [G, T]
    means = statistics.mean(slopes)
    _, p = statistics.against(slopes, 0.0, alternative="two-sided")
    told, signs = [], []
    for i, name in enumerate(watched.activations):
        if never is not None and never[i]:
            told.append(f"{name} never gets there")
            signs.append(f"{name} never")
            continue
        sign = ("+" if means.value[i] > 0 else "−") if p[i] < ALPHA else "0"
        slope = number(statistics.entry(means, i), scale, signed=True)
        told.append(f"{name} {slope} ({probability(p[i])})")
        signs.append(f"{name} {sign}")
    sentence = f"Change a hidden layer of the {what}, over depths {min(watched.depths)} to "
    sentence += f"{max(watched.depths)} (Holm over activations): {'; '.join(told)}."
    return [Finding(headline, sentence, ", ".join(signs))]


def faults(
    watched: Watched, headline: str, found: Ratio, meaning: str, more: str = ""
) -> list[Finding]:
    """Where more than one network in twenty vanishes, or explodes: of which activation and depth.

    One-sided tests against that share, Holm over activations and depths.
    """
    told, verdicts = [], []
    for fault in ("vanishing", "exploding"):
        shares = watched.by_depth(getattr(found, fault))  # [G, D, T]
        means = statistics.mean(shares)
        _, p = statistics.against(shares.reshape(-1, shares.shape[-1]), RARE, alternative="greater")
        seen, sure = means.value > 0, p.reshape(means.value.shape) < ALPHA
        told_of = lambda g, d, m=means: f"{share(statistics.entry(m, (g, d)))} at depth "
        listed = _where(watched, seen, told_of)
        told.append(f"{fault.capitalize()}, in % of the networks: {listed or 'none seen'}.")
        verdicts.append(f"{fault}: {_where(watched, sure) or 'none'}")
    sentence = (
        f"Where {meaning}. {' '.join(told)} {more}In more than one network in twenty (one-sided "
        f"tests, Holm over activations and depths): {'; '.join(verdicts)}."
    )
    known = watched.population.trials > 1
    return [Finding(headline, sentence, "; ".join(verdicts) if known else "")]


def _where(watched, chosen, about: Callable[[int, int], str] | None = None) -> str:
    """`sigmoid at depth 4, 5` of where `chosen [G, D]`, or with something about each of them."""
    told = []
    for g, name in enumerate(watched.activations):
        depths = [(d, depth) for d, depth in enumerate(watched.depths) if chosen[g, d]]
        each = [f"{about(g, d) if about else ''}{depth}" for d, depth in depths]
        if each:
            told.append(f"{name}{'' if about else ' at depth'} {', '.join(each)}")
    return "; ".join(told)
