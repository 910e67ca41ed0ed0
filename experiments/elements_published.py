"""The published reference of the periodic table, and how far ours is from it."""

import numpy as np

from experiments import elements_study
from experiments.elements_findings import points
from experiments.lab import statistics

# Training accuracy in % after 500 epochs of gd, over 20 trials that shared one draw of the data.
# Rows: depth 1 to 5 at width 8; columns as in DATASETS.
DATASETS = ("circles", "moons", "spirals", "xor")
ACCURACY = {
    "leaky_relu": (
        (97.5, 88.5, 61.0, 100),
        (99.0, 94.9, 69.9, 100),
        (99.9, 99.1, 74.7, 100),
        (100, 99.1, 81.4, 100),
        (100, 100, 79.3, 100),
    ),
    "relu": (
        (96.8, 89.3, 65.8, 100),
        (99.5, 93.6, 66.6, 98.8),
        (99.9, 98.6, 72.4, 100),
        (98.6, 99.5, 75.3, 100),
        (100, 99.4, 80.0, 100),
    ),
    "sine": (
        (76.1, 89.2, 66.6, 100),
        (92.3, 90.5, 70.7, 100),
        (98.3, 97.2, 76.8, 100),
        (96.9, 98.2, 79.8, 100),
        (99.2, 99.4, 83.0, 100),
    ),
    "tanh": (
        (78.1, 88.4, 68.1, 100),
        (90.3, 91.6, 67.1, 100),
        (95.4, 98.0, 73.8, 100),
        (99.8, 98.4, 70.3, 100),
        (100, 100, 76.4, 100),
    ),
    "gelu": (
        (90.6, 88.3, 62.0, 100),
        (91.7, 88.4, 64.2, 100),
        (92.9, 92.5, 63.0, 100),
        (90.7, 94.2, 68.5, 100),
        (77.8, 96.3, 70.0, 97.5),
    ),
    "sigmoid": (
        (56.8, 84.2, 65.9, 61.1),
        (55.2, 80.8, 66.5, 54.2),
        (50.9, 77.9, 62.0, 51.4),
        (50.4, 61.8, 55.2, 50.1),
        (50.5, 60.6, 53.0, 50.3),
    ),
}
TRIALS = 20
ROUNDING = 0.0005  # published to a tenth of a point


def accuracy(element, dataset: str) -> float | None:
    """The published training accuracy in [0, 1] of an element on a dataset, if there is one."""
    rows = ACCURACY.get(element.activation, ())
    plain = set(element.widths) == {8} and not element.skip
    if not plain or element.depth > len(rows) or dataset not in DATASETS:
        return None
    return rows[element.depth - 1][DATASETS.index(dataset)] / 100


def judge(difference: float, deviation: float, trials: int) -> str:
    """Whether a difference of two means lies within their sampling error, at 95 %.

    The published trials shared one draw of the data, so the standard error of their mean lies
    between s/√20 (all variance comes from the initialisation) and s (all from the data); s is our
    `deviation` over trials that vary both. 'yes' holds under the first, 'one draw' only under the
    second, 'no' under neither.
    """
    size = abs(difference) - ROUNDING
    if size <= 1.96 * deviation * np.sqrt(1 / trials + 1 / TRIALS):
        return "yes"
    return "one draw" if size <= 1.96 * deviation * np.sqrt(1 / trials + 1) else "no"


def table(population, rows) -> dict:
    """The report's table of our training accuracy beside the published one ({} without any)."""
    if population.protocol != "gd" or population.trials < 2:
        return {}
    samples = elements_study.cube(population, rows, "train_accuracy")
    estimate, deviation = statistics.mean(samples), samples.std(-1, ddof=1)
    body = []
    for i, element in enumerate(population.elements):
        for j, dataset in enumerate(population.datasets):
            theirs = accuracy(element, dataset)
            if theirs is None:
                continue
            difference = estimate.value[i, j] - theirs
            body.append(
                [
                    f"{element.symbol} {dataset}",
                    points(statistics.entry(estimate, (i, j))),
                    f"{100 * theirs:.1f}",
                    f"{100 * difference:+.1f}",
                    judge(difference, deviation[i, j], population.trials),
                ]
            )
    if not body:
        return {}
    verdicts = [row[-1] for row in body]
    caption = (
        f"{verdicts.count('yes')} of {len(body)} cells agree within the sampling error over trials "
        f"(yes), {verdicts.count('one draw')} only if the published error is that of the single "
        f"draw of the data which all published trials shared (one draw), {verdicts.count('no')} "
        "not even so (no)."
    )
    header = ["element, dataset", "ours, %", "published, %", "difference", "within its error?"]
    return {"Training accuracy beside the published one": (header, body, caption)}
