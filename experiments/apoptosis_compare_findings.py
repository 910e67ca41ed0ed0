"""Findings of the study of strategies, in words that the tests alone decide."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from experiments import apoptosis_compare_arms as arms_of
from experiments.apoptosis_compare_measures import AFTER, Found
from experiments.elements_findings import Finding, probability
from experiments.lab import paired, statistics

# What the prototype reported, of one run each.
CLAIMED = {"functional": 1.4776, "baseline": 1.4788, "layer_level": 3.46}
CLAIMED_SPIKES = {"mutation_5.4": 1.45, "similar_1.8": 0.17, "functional_similar": 0.03}
NOISE = {"mutation_5.4": "0.3", "similar_1.8": "0.1, functional", "functional_similar": "0"}


@dataclasses.dataclass(frozen=True)
class Tests:
    """All arms but the baseline against it, at a margin in nats: validation loss after the last
    step, its mean over the steps, test loss; and the spikes against 0."""

    found: Found
    margin: float

    @property
    def others(self) -> list[int]:
        return [a for a in range(len(self.found.names)) if a != self.found.baseline]

    def against(self, values: np.ndarray) -> dict[str, paired.Against]:
        """By arm, each of `values` `[A, S]` against the baseline."""
        if not self.others:
            return {}
        tests = paired.against(values[self.others], values[self.found.baseline], margin=self.margin)
        return {self.found.names[a]: t for a, t in zip(self.others, tests, strict=True)}

    def spikes(self) -> dict[str, tuple[statistics.Estimate, float]]:
        """By arm with events: the spike, and the p value that there is none (Holm)."""
        known = [a for a in self.others if np.isfinite(self.found.spikes[a]).all()]
        if not known:
            return {}
        values = self.found.spikes[known]
        means, p = statistics.mean(values), statistics.holm(paired.sign_flip(values))
        return {
            self.found.names[a]: (statistics.entry(means, i), float(p[i]))
            for i, a in enumerate(known)
        }


def nats(estimate, signed=False) -> str:
    """`1.478 [1.470, 1.486]`."""
    form = "{:+.4f}" if signed else "{:.4f}"
    value, low, high = (form.format(float(v)).replace("-", "−") for v in estimate[:3])
    return f"{value} [{low}, {high}]"


def analyse(found: Found, margin: float) -> list[Finding]:
    """All findings, the questions first."""
    tests = Tests(found, margin)
    final = tests.against(found.final)
    return [
        *_preservation(found, final, margin),
        *_layers(found, final, margin),
        *_spikes(found, tests.spikes()),
        *_control(found, margin),
        _all(found, final, margin, "Who differs from the baseline?", "Validation loss at the end"),
        _all(
            found,
            tests.against(found.area),
            margin,
            "And over the whole course?",
            "Mean validation loss over the steps (the area under the curve)",
        ),
        _all(
            found,
            tests.against(found.final_test),
            margin,
            "And on the test part?",
            "Test loss at the end",
        ),
        *_failures(found),
        _speed(found),
    ]


def power(found: Found, arms: int) -> str:
    """A sentence where so few seeds could not show anything."""
    seeds = found.experiment.seeds
    least = paired.smallest(seeds, arms)
    if least < paired.ALPHA:
        return ""
    return (
        f" {seeds} seeds cannot show a difference among {arms} arms: the smallest p that an exact "
        f"test can give is {least:.2g}."
    )


def verdict_of(test: paired.Against, margin: float) -> str:
    """The verdict on an arm's loss in words."""
    return {
        "lower": "lower than the baseline's",
        "higher": "higher than the baseline's",
        "higher, not worse": f"higher than the baseline's, but by less than {margin:g}",
        "not worse": f"not worse than the baseline's by {margin:g}, and not shown to differ",
        "undecided": "neither told apart from the baseline's nor shown to be not worse",
    }[test.verdict]


def _told(name, test, margin) -> str:
    return (
        f"{name}: {nats(test.difference, signed=True)} ({probability(test.p)} for a difference, "
        f"{probability(test.p_margin)} for non-inferiority), {verdict_of(test, margin)}"
    )


def _preservation(found, final, margin) -> list[Finding]:
    own = [name for name in ("functional", "functional_similar") if name in final]
    if not own:
        return []
    claimed = CLAIMED["functional"] - CLAIMED["baseline"]
    told = "; ".join(_told(name, final[name], margin) for name in own)
    return [
        Finding(
            "Does functional preservation beat the baseline?",
            f"The prototype claimed {claimed:+.4f}".replace("-", "−")
            + f" nats ({CLAIMED['functional']} against {CLAIMED['baseline']}, one run each). Here, "
            f"validation loss minus that of the baseline of the same seed, over "
            f"{found.experiment.seeds} seeds, corrected over all {len(final)} arms: "
            f"{told}.{power(found, len(final))}",
            "; ".join(f"{name}: {final[name].verdict}" for name in own),
        )
    ]


def _layers(found, final, margin) -> list[Finding]:
    if "layer_level" not in final:
        return []
    arm = found.names.index("layer_level")
    level = statistics.mean(found.final[arm])
    fails = final["layer_level"].verdict.startswith("higher")
    return [
        Finding(
            "Does layer-level apoptosis fail?",
            f"The prototype's one run, under an optimiser of its own, ended at "
            f"{CLAIMED['layer_level']}. Here, under that of every other arm, it ends at "
            f"{nats(level)}; "
            f"{_told('to the baseline', final['layer_level'], margin)}."
            f"{power(found, len(final))}",
            "worse than the baseline" if fails else final["layer_level"].verdict,
        )
    ]


