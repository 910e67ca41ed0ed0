"""What the study of verification may say, from tests with intervals over seeds.

`found` is everywhere task label → one `Organism` a seed, in the order of the seeds.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from alen import selective, tasks
from experiments import alen_verification_methods as methods
from experiments.alen_verification_analysis import DOMAIN, MIXED, Organism
from experiments.lab import figures, statistics

ALPHA = 0.05
MARGIN = 0.002  # of generalised risk: an AUGRC higher by less is "no worse"
REFERENCES = ("max_softmax", "forward")
BAR_UNANSWERABLE = 0.01
Found = Mapping[str, Sequence[Organism]]


class Difference(NamedTuple):
    """AUGRC of all three checks minus that of a reference, paired by seed; lower is better.

    `p` is of the two-sided t test, `p_margin` of the one-sided test that it is less than MARGIN
    higher; each is Holm-corrected over all tasks, strata and references.
    """

    task: str
    stratum: str
    reference: str
    difference: statistics.Estimate
    p: float
    p_margin: float

    @property
    def verdict(self) -> str:
        close = bool(self.p_margin < ALPHA)
        if self.p < ALPHA:
            return (
                "better" if self.difference.value < 0 else "worse" + ", within the margin" * close
            )
        return "no worse" if close else "undecided"


def values(organisms: Sequence[Organism], stratum: str, method: str, column: str) -> np.ndarray:
    """A column of a stratum and method over the seeds `[T]`; KeyError where there is none."""
    found = [
        row[column]
        for one in organisms
        for row in one.rows
        if (row["stratum"], row["method"]) == (stratum, method)
    ]
    if len(found) != len(organisms):
        raise KeyError(f"{column} of {method} on {stratum}: {len(found)} of {len(organisms)} seeds")
    return np.array(found, np.float64)


def strata(organisms: Sequence[Organism]) -> list[str]:
    """The strata of a task, in order."""
    return list(dict.fromkeys(row["stratum"] for row in organisms[0].rows))


def differences(found: Found) -> list[Difference]:
    """All three checks against the references, on the mixture and on trained questions."""
    places = [
        (task, stratum, reference)
        for task in found
        for stratum in (MIXED, tasks.TRAINED)
        for reference in REFERENCES
    ]
    augrc = lambda task, stratum, method: values(found[task], stratum, method, "augrc")
    apart = np.stack([augrc(t, s, methods.ALL.name) - augrc(t, s, r) for t, s, r in places])
    means = statistics.mean(apart)
    _, p = statistics.against(apart, 0.0, alternative="two-sided")
    _, p_margin = statistics.against(apart, MARGIN, alternative="less")
    return [
        Difference(*place, statistics.entry(means, i), float(p[i]), float(p_margin[i]))
        for i, place in enumerate(places)
    ]


def findings(found: Found, alpha: float) -> list[tuple[str, str]]:
    """Headlines and sentences, the answer to the study's question first."""
    told = []
    for task, organisms in found.items():
        told.append((f"Does it prevent wrong answers? ({task})", _prevented(organisms)))
        told.append((f"“100 %” ({task})", _hundred(organisms)))
        told.append((f"What does it cost? ({task})", _cost(organisms)))
        told.append((f"The guarantee ({task})", _guarantee(organisms, alpha)))
    for reference in REFERENCES:
        name = methods.BY_NAME[reference].told
        told.append((f"All three checks against {name}", _apart(found, reference)))
    for task, organisms in found.items():
        if tasks.UNANSWERABLE in strata(organisms):
            told.append((f"Unanswerable questions ({task})", _unanswerable(organisms)))
        told.append((f"Beyond the guarantee ({task})", _beyond(organisms)))
        told.append((f"Are the checks independent? ({task})", _independence(organisms)))
        if DOMAIN in strata(organisms):
            told.append((f"The whole domain ({task})", _domain(organisms)))
    return told


