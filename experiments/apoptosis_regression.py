"""The analysis of the regression benchmark: losses, differences to backpropagation, references."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from apoptosis import regression
from experiments import apoptosis_regression_recipes as recipes
from experiments.apoptosis_regression_arms import Arm
from experiments.apoptosis_regression_training import LAST, Experiment, Outcome
from experiments.lab import figures, statistics

ALPHA = 0.05
STEPS, BIN = 1_000_000, 20_000  # of the published runs
# Mean loss over the last ten bins, variant A, by activation and learning rate: Dohare et al. The
# paper gives no rate for the linear learner; the authors' code has 0.01.
PUBLISHED = {("relu", 0.01): 1.25, ("relu", 0.003): 1.10, ("relu", 0.001): 0.88}
PUBLISHED |= {("none", 0.01): 0.90}


class Difference(NamedTuple):
    """An arm's loss minus that of backpropagation on the same seeds; negative is better."""

    arm: Arm
    baseline: Arm
    difference: statistics.Estimate
    p: float  # paired t test, two-sided, Holm-corrected over all arms with a baseline

    @property
    def verdict(self) -> str:
        if not self.p < ALPHA:
            return "undecided"
        return "lower" if self.difference.value < 0 else "higher"


def summary(outcome: Outcome) -> dict[str, np.ndarray]:
    """A row per arm: its loss over the last ten bins, with 95 % interval, and over all steps."""
    experiment = outcome.experiment
    last = statistics.mean(outcome.scores("loss_last10"))
    arms = experiment.arms
    return {
        "recipe": np.array([arm.recipe for arm in arms]),
        "variant": np.array([experiment.world.variant] * len(arms)),
        "n": np.full(len(arms), experiment.seeds),
        "loss_last10": last.value,
        "loss_last10_low": last.low,
        "loss_last10_high": last.high,
        "loss_mean": statistics.mean(outcome.scores("loss_mean")).value,
        "activation": np.array([arm.activation for arm in arms]),
        "learning_rate": np.array([arm.learning_rate for arm in arms]),
        "settings": np.array([arm.told for arm in arms]),
    }


def baseline(arms: tuple[Arm, ...], arm: Arm) -> int | None:
    """The place of the backpropagation that `arm` is held against, if there is one.

    That of the same activation and learning rate; where there is but one of the activation (a
    tuned one has its own learning rate), or but one at all (for the linear learner), that one.
    """
    own = [i for i, other in enumerate(arms) if other.recipe == recipes.BASELINE]
    alike = [i for i in own if arms[i].activation == arm.activation] or own
    same = [i for i in alike if arms[i].learning_rate == arm.learning_rate]
    found = same if len(same) == 1 else alike
    return found[0] if len(found) == 1 and arms[found[0]] != arm else None


def differences(experiment: Experiment, losses: np.ndarray) -> list[Difference]:
    """Paired differences of `losses` `[A, N]` to backpropagation, one family of tests."""
    arms = experiment.arms
    pairs = [(i, j) for i, arm in enumerate(arms) if (j := baseline(arms, arm)) is not None]
    if not pairs:
        return []
    first, second = np.transpose(pairs)
    apart = losses[first] - losses[second]
    estimates = statistics.mean(apart)
    _, p = statistics.against(apart, 0.0, alternative="two-sided")
    return [
        Difference(arms[i], arms[j], statistics.entry(estimates, k), float(p[k]))
        for k, (i, j) in enumerate(pairs)
    ]


class Reference(NamedTuple):
    """A published loss beside ours and the standard error of ours."""

    arm: Arm
    published: float
    ours: float
    error: float

    @property
    def within(self) -> bool:
        return abs(self.ours - self.published) <= self.error


def references(experiment: Experiment, losses: np.ndarray) -> list[Reference]:
    """The published values for `losses` `[A, N]` of arms whose setting is that of the paper."""
    if (experiment.world, experiment.steps, experiment.bin) != (regression.World(), STEPS, BIN):
        return []
    found = []
    for arm, row in zip(experiment.arms, losses, strict=True):
        published = PUBLISHED.get((arm.activation, arm.learning_rate))
        if arm.recipe in (recipes.BASELINE, recipes.LINEAR) and published is not None:
            error = row.std(ddof=1) / np.sqrt(len(row)) if len(row) > 1 else np.nan
            found.append(Reference(arm, published, float(row.mean()), float(error)))
    return found


