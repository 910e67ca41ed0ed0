"""Tables and figures of the study of verification; `found` as in `alen_verification_findings`."""

from collections.abc import Mapping, Sequence

import numpy as np

from alen import selective, tasks
from experiments import alen_verification_findings as said
from experiments import alen_verification_methods as methods
from experiments.alen_verification_analysis import CHECKS, CONFUSION, COVERAGES, MIXED
from experiments.lab import charts, figures, statistics

MEASURES = (  # column, heading, unit
    ("coverage", "coverage %", 100),
    ("accuracy", "accuracy %", 100),
    ("false_verify_rate", "false-verify %", 100),
    ("verified_wrong", "verified and wrong %", 100),
    ("rejected_right", "right turned down %", 100),
    ("aurc", "AURC × 100", 100),
    ("augrc", "AUGRC × 100", 100),
    ("failure_auroc", "failure AUROC %", 100),
    ("calibration_error", "calibration error %", 100),
)
DRAWN = ("max_softmax", "log_probability", "self_consistency", "forward", "backward", "stability")
BINS = np.linspace(-3, 3, 25)  # of standardised energies


def tables(found: said.Found, costs: Mapping[str, Sequence[float]]) -> dict:
    """The tables of a report; `costs` is task → what a question costs, by method of `methods`."""
    parts = {}
    for task, organisms in found.items():
        for stratum in (MIXED, tasks.TRAINED):
            parts[f"{task}: methods on {stratum} questions"] = _methods(organisms, stratum)
        parts[f"{task}: all three checks by stratum"] = _strata(organisms)
        parts[f"{task}: share verified"] = _verified(organisms)
        parts[f"{task}: what is guaranteed"] = _promises(organisms)
    parts["AUGRC, all three checks against others"] = _apart(found)
    parts["Compute of a question"] = _compute(costs)
    return parts


def _cell(organisms, stratum, method, column, unit=100):
    numbers = said.values(organisms, stratum, method, column)
    finite = numbers[np.isfinite(numbers)]
    if not finite.size:
        return figures.UNKNOWN
    note = f" ({finite.size} seeds)" if finite.size < numbers.size else ""
    return said.shown(statistics.mean(finite), unit, digits=2) + note


def _methods(organisms, stratum):
    rows = [
        [name, *(_cell(organisms, stratum, name, column, unit) for column, _, unit in MEASURES)]
        for name in (*methods.BY_NAME, methods.INDEPENDENT)
    ]
    caption = (
        f"Means over {len(organisms)} seeds with 95 % t intervals. Rates rest on each method's own "
        "certified thresholds, but for all_three_uncertified, whose thresholds are the least that "
        "are allowed; AURC, AUGRC and failure AUROC on its ranking alone. Where a method "
        "verifies nothing its false-verify rate is unknown, and those seeds are left out of it."
    )
    return ["method", *(heading for _, heading, _ in MEASURES)], rows, caption


def _strata(organisms):
    rows = []
    for stratum in said.strata(organisms):
        pick = lambda column, s=stratum: said.values(organisms, s, methods.ALL.name, column)
        count, wrong = int(pick("verified_count").sum()), int(pick("verified_wrong_count").sum())
        bound = selective.rate(wrong, count)
        size = f"{int(pick('n')[0]):,}" + " (all)" * bool(pick("enumerated")[0])
        cells = [
            _cell(organisms, stratum, methods.ALL.name, name) for name in ("accuracy", "coverage")
        ]
        limits = f"{100 * bound.low:.3g} to {100 * bound.high:.3g}"
        rows.append([stratum, size, *cells, f"{wrong:,} of {count:,}", limits])
    caption = (
        "Questions of each seed; (all): there are no others of that stratum in the test split, and "
        "the rate is exact for the organisms that were trained. Verified and wrong, of the "
        "verified: all seeds together, with the 95 % Clopper-Pearson interval of such answers."
    )
    header = ["stratum", "questions", "accuracy %", "verified %", "wrong", "false-verify %"]
    return header, rows, caption


def _verified(organisms):
    names = said.strata(organisms)
    rows = [
        [name, *(_cell(organisms, stratum, name, "coverage") for stratum in names)]
        for name in methods.BY_NAME
    ]
    caption = "Share of answers that a method verifies in %, means over seeds with 95 % intervals."
    return ["method", *names], rows, caption


def _promises(organisms):
    rows = []
    for one in organisms:
        seed = str(one.rows[0]["seed"])
        promise = one.guarantees[methods.ALL.name]
        limits = ", ".join(
            f"{name} > {value:.3g}"
            for name, value in zip(methods.ALL.margins, promise.thresholds, strict=True)
        )
        rows.append([seed, limits, promise.says(), promise.does_not_say()])
    caption = (
        "Of all three checks, certified on calibration questions, trained and unanswerable ones "
        "in equal numbers; thresholds were looked for among tuning questions."
    )
    return ["seed", "thresholds", "guaranteed", "not guaranteed"], rows, caption


def _apart(found):
    rows = [
        [
            d.task,
            d.stratum,
            methods.BY_NAME[d.reference].told,
            said.shown(d.difference, signed=True, digits=3),
            f"{d.p:.2g}",
            f"{d.p_margin:.2g}",
            d.verdict,
        ]
        for d in said.differences(found)
    ]
    caption = (
        "AUGRC × 100 of all three checks minus the reference's, paired by seed; lower is better. "
        f"p: difference; p of no worse: it is less than {100 * said.MARGIN:g} higher; t tests, "
        "Holm over the table."
    )
    header = ["task", "stratum", "against", "difference", "p", "p of no worse", "verdict"]
    return header, rows, caption


