"""Ensembles of networks that differ in their initialisation alone: do they gain?"""

import numpy as np

from experiments import elements_paired
from experiments.elements_composition import answer, by, listed
from experiments.elements_findings import ALPHA, Finding, points, probability
from experiments.elements_votes import RULES, Ensembles
from experiments.lab import statistics


def ensembles(found: Ensembles | None) -> dict:
    """Findings, figures and tables of ensembles."""
    if found is None:
        return {}
    told = [
        _beats(found, "Do ensembles beat their mean member?", found.member),
        _beats(found, "Do ensembles beat the member chosen on validation data?", found.chosen),
        _weighting(found),
    ]
    if len(found.sizes) > 1:
        told.append(_size(found))
    told += _diversity(found)
    return {"findings": told, "figures": _figures(found), "tables": _tables(found)}


def _labels(found):
    return [f"{rule} of {k}" for rule in RULES for k in found.sizes]


def _flat(samples):
    """`[R K, T]` from `[R, K, A, S, T]`."""
    return samples.mean((2, 3)).reshape(-1, samples.shape[-1])


def _beats(found, headline, rival):
    tests = elements_paired.family(_flat(found.together - rival))
    sentence = (
        "In points of test accuracy over all activations and datasets (Holm over rules and sizes): "
        f"{listed(_labels(found), tests)}."
    )
    return Finding(headline, sentence, answer(tests))


def _weighting(found):
    vote, mean, weighted = found.together.mean((2, 3))  # [K, T]
    overall = elements_paired.family((weighted - vote).mean(0)[None])
    by_size = elements_paired.family(weighted - vote)
    other = elements_paired.family((mean - vote).mean(0)[None])
    sentence = (
        f"Weights from validation data against a plain vote: {elements_paired.told(overall[0])} "
        f"points over all sizes.{by('size', [str(k) for k in found.sizes], by_size)} The mean "
        f"probability against a vote: {elements_paired.told(other[0])}."
    )
    return Finding("Does weighting beat voting?", sentence, answer(overall))


def _size(found):
    largest, smallest = found.together[:, -1], found.together[:, 0]
    tests = elements_paired.family((largest - smallest).mean((1, 2)))
    sentence = (
        f"Ensembles of {found.sizes[-1]} against those of {found.sizes[0]} (Holm over rules), in "
        f"points: {listed(RULES, tests)}."
    )
    return Finding("Are larger ensembles better?", sentence, answer(tests))


def _diversity(found):
    """Do ensembles gain where their members disagree? Over cells (activation × dataset) in each
    trial; none where there are fewer than three cells."""
    gain = (found.together[0, -1] - found.member[-1]).reshape(-1, found.member.shape[-1])
    differ = found.disagreement[-1].reshape(gain.shape)  # [A S, T]
    if len(gain) < 3:
        return []
    together = correlation(differ.T, gain.T)
    value = statistics.mean(together)
    p = float(statistics.against(together[None], 0.0, alternative="two-sided")[0][0])
    word = "undecided"
    if p < ALPHA:
        word = "yes" if value.value > 0 else "no, less"
    shown = f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"
    sentence = (
        f"Two members of {found.sizes[-1]} disagree on {points(_mean(differ))} % of the test "
        f"points, and a vote gains {points(_mean(gain), signed=True)} points over the mean member. "
        f"Over the {len(gain)} cells of activation × dataset, gain and disagreement correlate by "
        f"{shown} within a trial ({probability(p)}). Members that never disagree leave nothing to "
        "gain."
    )
    return [Finding("Do ensembles gain more where members disagree more?", sentence, word)]


def correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's `[T]` of rows `x [T, N]` and `y [T, N]`; 0 where one of them does not vary."""
    x, y = (a - a.mean(-1, keepdims=True) for a in (x, y))
    scale = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    return (x * y).sum(-1) / np.where(scale > 0, scale, 1)


def _mean(samples):
    return statistics.mean(samples.mean(0))


def _figures(found):
    from experiments.lab import charts, figures

    over_all = lambda samples: samples.mean((-3, -2))
    gains = np.stack([*found.together, found.chosen]) - found.member
    caption = (
        f"Over {len(found.activations)} activations and {len(found.datasets)} datasets, "
        f"{found.member.shape[-1]} trials, 95 % intervals. The chosen member is the best of as "
        "many on validation data."
    )
    curves = figures.bands(
        found.sizes,
        statistics.mean(over_all(gains)),
        [*RULES, "chosen member"],
        title="Ensembles: gain over the mean member",
        xlabel="members",
        ylabel="difference in test accuracy, points",
    )
    made = {"ensembles": (curves, caption)}
    if len(found.datasets) < 2:
        return made
    size = found.sizes[-1]
    tiles = {"rows": found.activations, "columns": found.datasets, "xlabel": "dataset"}
    gain = charts.matrix(
        statistics.mean(found.together[0, -1] - found.member[-1]),
        **tiles,
        title=f"Gain of a vote of {size}",
        label="over the mean member, points",
        diverging=True,
    )
    differ = charts.matrix(
        statistics.mean(found.disagreement[-1]),
        **tiles,
        title=f"Diversity of {size} members",
        label="disagreement, %",
    )
    about = f"with the half-width of the 95 % interval over {found.member.shape[-1]} trials."
    made["ensemble_gain"] = gain, f"Test accuracy of the vote less the mean member's, {about}"
    pairs = "Test points on which two members differ, the mean over pairs"
    made["ensemble_diversity"] = differ, f"{pairs}, {about} Compare the gain of a vote."
    return made


def _tables(found):
    accuracy = statistics.mean(_flat(found.together))
    tests = [
        elements_paired.family(_flat(found.together - rival))
        for rival in (found.member, found.chosen)
    ]
    rows = [
        [label, points(statistics.entry(accuracy, i)), *(elements_paired.told(t[i]) for t in tests)]
        for i, label in enumerate(_labels(found))
    ]
    header = ["ensemble", "test accuracy", "against the mean member", "against the chosen member"]
    caption = f"Over all activations. {elements_paired.CAPTION} Each column is a family."
    cells = {
        "mean member": found.member[-1],
        "chosen member": found.chosen[-1],
        **dict(zip(RULES, found.together[:, -1], strict=True)),
        "disagreement": found.disagreement[-1],
    }
    shown = {name: statistics.mean(samples) for name, samples in cells.items()}
    gain = (found.together[0, -1] - found.member[-1]).reshape(-1, found.member.shape[-1])
    gains = elements_paired.family(gain)
    each = [
        [
            found.activations[a],
            found.datasets[s],
            *(points(statistics.entry(one, (a, s))) for one in shown.values()),
            elements_paired.told(gains[i]),
        ]
        for i, (a, s) in enumerate(np.ndindex(found.member.shape[1:3]))
    ]
    about = (
        f"Of {found.sizes[-1]} members, in %; disagreement is the share of test points on which "
        "two of them differ, the mean over pairs; gain: of a vote over the mean member (Holm over "
        "all cells)."
    )
    return {
        "Ensembles": (header, rows, caption),
        "Ensembles: gain and diversity": (
            ["activation", "dataset", *shown, "gain of a vote"],
            each,
            about,
        ),
    }
