"""The figures of the study of plasticity: what becomes of its measures over the tasks."""

from collections.abc import Sequence

import numpy as np

from experiments.apoptosis_plasticity_training import Outcome
from experiments.lab import figures, statistics

POINTS = 25  # of a curve at most: means of as many tasks as it takes
# Of each measure: what it is called, what its figure is called, and its unit and digits.
MEASURES = {
    "accuracy": ("online accuracy, %", "Accuracy before each update", 100, 1),
    "final": ("final accuracy, %", "Accuracy at the end of each task", 100, 1),
    "held_out": ("held-out accuracy, %", "Accuracy on images not seen", 100, 1),
    "loss": ("online loss, nats", "Loss before each update", 1, 3),
    "dormant": ("dormant neurons, %", "Dormant neurons (τ = 0.025)", 100, 1),
    "rank": ("effective rank", "Effective rank of the last hidden layer", 1, 1),
    "norm": ("weight norm", "Norm of all weights", 1, 1),
}
CAPTIONS = {
    "accuracy": "Online accuracy over the tasks",
    "final": "Accuracy on the task's own examples after its last step",
    "held_out": "Accuracy on images not seen, in the task's order of pixels, after its last step",
    "loss": "Online cross-entropy over the tasks",
    "dormant": (
        "Share of hidden units whose mean |h| is at most 0.025 of their layer's (Sokar et al. 2023)"
    ),
    "rank": (
        "exp of the entropy of the normalised singular values of the last hidden layer's outputs "
        "(Roy & Vetterli 2007)"
    ),
    "norm": "Euclidean norm of all weights",
}


def binned(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The last task of each bin `[X]` and the means `[..., X]` of curves `[..., T]`."""
    count = curves.shape[-1]
    size = -(-count // POINTS)
    starts = np.arange(0, count, size)
    ends = np.minimum(starts + size, count)
    return ends, np.add.reduceat(curves, starts, axis=-1) / (ends - starts)


def all_of(outcome: Outcome, kinds: Sequence[str]) -> dict:
    """Every measure over the tasks, a panel for each kind of tasks, by file stem."""
    drawn = {}
    arms = outcome.experiment.arms
    recipes = list(dict.fromkeys(arm.recipe for arm in arms))
    for measure, (word, title, unit, _) in MEASURES.items():
        tasks, curves = binned(outcome.curves(measure))  # [A, N, X]
        curves = curves.reshape(len(kinds), len(recipes), *curves.shape[1:]).swapaxes(2, 3)
        known = [k for k in range(len(kinds)) if np.isfinite(curves[k]).any()]
        if not known:
            continue
        estimate = statistics.mean(curves[known])
        called = [kinds[k].replace("_", " ") for k in known]
        options = {"title": title, "xlabel": "tasks", "ylabel": word, "unit": unit}
        if len(known) == 1:
            options["title"] = f"{title}, {called[0]}"
            figure = figures.bands(tasks, statistics.entry(estimate, 0), recipes, **options)
        else:
            figure = figures.panels(tasks, estimate, called, recipes, share_y=False, **options)
        # As high as the legend of all arms.
        figure.set_figheight(max(figure.get_figheight(), 0.27 * len(recipes) + 0.5))
        caption = (
            f"{CAPTIONS[measure]}: mean over {outcome.experiment.seeds} seeds, 95 % intervals."
        )
        drawn[measure] = (figure, caption)
    return drawn
