"""What the study of operators found: tests, sentences, figures and tables, from stored rows alone.

Every figure is a mean over seeds with its 95 % interval; differences are paired by seed. Each
question's tests are one family under Holm's correction.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.alen_operators_arms import METHODS, MOST_STEPS, Arm, Experiment
from experiments.lab import figures, statistics

ALPHA = 0.05
SAME = {"flops": "at equal floating-point operations", "parameters": "at equal parameters"}


class Difference(NamedTuple):
    """A difference of accuracies over seeds, paired; `p` is corrected by Holm over its family."""

    label: str
    match: str
    estimate: statistics.Estimate
    p: float

    @property
    def verdict(self) -> str:
        if not self.p < ALPHA:
            return "undecided"
        return "higher" if self.estimate.value > 0 else "lower"


class Found:
    """The stored rows as accuracies over seeds, by arm, stratum and method."""

    def __init__(self, experiment: Experiment, rows: Mapping[str, np.ndarray]):
        self.experiment, self.rows = experiment, rows
        self.seeds = experiment.subject.seeds
        self.arms = {arm[:3]: arm for arm in experiment.arms}

    def column(self, arm: Arm, method: str, stratum: int = 0, name="accuracy") -> np.ndarray:
        """`[Z]`, in the order of the seeds; ValueError unless each is there once."""
        rows = self.rows
        here = (rows["match"] == arm.match) & (rows["operators"] == arm.operators)
        here &= (rows["steps"] == arm.steps) & (rows["stratum"] == stratum)
        here &= rows["method"] == method
        order = np.argsort(rows["seed"][here])
        if rows["seed"][here][order].tolist() != sorted(self.seeds):
            raise ValueError(f"{method} of {arm[:3]} must have a row a seed, got {here.sum()}")
        return rows[name][here][order]

    def mean(self, arm: Arm, method: str, stratum: int = 0, name="accuracy"):
        return statistics.mean(self.column(arm, method, stratum, name))

    def axes(self, match: str) -> tuple[list[int], list[int]]:
        """Numbers of operators and of steps in a match."""
        own = [arm for arm in self.experiment.arms if arm.match == match]
        return sorted({a.operators for a in own}), sorted({a.steps for a in own})

    @property
    def matches(self) -> list[str]:
        return list(dict.fromkeys(arm.match for arm in self.experiment.arms))


def family(pairs: Sequence[tuple[str, str, np.ndarray]]) -> list[Difference]:
    """Each (label, match, differences `[Z]`) with its interval and t test, Holm over all."""
    if not pairs:
        return []
    samples = np.stack([apart for *_, apart in pairs])
    _, p = statistics.against(samples, 0.0, alternative="two-sided")
    return [
        Difference(label, match, statistics.mean(apart), float(p[i]))
        for i, (label, match, apart) in enumerate(pairs)
    ]


def tested(found: Found) -> dict[str, list[Difference]]:
    """By question, all differences on test questions in distribution."""
    more, longer, chosen, soft, missed = [], [], [], [], []
    for match in found.matches:
        operators, steps = found.axes(match)
        for arm in (a for a in found.experiment.arms if a.match == match):
            of = lambda method, own=arm: found.column(own, method)
            name = f"{arm.operators} × {arm.steps}"
            fewer = found.arms[match, operators[0], arm.steps]
            if arm is not fewer:
                apart = of("argmin") - found.column(fewer, "argmin")
                more.append((f"{name} − {fewer.operators} × {fewer.steps}", match, apart))
            short = found.arms[match, arm.operators, steps[0]]
            if arm is not short:
                apart = of("argmin") - found.column(short, "argmin")
                longer.append((f"{name} − {short.operators} × {short.steps}", match, apart))
            if arm.operators > 1:
                chosen.append((name, match, of("selected") - of("random")))
                missed.append((name, match, of("oracle") - of("selected")))
                soft.append((name, match, of("argmin") - of("softmax")))
    questions = {
        "Do more operators help?": more,
        "Do more steps help?": longer,
        "Does the energy choose better than chance (selected − random)?": chosen,
        "What does it miss (oracle − selected)?": missed,
        "Argmin or softmax (argmin − softmax)?": soft,
    }
    return {question: family(pairs) for question, pairs in questions.items() if pairs}


def shown(estimate: statistics.Estimate, sign="") -> str:
    """In per cent, with its interval."""
    value, low, high = (100 * x for x in estimate[:3])
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def findings(found: Found, tests: Mapping[str, Sequence[Difference]]) -> list[tuple[str, str]]:
    """Pairs of a question and a sentence that the numbers make."""
    best = []
    for match in found.matches:
        arms = [arm for arm in found.experiment.arms if arm.match == match]
        top = max(arms, key=lambda arm: found.mean(arm, "argmin").value)
        best.append(
            f"{SAME[match]} {top.operators} operators in {top.steps} steps come out highest, at "
            f"{shown(found.mean(top, 'argmin'))} %"
        )
    said = [
        (
            "How well does it answer?",
            f"Of {found.rows['n'][0]:,} held-out questions in distribution, {'; '.join(best)} "
            f"(the highest of several is flattered; {len(found.seeds)} seeds).",
        )
    ]
    for question, differences in tests.items():
        for match in dict.fromkeys(one.match for one in differences):
            own = [one for one in differences if one.match == match]
            said.append((f"{question[:-1]}, {SAME[match]}?", _sentence(own)))
    return said


def _sentence(own):
    counts = {v: sum(one.verdict == v for one in own) for v in ("higher", "lower", "undecided")}
    large, small = (pick(own, key=lambda one: one.estimate.value) for pick in (max, min))
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return (
        f"Of {len(own)} differences: {told} (Holm over all of this question). From "
        f"{shown(small.estimate, '+')} points ({small.label}) to {shown(large.estimate, '+')} "
        f"({large.label})."
    )


def summary(found: Found) -> dict[str, np.ndarray]:
    """A row per arm, stratum and method, with intervals over seeds."""
    experiment, rows = found.experiment, []
    for arm in experiment.arms:
        for number, stratum in enumerate(experiment.strata):
            for method in (*METHODS, *(f"argmin@{r}" for r in range(1, MOST_STEPS + 1))):
                value, low, high, count = found.mean(arm, method, number)
                about = {"task": experiment.subject.task.name}
                about |= {"size": experiment.subject.configuration.size, **arm._asdict()}
                rows.append(
                    about
                    | {"stratum": stratum, "method": method, "seeds": count}
                    | {"n": found.column(arm, method, number, "n")[0]}
                    | {"accuracy": float(value), "low": float(low), "high": float(high)}
                    | {
                        name: float(found.column(arm, method, number, name).mean())
                        for name in ("entropy", "collapsed")
                    }
                )
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def drawn(found: Found, tests: Mapping[str, Sequence[Difference]]) -> dict:
    """Figures by stem, with their captions."""
    over = "Means over seeds of held-out questions in distribution, with 95 % intervals"
    made, (question, first) = {}, next(iter(tests.items()), ("", []))
    for match in found.matches:
        operators, steps = found.axes(match)
        names = [f"{k} operator{'s' * (k > 1)}" for k in operators]
        value = lambda k, r, own=match: found.mean(found.arms[own, k, r], "argmin")
        grid = [[value(k, r) for r in steps] for k in operators]
        title = f"Accuracy by operators and steps, {SAME[match]}"
        made[f"operators_{match}"] = (
            figures.bands(steps, _stacked(grid), names, title=title, xlabel="steps of reasoning",
                          ylabel="right, %"),
            f"{over}; each point is trained with its own number of steps",
        )  # fmt: skip
        reached = range(1, MOST_STEPS + 1)
        after = [
            [found.mean(found.arms[match, k, steps[-1]], f"argmin@{r}") for r in reached]
            for k in operators
        ]
        made[f"after_{match}"] = (
            figures.bands(list(reached), _stacked(after), names, xlabel="steps taken when asked",
                          title=f"Asked with another number of steps, {SAME[match]}",
                          ylabel="right, %"),
            f"{over}; all were trained with {steps[-1]} steps",
        )  # fmt: skip
        own = [arm for arm in found.experiment.arms if arm.match == match and arm.operators > 1]
        kinds = ("selected", "oracle", "random", "softmax")
        if own:
            cells = [[found.mean(arm, kind) for arm in own] for kind in kinds]
            made[f"selection_{match}"] = (
                figures.bands(range(len(own)), _stacked(cells), kinds, ylabel="right, %",
                              title=f"Who chooses among the candidates, {SAME[match]}",
                              xlabel=", ".join(f"{a.operators}×{a.steps}" for a in own)),
                f"{over}. Arms from left to right, operators × steps",
            )  # fmt: skip
    if first:
        labels = [f"{one.label}, {one.match}" for one in first]
        estimates = [one.estimate for one in first]
        forest = figures.differences(
            estimates, labels, 0.01, title=question, xlabel="difference, points"
        )
        made["differences"] = forest, "Paired by seed, with uncorrected 95 % intervals"
    return made


def _stacked(grid) -> statistics.Estimate:
    parts = [np.array([[cell[i] for cell in row] for row in grid], float) for i in range(3)]
    return statistics.Estimate(*parts, grid[0][0].n)


def tables(found: Found, tests: Mapping[str, Sequence[Difference]]) -> dict:
    """Tables of the report."""
    header = ["operators × steps, match", "hidden", "parameters", "MFLOP", *METHODS, "usage"]
    rows = [
        [
            f"{arm.operators} × {arm.steps}, {arm.match}",
            str(arm.hidden),
            f"{arm.parameters:,}",
            f"{arm.flops / 1e6:.3g}",
            *(shown(found.mean(arm, method)) for method in METHODS),
            f"{found.mean(arm, 'argmin', name='entropy').value:.2f}",
        ]
        for arm in found.experiment.arms
    ]
    caption = (
        "Right, per cent of test questions in distribution. MFLOP of training an example; usage: "
        "entropy of the operators' shares over log K, 1 is even"
    )
    parts = {"Arms": (header, rows, caption)}
    strata = found.experiment.strata
    cells = [
        [f"{arm.operators} × {arm.steps}, {arm.match}"]
        + [shown(found.mean(arm, "argmin", number)) for number in range(len(strata))]
        for arm in found.experiment.arms
    ]
    parts["Strata, under argmin"] = (
        ["operators × steps, match", *strata],
        cells,
        "Right, per cent",
    )
    for question, differences in tests.items():
        told = [
            [o.label, o.match, shown(o.estimate, "+"), f"{o.p:.3g}", o.verdict] for o in differences
        ]
        header = ["difference", "equal", "points", "p (Holm)", "verdict"]
        parts[question] = (header, told, "Paired t tests over seeds; one family")
    return parts
