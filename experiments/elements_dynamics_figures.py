"""Learning dynamics in figures."""

import numpy as np

from experiments.elements_dynamics_measures import DECADES, GOAL, VANISHING, WAY, Watched
from experiments.lab import statistics, survival

POINTS = 51  # along a learning curve
RESAMPLES = 999  # for the limits of a band, of which there are thousands


def figures(watched: Watched) -> dict:
    """By stem: figure and caption."""
    made = {"survival": _survival(watched), **_curves(watched), "settled": _settled(watched)}
    if "gradient_norm" in watched.layers:
        made["gradients"] = _profile(watched)
        if len(watched.depths) > 1:
            made["gradient_ratio"] = _ratio(watched)
    if "saturated" in watched.layers and len(watched.depths) > 1:
        made["units"] = _units(watched)
        made["feature_rank"] = _rank(watched)
    return made


def _survival(watched):
    times, what = watched.goal(), f"{100 * GOAL:g} % held-out accuracy"
    return _waiting(watched, times, f"Networks not yet at {what}")


def _settled(watched):
    return _waiting(
        watched,
        watched.settled(),
        f"Networks not yet {100 * WAY:g} % of the way to their own final accuracy",
    )


def _waiting(watched, times, title):
    from experiments.lab import charts

    estimate = survival.kaplan_meier(
        watched.strata(times.epochs),
        watched.strata(times.reached) > 0,
        watched.epochs,
        stratified=True,
        resamples=RESAMPLES,
    )
    figure = charts.survival(
        watched.epochs,
        estimate,
        watched.activations,
        title=title,
        xlabel="epochs",
        ylabel="not yet there, %",
    )
    return figure, (
        "Kaplan–Meier estimate over all shapes and datasets with its 95 % interval; what is left "
        "at the end never got there."
    )


def _curves(watched):
    from experiments.lab import figures

    last = len(watched.epochs) - 1
    chosen = np.unique(np.linspace(0, last, min(POINTS, last + 1)).round().astype(int))
    made = {}
    for stem, column, ylabel, unit, chance in (
        ("accuracy", "test_accuracy", "held-out accuracy, %", 100, watched.chance),
        ("loss", "train_loss", "training loss, nats", 1, None),
    ):
        curves = watched.curves[column][..., chosen]
        by_depth = np.stack([watched.by_depth(curves[..., r]) for r in range(len(chosen))], axis=-2)
        estimate = statistics.mean(np.moveaxis(by_depth, 1, 0), resamples=RESAMPLES)
        figure = figures.panels(
            watched.epochs[chosen],
            estimate,
            [_hidden(depth) for depth in watched.depths],
            watched.activations,
            title=f"Learning curves: {ylabel.split(',')[0]}",
            xlabel="epochs",
            ylabel=ylabel,
            chance=chance,
            unit=unit,
        )
        dotted = "; dotted: chance" if chance is not None else ""
        made[stem] = figure, f"Mean over datasets and trials with its 95 % interval{dotted}."
    return made


def _hidden(depth):
    return f"{depth} hidden layer{'s' * (depth > 1)}"


def _profile(watched):
    from experiments.lab import figures

    deepest = watched.depths[-1]
    arms = watched.depth == deepest
    norms = watched.layers["gradient_norm"][arms][..., : deepest + 1].astype(np.float64)
    of = np.array([e.activation for e in watched.population.elements])[arms]
    floor = 10.0**-DECADES
    estimates = []
    for moment in (0, -1):
        decades = np.log10(np.maximum(norms[..., moment, :], floor))  # [A, S, T, L]
        grouped = np.stack([decades[of == a].mean((0, 1)) for a in watched.activations])
        estimates.append(statistics.mean(np.moveaxis(grouped, -1, 1)))
    figure = figures.panels(
        np.arange(1, deepest + 2),
        _powers(_stacked(estimates)),
        ["at the start", "at the end"],
        watched.activations,
        title=f"Gradient norms over the layers, {_hidden(deepest)}",
        xlabel=f"layer ({deepest + 1}: output)",
        ylabel="gradient norm",
        unit=1,
    )
    return _logarithmic(figure), (
        "Norm of the loss's gradient with respect to a layer's kernel and bias: geometric mean "
        f"over datasets and trials with its 95 % interval. Norms below 1e-{DECADES} count as that."
    )


def _ratio(watched):
    from experiments.lab import figures

    estimates = [
        statistics.mean(watched.by_depth(watched.across(moment).decades)) for moment in (0, -1)
    ]
    figure = figures.panels(
        watched.depths,
        _powers(_stacked(estimates)),
        ["at the start", "at the end"],
        watched.activations,
        title="First over last layer's gradient norm, over depth",
        xlabel="hidden layers",
        ylabel="first / last",
        unit=1,
    )
    for axes in figure.axes:
        axes.axhline(VANISHING, color="0.35", linewidth=1, linestyle=(0, (1, 1)))
        axes.axhline(1, color="0.6", linewidth=1)
    return _logarithmic(figure), (
        "Geometric mean over datasets and trials with its 95 % interval; dotted: below it "
        f"gradients count as vanishing. A ratio of zero counts as 1e-{DECADES}."
    )


def _units(watched):
    from experiments.lab import figures

    names = ("saturated", "dead")
    figure = figures.panels(
        watched.depths,
        _stacked([statistics.mean(watched.by_depth(watched.units(name))) for name in names]),
        ["saturated, of units × points", "dead, of units"],
        watched.activations,
        title="Saturated and dead units at the end of training",
        xlabel="hidden layers",
        ylabel="share, %",
        share_y=False,
    )
    return figure, (
        "Mean over hidden layers, datasets and trials with its 95 % interval. Saturated: slope "
        "below 5 % of the steepest; dead: saturated at every training point. A dead unit of "
        "leaky_relu still passes 1 % of the gradient on."
    )


def _rank(watched):
    from experiments.lab import figures

    figure = figures.bands(
        watched.depths,
        statistics.mean(watched.by_depth(watched.rank())),
        watched.activations,
        title="Rank of the last hidden layer's features at the end",
        xlabel="hidden layers",
        ylabel="participation ratio, directions",
        unit=1,
    )
    return figure, (
        "Participation ratio (Σλ)²/Σλ² of the features' covariance over the training points: mean "
        "over datasets and trials with its 95 % interval."
    )


def _stacked(estimates):
    parts = (np.stack([getattr(e, part) for e in estimates]) for part in ("value", "low", "high"))
    return statistics.Estimate(*parts, estimates[0].n)


def _powers(estimate):
    return statistics.Estimate(*(10.0**part for part in estimate[:3]), estimate.n)


def _logarithmic(figure):
    for axes in figure.axes:
        axes.set_yscale("log", nonpositive="clip")
    return figure
