"""What phase 7 found, in words: each question that what was trained can answer."""

import numpy as np

from experiments import elements_findings
from experiments import elements_generalisation_measures as measures
from experiments.elements_findings import ALPHA, MARGIN, Finding, points, probability
from experiments.lab import statistics

LEVEL = 0.9  # an accuracy of which is told how many points it needs


def findings(cells: measures.Cells, pairs: dict) -> list[Finding]:
    """Every question of the phase that what is there can answer."""
    told = []
    if len(cells.sizes) > 1:
        told += _growth(cells) + _leader(
            "Which activation needs the fewest points?",
            "Area under the curve of held-out accuracy over the logarithm of the number of points, "
            "as a mean accuracy",
            measures.area(cells.by_size("test_accuracy").mean(2), cells.sizes),
            cells.activations,
            pairs.get(measures.AREA),
        )
        told += _points_needed(cells)
    told += _gap(cells)
    if cells.held_back:
        told += _validation(cells)
    if cells.population.sigmas:
        told += _noise(cells)
    if len(cells.flips) > 1:
        told += _wrong_labels(cells)
    told += _least(cells, pairs)
    diverged = int(np.sum(cells.outcome.rows["diverged"]))
    return told + elements_findings.failures(cells.population, diverged)


def _growth(cells):
    accuracy = cells.by_size("test_accuracy").mean(2)
    told, verdict = _signs(measures.slopes(accuracy, cells.sizes), cells.activations)
    ends = _each(cells.activations, accuracy[:, 0], accuracy[:, -1])
    return [
        Finding(
            "Does held-out accuracy grow with the number of points?",
            f"In points of accuracy a doubling (Holm over activations): {told}. From "
            f"{cells.sizes[0]} to {cells.sizes[-1]} points accuracy goes: {ends}.",
            verdict,
        )
    ]


def _points_needed(cells):
    accuracy, names = cells.by_size("test_accuracy"), list(cells.population.datasets)
    if len(names) > 1:
        accuracy = np.concatenate([accuracy, accuracy.mean(2, keepdims=True)], 2)
        names.append("the mean over them")
    found = measures.needed(np.moveaxis(accuracy, 2, 0), cells.sizes, LEVEL)  # [S, A]
    told, counts = [], []
    for s, dataset in enumerate(names):
        there = [
            f"{activation} {measures.said(statistics.entry(found, (s, i)), cells.sizes)}"
            for i, activation in enumerate(cells.activations)
            if found.value[s, i] < np.inf
        ]
        told.append(f"{dataset}: {', '.join(there) or 'none'}")
        counts.append(f"{dataset} {len(there)}")
    return [
        Finding(
            f"Who reaches {100 * LEVEL:g} %, and with how many points?",
            "Points of which mean test accuracy reaches it (interpolated, nothing is extrapolated; "
            f"the training share is {100 - cells.population.held_back} %). {'; '.join(told)}.",
            f"{', '.join(counts)} of {len(cells.activations)}",
        )
    ]


def _gap(cells):
    gap = (cells.by_size("train_accuracy") - cells.by_size("test_accuracy")).mean(2)
    first, last = cells.sizes[0], cells.sizes[-1]
    told, verdict = _signs(gap[:, -1], cells.activations)
    found = [
        Finding(
            "Is a gap left with the most points?",
            f"Training minus test accuracy in points, with {last} points (Holm over activations): "
            f"{told}.",
            verdict,
        )
    ]
    if len(cells.sizes) > 1:
        told, verdict = _signs(measures.slopes(gap, cells.sizes), cells.activations)
        ends = _each(cells.activations, gap[:, 0], gap[:, -1], signed=True)
        sentence = f"In points a doubling (Holm over activations): {told}. From {first} to {last} "
        sentence += f"points the gap goes: {ends}."
        found.append(Finding("Does the gap shrink with the number of points?", sentence, verdict))
    return found


