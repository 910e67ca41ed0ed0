"""The analysis of the study of plasticity: the gate, accuracies, differences, and what is said."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from experiments import apoptosis_plasticity_figures as drawn
from experiments.apoptosis_plasticity_arms import Arm
from experiments.apoptosis_plasticity_recipes import BASELINE, CONTROL, FRESH
from experiments.apoptosis_plasticity_training import Outcome
from experiments.lab import figures, statistics

ALPHA = 0.05
SCORE = "accuracy"  # online: what arms are tested by
REFERENCES = {
    BASELINE: "plain backpropagation",
    CONTROL: "the control (random renewal)",
    FRESH: "a network freshly initialised at each task",
}


class Gate(NamedTuple):
    """Whether plain backpropagation loses plasticity on tasks of a kind.

    `fall`: its online accuracy in early tasks minus that in late ones; `behind`: that of a fresh
    network in the late tasks minus its own. `p_fall` and `p_behind` are of one-sided paired t
    tests. Both must be shown, so neither is corrected.
    """

    kind: str
    fall: statistics.Estimate
    p_fall: float
    behind: statistics.Estimate
    p_behind: float

    @property
    def passed(self) -> bool:
        return self.p_fall < ALPHA and self.p_behind < ALPHA


class Difference(NamedTuple):
    """An arm's online accuracy in late tasks minus that of a reference on the same seeds."""

    arm: Arm
    difference: statistics.Estimate
    p: float  # paired t test, two-sided, Holm-corrected over the arms of the kind

    @property
    def verdict(self) -> str:
        if not self.p < ALPHA:
            return "undecided"
        return "higher" if self.difference.value > 0 else "lower"


def places(outcome: Outcome, kind: str) -> dict[str, int]:
    """The places among all arms of the recipes on tasks of a kind."""
    arms = outcome.experiment.arms
    return {arm.recipe: i for i, arm in enumerate(arms) if arm.kind == kind}


def kinds(outcome: Outcome) -> list[str]:
    """The kinds of tasks, in order."""
    return list(dict.fromkeys(arm.kind for arm in outcome.experiment.arms))


def gate(outcome: Outcome, kind: str) -> Gate:
    """The gate of a kind; its arms must include the baseline and the fresh network."""
    at = places(outcome, kind)
    early, late = (outcome.scores(f"{SCORE}_{when}") for when in ("early", "late"))
    both = np.stack([early[at[BASELINE]], late[at[FRESH]]]) - late[at[BASELINE]]
    estimates = statistics.mean(both)
    p, _ = statistics.against(both, 0.0, alternative="greater")
    fall, behind = (statistics.entry(estimates, i) for i in range(2))
    return Gate(kind, fall, float(p[0]), behind, float(p[1]))


def differences(outcome: Outcome, kind: str, reference: str) -> list[Difference]:
    """Paired differences of all other arms of a kind to a reference: one family of tests."""
    at, late = places(outcome, kind), outcome.scores(f"{SCORE}_late")
    others = [i for recipe, i in at.items() if recipe != reference]
    if reference not in at or not others:
        return []
    apart = late[others] - late[at[reference]]
    estimates = statistics.mean(apart)
    _, p = statistics.against(apart, 0.0, alternative="two-sided")
    return [
        Difference(outcome.experiment.arms[i], statistics.entry(estimates, k), float(p[k]))
        for k, i in enumerate(others)
    ]


def summary(outcome: Outcome) -> dict[str, np.ndarray]:
    """A row per arm: its measures in early and late tasks, with 95 % intervals."""
    arms, passed = outcome.experiment.arms, {k: gate(outcome, k).passed for k in kinds(outcome)}
    columns = {
        "kind": np.array([arm.kind for arm in arms]),
        "recipe": np.array([arm.recipe for arm in arms]),
        "n": np.full(len(arms), outcome.experiment.seeds),
        "gate_passed": np.array([passed[arm.kind] for arm in arms]),
    }
    for measure in (SCORE, *(name for name in drawn.MEASURES if name != SCORE)):
        for when in ("late", "early"):
            found = statistics.mean(outcome.scores(f"{measure}_{when}"))
            columns[f"{measure}_{when}"] = found.value
            columns[f"{measure}_{when}_low"] = found.low
            columns[f"{measure}_{when}_high"] = found.high
    columns[f"{SCORE}_mean"] = statistics.mean(outcome.scores(f"{SCORE}_mean")).value
    columns["settings"] = np.array([arm.told for arm in arms])
    return columns


