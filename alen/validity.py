"""Do the bounds hold? Thresholds set from thousands of simulated calibration sets, truth known.

A population has `V` kinds of answers; answers of a kind are alike in their margins, and wrong with
a chance of their own. Few kinds mean ties in plenty, many of them nearly continuous scores. A rule
sees calibration sets and says which kinds it would verify; then the true risk of that is exact.

Shapes: `D` draws of a calibration set of `n` answers, `V` kinds, `C` checks, `G` candidates.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from alen import risk_control

Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]  # counts, wrong [D, V] -> verified [D, V]
_BLOCK = 1000  # draws at once


class Population(NamedTuple):
    """Kinds of answers: margins `[V, C]`, shares `[V]` (of sum 1) and chances to be wrong `[V]`."""

    margins: np.ndarray
    share: np.ndarray
    wrong: np.ndarray


def true_risks(rule: Rule, population: Population, n, risk, *, draws=10_000, seed=0) -> np.ndarray:
    """The true risk `[D]` of what `rule` verifies after each of `draws` calibration sets of `n`.

    `risk` is one of `risk_control.RISKS`; of nothing verified it is 0. A bound alpha at delta
    holds if more than alpha is met in at most delta of the draws; conformal risk control holds if
    the mean is at most alpha.
    """
    generator, share = np.random.default_rng(seed), np.asarray(population.share, np.float64)
    bad = share * population.wrong
    found = []
    for start in range(0, draws, _BLOCK):
        size = min(_BLOCK, draws - start)
        counts = generator.multinomial(n, share, size=size)
        verified = rule(counts, generator.binomial(counts, population.wrong))
        joint = (verified * bad).sum(axis=-1)
        weight = (verified * share).sum(axis=-1) if risk == "false_verify" else 1.0
        found.append(np.where(joint > 0, joint / np.maximum(weight, 1e-300), 0.0))
    return np.concatenate(found)


def by_sgr(population: Population, alpha, delta) -> Rule:
    """SGR on the first margin."""
    choose = risk_control.selection_with_guaranteed_risk
    return _by_score(population, lambda scores, wrong: choose(scores, wrong, alpha, delta))


def by_conformal(population: Population, alpha) -> Rule:
    """Conformal risk control on the first margin."""
    return _by_score(population, lambda scores, wrong: risk_control.conformal(scores, wrong, alpha))


def by_learn_then_test(
    population, candidates, alpha, delta, *, risk, correction, tail="hoeffding_bentkus"
) -> Rule:
    """Learn-then-Test over thresholds `[G, C]`; arguments as `risk_control.chosen`."""

    def choose(verified, wrong, n):
        return risk_control.chosen(
            verified, wrong, n, alpha, delta, risk=risk, correction=correction, tail=tail
        )

    return _by_candidates(population, candidates, choose)


def by_plug_in(population: Population, candidates, alpha, *, risk) -> Rule:
    """The control, without guarantee: of those with calibration risk <= alpha the most lenient."""

    def choose(verified, wrong, n):
        tested = verified if risk == "false_verify" else n
        fine = (wrong <= alpha * tested) & (verified > 0)
        best = np.argmax(np.where(fine, verified, -1), axis=-1)
        return np.where(fine.any(axis=-1), best, -1)

    return _by_candidates(population, candidates, choose)


def _by_candidates(population, candidates, choose):
    """A rule from one that takes counts `[D, G]` and n, and gives an index `[D]`, -1 for none."""
    passes = (population.margins[None] > candidates[:, None]).all(axis=-1)  # [G, V]
    kinds = np.concatenate([passes, np.zeros((1, passes.shape[1]), bool)])  # none, at index -1

    def rule(counts, wrong):
        return kinds[choose(counts @ passes.T, wrong @ passes.T, counts[0].sum())]

    return rule


def _by_score(population, choose):
    """A rule from one that takes scores and losses of every single answer, `[D, n]`."""
    values = np.asarray(population.margins, np.float64)[:, 0]

    def rule(counts, wrong):
        draws, n = len(counts), counts[0].sum()
        kinds = np.stack([wrong, counts - wrong], axis=-1).ravel()  # of each kind wrong, then right
        scores = np.repeat(np.tile(np.repeat(values, 2), draws), kinds).reshape(draws, n)
        losses = np.repeat(np.tile([True, False], draws * len(values)), kinds).reshape(draws, n)
        return values > choose(scores, losses).threshold[:, None]

    return rule