def _spikes(found, spikes) -> list[Finding]:
    if not spikes:
        return []
    told = []
    for name, (estimate, p) in spikes.items():
        claim = ""
        if name in CLAIMED_SPIKES:
            claim = f", the prototype's at {NOISE[name]}: {CLAIMED_SPIKES[name]:+.2f}"
        told.append(f"{name} {nats(estimate, signed=True)} ({probability(p)}{claim})")
    findings = [
        Finding(
            "How large are the spikes after events?",
            f"Highest training loss within {AFTER} steps after an event, minus that of the "
            f"baseline of the same seed in these steps, mean over events: {'; '.join(told)}."
            f"{power(found, len(spikes))}",
        )
    ]
    pairs = [
        (loud, calm)
        for loud, calm in (
            ("mutation_5.4", "standard"),
            ("crossover_5.4", "crossover"),
            ("crossover_0.1", "crossover"),
            ("functional_5.4", "functional_0.1"),
            ("similar_5.4", "functional_similar"),
            ("similar_1.8", "functional_similar"),
            ("similar_0.1", "functional_similar"),
        )
        if loud in spikes and calm in spikes
    ]
    if not pairs:
        return findings
    place = found.names.index
    apart = np.stack([found.spikes[place(a)] - found.spikes[place(b)] for a, b in pairs])
    means, p = statistics.mean(apart), statistics.holm(paired.sign_flip(apart))
    more = [p[i] < paired.ALPHA and means.value[i] > 0 for i in range(len(pairs))]
    told = "; ".join(
        f"{a} over {b} {nats(statistics.entry(means, i), signed=True)} ({probability(p[i])})"
        for i, (a, b) in enumerate(pairs)
    )
    return [
        *findings,
        Finding(
            "Is the spike noise?",
            f"At the same recipe more noise raises the spike in {sum(more)} of {len(pairs)} pairs "
            f"(exact tests, Holm): {told}.{power(found, len(pairs))}",
            f"in {sum(more)} of {len(pairs)} pairs",
        ),
    ]


def _control(found, margin) -> list[Finding]:
    """Against the random control: does it matter who dies?"""
    if not found.has(arms_of.CONTROL):
        return []
    control = found.names.index(arms_of.CONTROL)
    others = [a for a in range(len(found.names)) if a not in (control, found.baseline)]
    if not others:
        return []
    tests = paired.against(found.final[others], found.final[control], margin=margin)
    groups: dict[str, list[str]] = {}
    for a, test in zip(others, tests, strict=True):
        told = f"{found.names[a]} {nats(test.difference, signed=True)}"
        groups.setdefault(test.verdict.split(",")[0], []).append(told)
    words = {"lower": "lower", "higher": "higher", "not worse": "not worse by the margin"}
    told = ". ".join(
        f"{words.get(verdict, verdict).capitalize()}: {'; '.join(own)}"
        for verdict, own in groups.items()
    )
    better = len(groups.get("lower", ()))
    return [
        Finding(
            "Who beats the random control?",
            f"{better} of {len(others)} end lower than the control, in which random neurons die "
            f"(exact sign-flip tests, Holm). {told}.{power(found, len(others))}",
            f"{better} of {len(others)}",
        )
    ]


def _all(found, tests: dict[str, paired.Against], margin, headline, what) -> Finding:
    counts = {word: 0 for word in ("lower", "higher", "not worse", "undecided")}
    for test in tests.values():
        counts[test.verdict.split(",")[0]] += 1
    order: Sequence[str] = sorted(tests, key=lambda name: tests[name].difference.value)
    told = "; ".join(
        f"{name} {nats(tests[name].difference, signed=True)} ({probability(tests[name].p)}, "
        f"{tests[name].verdict})"
        for name in order
    )
    said = ", ".join(f"{word} {number}" for word, number in counts.items())
    return Finding(
        headline,
        f"{what}, differences to the baseline of the same seed; of {len(tests)} arms: {said}. "
        f"{told or 'No other arm was run'}.{power(found, len(tests)) if tests else ''}",
        said,
    )


def _failures(found) -> list[Finding]:
    broken = ~np.isfinite(found.losses).all(-1)
    if not broken.any():
        return []
    told = ", ".join(f"{found.names[a]} {broken[a].sum()}" for a in np.flatnonzero(broken.any(-1)))
    return [
        Finding(
            "Failed networks",
            f"{broken.sum()} of {broken.size} networks had a loss that is not finite ({told}); "
            "they make their arm's numbers unknown.",
        )
    ]


def _speed(found) -> Finding:
    costs = {name: found.overhead(a) for a, name in enumerate(found.names)}
    known = {name: cost for name, cost in costs.items() if np.isfinite(cost[0])}
    told = "; ".join(
        f"{name} {one:.2g} steps an update, {100 * share:.1f} % of training"
        for name, (one, share) in known.items()
    )
    device = f"{found.times['devices'][-1]} × {found.times['device'][-1]}"
    compute = found.experiment.subject.compute
    interval = found.experiment.interval
    within = [arm.name for arm in found.experiment.arms if arm.pace(interval) is None]
    apart = f"{', '.join(within)} act at every step, within training." if within else ""
    return Finding(
        "What does it cost?",
        f"{found.rate():,.0f} tokens a second over all networks, events and evidence included, on "
        f"{device} in {compute}. Updates alone, measured apart, in training steps of as many "
        f"networks: {told or 'not measured'}. {apart}".strip(),
    )