def analyse(outcome: Outcome, tried: Mapping[str, str]) -> dict:
    """The parts of the report; `tried` says of each arm's name how it was tuned, if it was."""
    findings, tables = [], {}
    for kind in kinds(outcome):
        found, called = gate(outcome, kind), kind.replace("_", " ")
        findings.append((f"Is plasticity lost? ({called})", _gated(outcome, found)))
        findings.append((f"What goes with it? ({called})", _symptoms(outcome, kind)))
        tables[f"Late tasks, {called}"] = _table(outcome, kind, tried)
        if not found.passed:
            continue
        for reference, told in REFERENCES.items():
            apart = differences(outcome, kind, reference)
            if apart:
                lead = f"Against {told}, late tasks, {called}"
                findings.append((lead, _apart(apart)))
                tables[lead] = _difference_table(apart, told)
    unsound = int((~np.isfinite(outcome.scores("loss_mean"))).sum())
    if unsound:
        total = outcome.experiment.seeds * len(outcome.experiment.arms)
        findings.append(("Divergence", f"{unsound} of {total} lives diverged."))
    return {
        "findings": findings,
        "figures": drawn.all_of(outcome, kinds(outcome)),
        "tables": tables,
    }


def shown(estimate, unit=100, signed=False, digits=1) -> str:
    """`91.2 [90.3, 92.1]`."""
    if np.isnan(estimate.value):
        return figures.UNKNOWN
    sign = "+" if signed else ""
    value, low, high = (f"{float(v) * unit:{sign}.{digits}f}" for v in estimate[:3])
    return f"{value} [{low}, {high}]"


def _gated(outcome, found: Gate) -> str:
    at, score = places(outcome, found.kind), lambda when: outcome.scores(f"{SCORE}_{when}")
    early, late, fresh = (
        statistics.mean(rows)
        for rows in (
            score("early")[at[BASELINE]],
            score("late")[at[BASELINE]],
            score("late")[at[FRESH]],
        )
    )
    count = outcome.experiment.extreme
    told = (
        f"Plain backpropagation's online accuracy is {shown(early)} % in the first {count} tasks "
        f"and {shown(late)} % in the last {count}, a fall of {shown(found.fall)} points (p = "
        f"{found.p_fall:.2g}, one-sided); there a fresh network reaches {shown(fresh)} %, "
        f"{shown(found.behind)} points more (p = {found.p_behind:.2g}). "
    )
    if found.passed:
        return told + "The gate is passed: plasticity is lost."
    return told + (
        "The gate is not passed: at this setting a loss of plasticity is not shown, so nothing is "
        "concluded here about recipes that would prevent it."
    )


def _symptoms(outcome, kind) -> str:
    place = places(outcome, kind)[BASELINE]
    told = []
    for measure in ("dormant", "rank", "norm"):
        word, _, unit, digits = drawn.MEASURES[measure]
        early, late = (
            shown(statistics.mean(outcome.scores(f"{measure}_{when}")[place]), unit, digits=digits)
            for when in ("early", "late")
        )
        told.append(f"{word} from {early} to {late}")
    return f"In plain backpropagation, from the early to the late tasks: {'; '.join(told)}."


def _apart(apart) -> str:
    order = sorted(apart, key=lambda d: -np.nan_to_num(d.difference.value, nan=-np.inf))
    parts = []
    for verdict in ("higher", "undecided", "lower"):
        own = [d for d in order if d.verdict == verdict]
        if own:
            told = "; ".join(f"{d.arm.recipe} {shown(d.difference, signed=True)}" for d in own)
            parts.append(f"{verdict}: {told}")
    return f"Online accuracy in points, on the same seeds, after Holm. {'. '.join(parts)}."


def _table(outcome, kind, tried):
    measures = {
        name: (word, unit, digits)
        for name, (word, _, unit, digits) in drawn.MEASURES.items()
        if name != "held_out" or np.isfinite(outcome.scores("held_out_late")).any()
    }
    late = {name: statistics.mean(outcome.scores(f"{name}_late")) for name in measures}
    rows = []
    order = sorted(
        places(outcome, kind).values(), key=lambda i: -np.nan_to_num(late[SCORE].value[i])
    )
    for i in order:
        arm = outcome.experiment.arms[i]
        cells = [
            shown(statistics.entry(late[name], i), unit, digits=digits)
            for name, (_, unit, digits) in measures.items()
        ]
        rows.append([arm.recipe, *cells, arm.told, tried.get(arm.name, "no")])
    experiment = outcome.experiment
    header = ["recipe", *(word for word, _, _ in measures.values()), "settings", "tuned"]
    caption = (
        f"Means over the last {experiment.extreme} of {experiment.world.tasks} tasks and "
        f"{experiment.seeds} seeds with 95 % intervals. Online: before each update, over the "
        "task's batches; final: on the task's examples at its end."
    )
    return header, rows, caption


def _difference_table(apart, told):
    rows = [
        [d.arm.recipe, shown(d.difference, signed=True), f"{d.p:.2g}", d.verdict] for d in apart
    ]
    caption = (
        f"Online accuracy in late tasks minus that of {told}, in points, paired by seed (same "
        "images, tasks, batches and initial weights). t tests, corrected by Holm over the table."
    )
    return ["recipe", "difference", "p (Holm)", "accuracy is"], rows, caption