def _validation(cells):
    v = measures.Validation(cells)
    bias, noise = [], []
    for k, n in enumerate(cells.sizes):
        bias.append(
            f"{points(v.bias[k].difference, signed=True)} at {n} ({probability(v.bias[k].p)} for a "
            f"difference, {probability(v.bias[k].p_equivalence)} for equivalence)"
        )
        noise.append(
            f"±{points(statistics.entry(v.error, k))} at {n} ({v.held_back[k]} held back; "
            f"{100 * v.expected[k]:.1f} expected)"
        )
    tests = list(zip(cells.sizes, v.bias, strict=True))
    biased = [str(n) for n, test in tests if test.p < ALPHA]
    proven = [str(n) for n, test in tests if test.p_equivalence < ALPHA]
    verdict = f"biased at {', '.join(biased)}" if biased else "no bias found"
    verdict += f"; within {100 * MARGIN:g} point at {', '.join(proven) or 'none'}"
    noisier = [str(n) for n, p in zip(cells.sizes, v.p_noisier, strict=True) if p < ALPHA]
    return [
        Finding(
            "Is the validation estimate unbiased for test accuracy?",
            f"Validation minus test accuracy in points, all networks of a size together (Holm over "
            f"sizes): {'; '.join(bias)}.",
            verdict,
        ),
        Finding(
            "How noisy is the validation estimate?",
            "Root mean square of one network's validation minus test accuracy in points, and what "
            f"counting independent points would give: {'; '.join(noise)}.",
            f"noisier than counting at {', '.join(noisier)}" if noisier else "as counting has it",
        ),
    ]


def _noise(cells):
    sigmas, accuracy = cells.by_sigma()
    loss = (accuracy - accuracy[:, :1])[:, 1:].mean(2)
    told, verdict = _losses(cells, loss, [f"σ {sigma:g}" for sigma in sigmas[1:]])
    return [
        Finding(
            "What does noise on the inputs cost?",
            f"Points of test accuracy against σ 0 {told} Part of it is lost to any classifier: "
            "points cross over to the other class's side.",
            verdict,
        )
    ]


def _wrong_labels(cells):
    flips, names = cells.flips[1:], cells.activations
    accuracy = cells.by_flips("test_accuracy", cells.flips)
    repeated = cells.by_flips("memorised", flips).mean(2)
    excess = measures.excess(cells, flips).mean(2)
    p = statistics.against(excess.reshape(-1, excess.shape[-1]), 0.0, alternative="greater")[1]
    p = p.reshape(excess.shape[:2])
    shares, beyond = [], []
    for i, name in enumerate(names):
        each = (f"{points(statistics.mean(repeated[i, k]))} of {f} %" for k, f in enumerate(flips))
        shares.append(f"{name} {', '.join(each)}")
        each = (
            f"{points(statistics.mean(excess[i, k]), signed=True)} of {f} % "
            f"({probability(p[i, k])})"
            for k, f in enumerate(flips)
        )
        beyond.append(f"{name} {', '.join(each)}")
    some = [name for name, values in zip(names, p, strict=True) if (values < ALPHA).any()]
    loss = (accuracy - accuracy[:, :1])[:, 1:].mean(2)
    told, verdict = _losses(cells, loss, [f"{f} %" for f in flips])
    return [
        Finding(
            "How many of the wrong labels does a network repeat?",
            f"In %, by the share of training labels that are wrong ({cells.reference} points): "
            f"{'; '.join(shares)}.",
        ),
        Finding(
            "Are wrong labels learnt by heart?",
            "Share of the wrong labels that a network repeats, less its error on test points, "
            "which is what it would repeat of labels it never saw; in points (one-sided, Holm over "
            f"activations and shares; {cells.reference} points): {'; '.join(beyond)}.",
            f"beyond the control by {', '.join(some) or 'none'}",
        ),
        Finding(
            "What do wrong labels cost on held-out points?",
            f"Points of test accuracy against right labels {told}",
            verdict,
        ),
    ]