def analyse(outcome: Outcome, tried: Mapping[str, str]) -> dict:
    """The parts of the report; `tried` says of each arm's name how it was tuned, if it was."""
    experiment, losses = outcome.experiment, outcome.scores("loss_last10")
    means = statistics.mean(losses)
    apart = differences(experiment, losses)
    known = references(experiment, losses)
    findings = [_lowest(experiment, means), *_against(apart), *_reproduced(known)]
    unsound = int((~np.isfinite(losses)).sum())
    if unsound:
        told = f"{unsound} of {losses.size} lives diverged; they make their arm's mean unknown."
        findings.append(("Divergence", told))
    tables = {"Loss by arm": _table(experiment, outcome, means, tried)}
    if apart:
        tables["Against backpropagation"] = _difference_table(apart)
    if known:
        tables["Against the published values"] = _reference_table(known)
    return {"findings": findings, "figures": _figures(outcome), "tables": tables}


def shown(estimate, signed=False) -> str:
    """`1.250 [1.180, 1.320]`."""
    value, low, high = (f"{float(v):{'+' if signed else ''}.3f}" for v in estimate[:3])
    return f"{value} [{low}, {high}]"


def _lowest(experiment, means):
    order = np.argsort(np.nan_to_num(means.value, nan=np.inf), kind="stable")
    told = "; ".join(
        f"{experiment.arms[i].name} {shown(statistics.entry(means, i))}" for i in order
    )
    return "Loss over the last bins", f"Squared error, lowest first: {told}."


def _against(apart):
    if not apart:
        return []
    told = "; ".join(
        f"{d.arm.name} {shown(d.difference, signed=True)} (p = {d.p:.2g}, {d.verdict})"
        for d in apart
    )
    return [("Who differs from backpropagation?", f"Differences on the same seeds: {told}.")]


def _reproduced(known):
    if not known:
        return []
    told = "; ".join(
        f"{r.arm.name} {r.ours:.3f} ± {r.error:.3f} (published {r.published:.2f})" for r in known
    )
    within = sum(r.within for r in known)
    lead = f"{within} of {len(known)} published values lie within our standard error"
    return [("Are the published values reproduced?", f"{lead}: {told}.")]


def _table(experiment, outcome, means, tried):
    whole = statistics.mean(outcome.scores("loss_mean"))
    rows = [
        [
            arm.name,
            shown(statistics.entry(means, i)),
            shown(statistics.entry(whole, i)),
            arm.told,
            tried.get(arm.name, "no"),
        ]
        for i, arm in enumerate(experiment.arms)
    ]
    header = ["arm", f"loss, last {LAST} bins", "loss, all steps", "settings", "tuned"]
    caption = (
        f"Squared error before each update, mean over {experiment.seeds} seeds with its 95 % "
        f"interval; bins of {experiment.bin:,} steps, {experiment.steps:,} steps in all, variant "
        f"{experiment.world.variant}."
    )
    return header, rows, caption


def _difference_table(apart):
    rows = [
        [d.arm.name, d.baseline.name, shown(d.difference, signed=True), f"{d.p:.2g}", d.verdict]
        for d in apart
    ]
    caption = (
        "Paired by seed (same stream, same initial weights); negative: less loss than "
        "backpropagation. t tests, corrected by Holm over the table."
    )
    return ["arm", "against", "difference", "p (Holm)", "loss is"], rows, caption


def _reference_table(known):
    rows = [
        [
            r.arm.name,
            f"{r.published:.2f}",
            f"{r.ours:.3f}",
            f"{r.error:.3f}",
            "yes" if r.within else "no",
        ]
        for r in known
    ]
    caption = (
        "Dohare et al., mean of the last ten bins of a million steps, variant A. The standard "
        "error is that of our mean over seeds; the published numbers have one of their own."
    )
    return ["arm", "published", "ours", "standard error", "within it"], rows, caption


def _figures(outcome):
    experiment = outcome.experiment
    curves = statistics.mean(outcome.curves().swapaxes(1, 2))
    figure = figures.bands(
        experiment.ends,
        curves,
        [arm.name for arm in experiment.arms],
        title="Slowly-Changing Regression",
        xlabel="steps",
        ylabel="squared error",
        unit=1,
    )
    caption = (
        f"Loss over time: mean of bins of {experiment.bin:,} steps over {experiment.seeds} seeds "
        "with its 95 % interval. It rises where plasticity is lost."
    )
    return {"loss": (figure, caption)}