def _prevented(organisms) -> str:
    plain = lambda column: shown(
        statistics.mean(values(organisms, MIXED, methods.PLAIN.name, column))
    )
    without = statistics.mean(values(organisms, MIXED, "always_accept", "verified_wrong"))
    wrong = values(organisms, MIXED, methods.ALL.name, "verified_wrong")
    rate = values(organisms, MIXED, methods.ALL.name, "false_verify_rate")
    seen = int(np.isfinite(rate).sum())
    among = (
        f"of the verified {shown(statistics.mean(rate[np.isfinite(rate)]))} % are wrong"
        if seen
        else "no seed verifies anything"
    )
    spare = f" (over the {seen} seeds that verify any)" if 0 < seen < len(rate) else ""
    fewer = statistics.mean(values(organisms, MIXED, "always_accept", "verified_wrong") - wrong)
    return (
        f"On the mixture of trained and unanswerable questions {shown(without)} % of all answers "
        f"are wrong when each is accepted, {shown(statistics.mean(wrong))} % are verified and "
        f"wrong with all three checks, {shown(fewer)} points fewer; {among}{spare}. At the "
        "checks' least thresholds, of which nothing is "
        f"promised, {plain('coverage')} % are verified, {plain('verified_wrong')} % of "
        f"all are verified and wrong, {plain('false_verify_rate')} % of the verified are wrong."
    )


def _hundred(organisms) -> str:
    sure = _refuted(organisms, methods.ALL)
    return f"{sure} At the least thresholds, uncertified: {_refuted(organisms, methods.PLAIN)}"


def _refuted(organisms, method) -> str:
    parts, wrong, verified = [], 0, 0
    for stratum in strata(organisms):
        k, n = _counts(organisms, stratum, method)
        wrong, verified = wrong + k, verified + n
        high = f" (at most {100 * selective.rate(k, n).high:.3g} %)"
        parts.append(f"{stratum} {k:,} of {n:,}{high}" if n else f"{stratum} none verified")
    if not verified:
        return "Nothing was verified, so the claim that verification is right in 100 % is untested."
    verdict = "refuted" if wrong else "not refuted by these answers, which is no proof of it"
    return (
        f"The claim that verification is right in 100 % is {verdict}. Verified and wrong, of the "
        "verified, all seeds together (with the upper limit of 95 % Clopper-Pearson intervals): "
        f"{'; '.join(parts)}."
    )


def _counts(organisms, stratum, method=methods.ALL):
    pick = lambda column: values(organisms, stratum, method.name, column)
    return int(pick("verified_wrong_count").sum()), int(pick("verified_count").sum())


def _cost(organisms) -> str:
    mean = lambda stratum, method, column: shown(
        statistics.mean(values(organisms, stratum, method, column))
    )
    parts = []
    for stratum in (tasks.TRAINED, MIXED):
        rivals = ", ".join(
            f"{methods.BY_NAME[name].told} {mean(stratum, name, 'coverage')} %"
            for name in (*REFERENCES, "self_consistency")
        )
        parts.append(
            f"On {stratum} questions, {mean(stratum, 'always_accept', 'accuracy')} % of which are "
            "answered right, all three checks verify "
            f"{mean(stratum, methods.ALL.name, 'coverage')} % and turn down "
            f"{mean(stratum, methods.ALL.name, 'rejected_right')} % of the right answers; "
            f"with thresholds certified to the same risk, coverage is {rivals}."
        )
    return " ".join(parts)


def _guarantee(organisms, alpha) -> str:
    sure = [one.guarantees[methods.ALL.name].certified for one in organisms]
    rate = values(organisms, MIXED, methods.ALL.name, "false_verify_rate")
    broken = int((rate[sure] > alpha).sum())
    held = (
        f"; of these, on test questions of the same mixture, {broken} exceed it (highest "
        f"{100 * rate[sure].max():.3g} %)"
        if any(sure)
        else ""
    )
    by_method = ", ".join(
        f"{name} {sum(one.guarantees[name].certified for one in organisms)}"
        for name in organisms[0].guarantees
    )
    return (
        f"Thresholds of all three checks were certified at a risk of {100 * alpha:g} % in "
        f"{sum(sure)} of {len(sure)} seeds{held}. Seeds certified by method: {by_method}."
    )