def _compute(costs):
    names = list(next(iter(costs.values())))
    rows = [[task, *(f"{cost[name]:.2f}" for name in names)] for task, cost in costs.items()]
    caption = (
        "In units of one greedy answer, by parameters and tokens. Self-consistency gets as many "
        "samples as answer and all three checks cost; softmax, log-probability and always-accept "
        "have no use for more than the answer itself."
    )
    return ["task", *names], rows, caption


def drawn(found: said.Found, candidates, operators, names) -> dict:
    """The figures by stem. `candidates` and `operators` are the stored tables with `task` numbers
    in the order of `found`; `names` is task → the strata that `operators` numbers."""
    shapes = {}
    words = {"xlabel": "coverage in %", "ylabel": "wrong, of the accepted, in %"}
    arms = (*DRAWN, methods.ALL.name)
    curves = [
        [[one.curves[MIXED][arm] for one in organisms] for arm in arms]
        for organisms in found.values()
    ]
    estimate = statistics.mean(np.moveaxis(np.array(curves), 2, -1))
    title = "Risk over coverage, trained and unanswerable questions"
    shapes["risk_coverage"] = (
        _panels(100 * COVERAGES, estimate, list(found), arms, title=title, **words),
        "Selective risk where the answers of highest score are accepted: mean over seeds, 95 %.",
    )
    for i, (task, organisms) in enumerate(found.items()):
        shares = statistics.mean(np.stack([one.confusion for one in organisms], axis=-1))
        figure = charts.matrix(
            shares,
            CHECKS,
            CONFUSION,
            title=f"Checks on {task}",
            label="% of answers",
            vmin=0,
            vmax=1,
        )
        caption = (
            "Shares of answers to trained and unanswerable questions that pass and fail each check "
            "at its least threshold: even odds, an answer that tells something, half of the "
            "perturbations."
        )
        shapes[f"confusion_{i}"] = figure, f"{task}. {caption}"
    shapes["energy"] = _energies(found, candidates)
    for i, (task, organisms) in enumerate(found.items()):
        shapes[f"operators_{i}"] = _operators(task, i, organisms, operators, names[task])
    return shapes


def _panels(x, estimate, tasks_, arms, *, title, unit=100, **words):
    if len(tasks_) == 1:
        single = statistics.entry(estimate, 0)
        title = f"{title}, {tasks_[0]}"
        return figures.bands(x, single, arms, title=title, unit=unit, **words)
    return figures.panels(x, estimate, tasks_, arms, title=title, unit=unit, share_y=False, **words)


def energies(found, candidates) -> dict[str, np.ndarray]:
    """Task → P(a right candidate has a lower energy than a wrong one) `[T]`, NaN without both."""
    return {
        task: np.array(
            [selective.failure_auroc(-e, r).value for e, r in _of(i, organisms, candidates)]
        )
        for i, (task, organisms) in enumerate(found.items())
    }


def _of(number, organisms, candidates):
    for one in organisms:
        own = (candidates["task"] == number) & (candidates["seed"] == one.rows[0]["seed"])
        yield candidates["energy"][own], candidates["right"][own].astype(bool)


def _energies(found, candidates):
    shares = []
    for i, organisms in enumerate(found.values()):
        rows = []
        for energy, right in _of(i, organisms, candidates):
            z = np.clip((energy - energy.mean()) / (energy.std() or 1.0), BINS[0], BINS[-1])
            counts = [np.histogram(z[kind], BINS)[0] for kind in (right, ~right)]
            rows.append([c / c.sum() if c.sum() else np.full(len(c), np.nan) for c in counts])
        shares.append(np.moveaxis(np.array(rows), 0, -1))
    estimate = statistics.mean(np.array(shares))
    middle = (BINS[1:] + BINS[:-1]) / 2
    words = {"xlabel": "energy, standardised (lower is preferred)", "ylabel": "% of candidates"}
    arms = ("decodes to the truth", "does not")
    title = "Energy of right and of wrong candidates"
    figure = _panels(middle, estimate, list(found), arms, title=title, **words)
    return figure, (
        "All proposals of the last step of trained test questions; energies standardised within an "
        "organism, outermost bins hold all beyond; mean over seeds, 95 %."
    )


def _operators(task, number, organisms, operators, names):
    own = operators["task"] == number
    count = int(operators["operator"][own].max()) + 1
    steps = int(operators["step"][own].max()) + 1
    there = [i for i in range(len(names)) if (operators["stratum"][own] == i).any()]
    shares = np.zeros((len(names), count, len(organisms)))
    for k, one in enumerate(organisms):
        here = own & (operators["seed"] == one.rows[0]["seed"])
        place = operators["stratum"][here], operators["operator"][here]
        np.add.at(shares[..., k], place, operators["count"][here])
    shares = shares[there]
    ordered = -np.sort(-shares / shares.sum(axis=1, keepdims=True), axis=1)
    figure = figures.bands(
        np.arange(1, count + 1),
        statistics.mean(ordered),
        [names[i] for i in there],
        title=f"Operators chosen, {task}",
        xlabel="operators of an organism and stratum, most used first",
        ylabel="% of choices",
        chance=1 / count,
    )
    return figure, (
        f"Shares of {count} operators in {steps} steps, mean over seeds, 95 %; dotted: all alike."
    )
