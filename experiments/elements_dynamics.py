"""Learning dynamics in words: how soon, how steadily, and what the layers do meanwhile."""

import numpy as np

from experiments import elements_dynamics_claims as claims
from experiments import elements_dynamics_figures, elements_dynamics_tables, elements_findings
from experiments.elements_dynamics_measures import GOAL, LEARNT, WAY, Watched
from experiments.elements_findings import Finding
from experiments.lab import statistics, survival


def analyse(outcome) -> dict:
    """Findings, figures and tables of a grid whose networks were watched as they learnt."""
    watched = Watched(outcome)
    told, contests = [], []
    for part in (speed, steadiness, gradients, weights, activity):
        findings, found = part(watched)
        told += findings
        contests += found
    diverged = int(np.sum(outcome.rows["diverged"]))
    return {
        "findings": told + elements_findings.failures(outcome.population, diverged),
        "figures": elements_dynamics_figures.figures(watched),
        "tables": elements_dynamics_tables.tables(watched, contests),
    }


def speed(watched: Watched) -> tuple[list[Finding], list[claims.Contest]]:
    """How soon, to the absolute goal and to each network's own level; never over survivors."""
    scale, horizon = claims.epochs_of(watched), watched.population.epochs
    restricted = (
        f"restricted mean time in epochs, where a network that never got there counts as {horizon}"
    )
    goal, settled = watched.goal(), watched.settled()
    told, contests = [], []
    for what, times, headline, lead in (
        (
            f"time to {100 * GOAL:g} % held-out accuracy",
            goal,
            f"Which activation is first at {100 * GOAL:g} % held-out accuracy?",
            f"To an absolute {100 * GOAL:g} % of the held-out points, {restricted}",
        ),
        (
            f"time to {100 * WAY:g} % of its own final accuracy",
            settled,
            "Which activation is first at what it learns?",
            f"To {100 * WAY:g} % of the way from chance to its own final training accuracy (a "
            f"network that ends less than {100 * LEARNT:g} points above chance never gets there), "
            f"{restricted}",
        ),
    ):
        there = watched.strata(times.reached) > 0
        units = survival.restricted_times(
            watched.strata(times.epochs), there, horizon, stratified=True
        )
        shares = statistics.mean(watched.by_activation(times.reached))
        reached = lambda i, shares=shares: (
            f" (reached by {claims.share(statistics.entry(shares, i))} %)"
        )
        found = claims.contest(watched, what, scale, units)
        told += claims.lead_of(watched, found, headline, lead, lowest=True, more=reached)
        contests.append(found)
    told += claims.trend(
        watched,
        "Does depth slow learning down?",
        goal.epochs,
        scale,
        f"{contests[0].what}, epochs",
        never=~watched.strata(goal.reached).any((1, 2)),
    )
    return told, contests


def steadiness(watched: Watched) -> tuple[list[Finding], list[claims.Contest]]:
    """How much the loss still moves over the last fifth of training."""
    found = watched.unsteadiness()
    if found is None:
        return [], []
    told, contests = [], []
    for headline, scale, values, lead in (
        (
            "Whose loss is steadiest at the end?",
            claims.LOSS,
            found[0],
            "Standard deviation of the training loss over the last fifth of training, in "
            f"{claims.LOSS.unit} (a loss that still falls is not steady, one that never fell is)",
        ),
        (
            "Whose loss is steadiest about its trend?",
            claims.TREND,
            found[1],
            "The same about each network's own straight line, so that a steady fall does not "
            f"count, in {claims.TREND.unit}",
        ),
    ):
        one = claims.contest(watched, scale.name, scale, watched.by_activation(values))
        told += claims.lead_of(watched, one, headline, lead, lowest=True)
        contests.append(one)
    return told, contests


def gradients(watched: Watched) -> tuple[list[Finding], list[claims.Contest]]:
    """Between the first layer and the last, and between the beginning and the end."""
    if "gradient_norm" not in watched.layers:
        return [], []
    start, end, later = watched.across(0), watched.across(-1), watched.over_time()
    told = []
    for when, found, more in (
        ("start", start, ""),
        ("end", end, "Where the whole gradient has gone, its layers may well be alike. "),
    ):
        told += claims.faults(
            watched,
            f"Do gradients vanish or explode between the layers at the {when} of training?",
            found,
            "the first layer's gradient is less than a thousandth (vanishing) or more than a "
            f"thousand times (exploding) of the output layer's at the {when}",
            more,
        )
    faded, good, more = later.vanishing > 0, watched.goal().reached, ""
    if faded.any():
        more = "A gradient also fades where all is learnt: of those that vanished "
        more += f"{int(good[faded].sum()):,} of {int(faded.sum()):,} had reached "
        more += f"{100 * GOAL:g} % held out. "
    told += claims.faults(
        watched,
        "Do gradients vanish or explode in the course of training?",
        later,
        "the whole gradient is in the last fifth of training less than a thousandth (vanishing) or "
        "more than a thousand times (exploding) of what it was in the first",
        more,
    )
    told += claims.trend(
        watched,
        "Does the first layer's share of the gradient change with depth?",
        start.decades,
        claims.ACROSS,
        "first/last gradient at the start, decades",
    )
    one = claims.contest(
        watched, claims.ACROSS.name, claims.ACROSS, watched.by_activation(end.decades)
    )
    lead = "First over last layer's gradient norm at the end, powers of ten (0: alike)"
    return told + claims.lead_of(
        watched, one, "Which activation hands most of its gradient down to the first layer?", lead
    ), [one]


def weights(watched: Watched) -> tuple[list[Finding], list[claims.Contest]]:
    """How much the weights have grown."""
    if "weight_norm" not in watched.layers:
        return [], []
    one = claims.contest(
        watched, claims.GROWTH.name, claims.GROWTH, watched.by_activation(watched.growth())
    )
    lead = "Norm of all weights at the end over that at the start"
    return claims.lead_of(watched, one, "Whose weights grow most?", lead), [one]


def activity(watched: Watched) -> tuple[list[Finding], list[claims.Contest]]:
    """What the hidden units do at the end."""
    if "saturated" not in watched.layers:
        return [], []
    told, contests = [], []
    for headline, scale, values, lead in (
        (
            "Which activation saturates most?",
            claims.SATURATED,
            watched.units("saturated"),
            "Of units × training points at the end, those where the slope is below 5 % of the "
            "activation's steepest (for rectifiers: switched off), in %",
        ),
        (
            "Which activation loses most units?",
            claims.DEAD,
            watched.units("dead"),
            "Of hidden units at the end, those that are so flat at every training point (a "
            "leaky_relu's still passes 1 % on), in %",
        ),
        (
            "Whose last hidden layer spreads the points over most directions?",
            claims.RANK,
            watched.rank(),
            "Participation ratio of its features at the end",
        ),
    ):
        one = claims.contest(watched, scale.name, scale, watched.by_activation(values))
        told += claims.lead_of(watched, one, headline, lead)
        contests.append(one)
    told += claims.trend(
        watched,
        "Does depth add directions to the last hidden layer?",
        watched.rank(),
        claims.RANK,
        "rank of its features at the end, directions",
    )
    told += claims.trend(
        watched, "Does depth cost units?", watched.units("dead"), claims.DEAD, "dead units, points"
    )
    return told, contests