def _losses(cells, loss, steps):
    """What the changes `loss [A, steps, T]` are, and who loses at the last step."""
    p = statistics.against(loss.reshape(-1, loss.shape[-1]), 0.0, alternative="less")[1]
    p = p.reshape(loss.shape[:2])
    told = []
    for i, name in enumerate(cells.activations):
        each = (
            f"{points(statistics.mean(loss[i, k]), signed=True)} at {step} ({probability(p[i, k])})"
            for k, step in enumerate(steps)
        )
        told.append(f"{name} {', '.join(each)}")
    losers = [n for n, values in zip(cells.activations, p, strict=True) if values[-1] < ALPHA]
    family = f"one-sided, Holm over activations and steps; {cells.reference} points"
    verdict = f"at {steps[-1]} accuracy is lost by {', '.join(losers) or 'none'}"
    return f"({family}): {'; '.join(told)}.", verdict


def _least(cells, pairs):
    """Who is best where something was made harder, and who of those that learnt lost least."""
    found, names, learnt = [], cells.activations, cells.learnt()
    before = f"told to be above {100 * cells.halfway:g} % before, half the way from chance"
    for under, change, accuracy in measures.changes(cells):
        what = "noise on the inputs" if "σ" in under else "wrong labels"
        best = f"Which activation is the most accurate under {what}?"
        found += _leader(best, f"Test {under}", accuracy[:, -1], names, pairs.get(under))
        headline = f"Which activation loses least to {what}?"
        if change in pairs:
            told = f"In test accuracy, {change}, of activations {before} (where less is learnt "
            told += "there is less to lose)"
            lost = (accuracy[:, -1] - accuracy[:, 0])[learnt]
            some = [names[i] for i in learnt]
            found += _leader(headline, told, lost, some, pairs[change], signed=True)
        elif len(names) > 1:  # a question does not come and go with the numbers
            told = f"Activations {before}: {len(learnt)}. It takes two to compare."
            found.append(Finding(headline, told, "too few have learnt"))
    return found


def _each(names, before, after, signed=False):
    before, after = statistics.mean(before), statistics.mean(after)
    return "; ".join(
        f"{name} {points(statistics.entry(before, i), signed)} to "
        f"{points(statistics.entry(after, i), signed)}"
        for i, name in enumerate(names)
    )


def _signs(samples, names):
    """What the means of `samples [A, T]` are, and their signs (two-sided tests, Holm over A)."""
    means, (_, p) = (
        statistics.mean(samples),
        statistics.against(samples, 0.0, alternative="two-sided"),
    )
    told, signs = [], []
    for i, name in enumerate(names):
        sign = "0" if not p[i] < ALPHA else "+" if means.value[i] > 0 else "−"
        one = points(statistics.entry(means, i), signed=True)
        told.append(f"{name} {one} ({probability(p[i])})")
        signs.append(f"{name} {sign}")
    return "; ".join(told), ", ".join(signs)


def _leader(headline, what, samples, names, pairs, signed=False):
    """Who has the highest mean of `samples [A, T]`, and who is not told to be behind."""
    if not pairs:
        return []
    means = statistics.mean(samples)
    order = np.argsort(-means.value, kind="stable")
    best = names[order[0]]
    told = "; ".join(f"{names[i]} {points(statistics.entry(means, i), signed)}" for i in order)
    behind = {c.second for c in pairs if c.first == best and c.verdict == "first higher"}
    behind |= {c.first for c in pairs if c.second == best and c.verdict == "second higher"}
    alike = sum(best in (c.first, c.second) and c.verdict == "equivalent" for c in pairs)
    return [
        Finding(
            headline,
            f"{best}: ahead of {len(behind)} of the other {len(names) - 1} after Holm's "
            f"correction, equivalent within {100 * MARGIN:g} point to {alike}. {what}: {told}.",
            f"leading: {', '.join(name for name in names if name not in behind)}",
        )
    ]