def _apart(found, reference) -> str:
    parts = [
        f"{d.task}, {d.stratum}: {shown(d.difference, signed=True, digits=2)}, p = {d.p:.2g}, "
        f"{d.verdict}"
        for d in differences(found)
        if d.reference == reference
    ]
    return (
        "AUGRC (in points of generalised risk, lower is better) of all three checks minus the "
        f"reference's, paired by seed, t tests after Holm, margin {100 * MARGIN:g} points: "
        f"{'; '.join(parts)}."
    )


def _unanswerable(organisms) -> str:
    rate = values(organisms, tasks.UNANSWERABLE, methods.ALL.name, "coverage")
    most = statistics.mean(rate)
    _, p = statistics.against(rate[None], BAR_UNANSWERABLE, alternative="less")
    others = ", ".join(
        f"{methods.BY_NAME[name].told} "
        f"{shown(statistics.mean(values(organisms, tasks.UNANSWERABLE, name, 'coverage')))} %"
        for name in (*REFERENCES, "self_consistency", methods.PLAIN.name)
    )
    met = "met" if p[0] < ALPHA else "not shown to be met"
    if not values(organisms, tasks.TRAINED, methods.ALL.name, "coverage").any():
        met = "met only in that no answer of any kind is verified"
    return (
        f"All three checks verify {shown(most)} % of them (all wrong by definition); the bar of "
        f"{100 * BAR_UNANSWERABLE:g} % is {met} (p = {p[0]:.2g}, one-sided). Others: {others}."
    )


def _beyond(organisms) -> str:
    parts = []
    for stratum in strata(organisms):
        if stratum in (tasks.TRAINED, tasks.UNANSWERABLE, MIXED, DOMAIN):
            continue
        k, n = _counts(organisms, stratum)
        mean = lambda method, column, s=stratum: shown(
            statistics.mean(values(organisms, s, method, column))
        )
        parts.append(
            f"{stratum}: {mean('always_accept', 'accuracy')} % right, "
            f"{mean(methods.ALL.name, 'coverage')} % verified, of these wrong {k:,} of {n:,}"
            + (f" ({100 * k / n:.3g} %)" if n else "")
        )
    return f"Strata that no calibration answer is of: {'; '.join(parts)}."


def _independence(organisms) -> str:
    passing = lambda kind: statistics.mean([getattr(one.independent, kind) for one in organisms])
    seen = np.array([one.independent.passing_wrong_seen for one in organisms])
    product = np.array([one.independent.passing_wrong for one in organisms])
    apart = statistics.mean(seen - product)
    _, p = statistics.against((seen - product)[None], 0.0, alternative="two-sided")
    if not p[0] < ALPHA:
        verdict = "no dependence is shown"
    elif apart.value > 0:
        verdict = "their errors come together: multiplying their error rates promises too much"
    else:
        verdict = "they complement each other"
    return (
        "At their least thresholds, of wrong answers of the mixture "
        f"{shown(passing('passing_wrong_seen'), digits=2)} % pass "
        f"all three checks; were the checks independent it would be "
        f"{shown(passing('passing_wrong'), digits=2)} %; difference "
        f"{shown(apart, signed=True, digits=2)} points (p = {p[0]:.2g}): {verdict}."
    )


def _domain(organisms) -> str:
    count = int(values(organisms, DOMAIN, "always_accept", "n")[0])
    right = values(organisms, DOMAIN, "always_accept", "accuracy")
    k, n = _counts(organisms, DOMAIN)
    covered = statistics.mean(values(organisms, DOMAIN, methods.ALL.name, "coverage"))
    whole = int((right == 1).sum())
    return (
        f"Of all {count:,} inputs, training ones included and none drawn, "
        f"{shown(statistics.mean(right))} % are answered right ({whole} of {len(right)} seeds: all "
        f"of them) and {shown(covered)} % verified; verified and wrong are {k:,} of {n:,}."
    )


def shown(estimate, unit=100, signed=False, digits=1) -> str:
    """`91.2 [90.3, 92.1]`."""
    if np.isnan(estimate.value):
        return figures.UNKNOWN
    sign = "+" if signed else ""
    value, low, high = (f"{float(v) * unit:{sign}.{digits}f}" for v in estimate[:3])
    return f"{value} [{low}, {high}]"
