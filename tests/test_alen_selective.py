"""Metrics of selective prediction against definitions spelled out and against statsmodels."""

import itertools

import numpy as np
import pytest
from statsmodels.stats import proportion

from alen import selective
from tests import tolerance

TIED = (np.array([3.0, 1, 2, 2, 2, 1, 5]), np.array([1, 0, 1, 0, 0, 1, 1], bool))


def drawn(n=200, levels=20, seed=0):
    generator = np.random.default_rng(seed)
    scores = generator.integers(levels, size=n) / levels
    return scores, generator.random(n) < 0.3 + 0.6 * scores


@pytest.mark.parametrize(("count", "n"), [(0, 10), (3, 10), (10, 10), (7, 30_000)])
def test_a_rate_has_the_exact_interval(count, n):
    expected = proportion.proportion_confint(count, n, alpha=0.1, method="beta")
    found = selective.rate(count, n, level=0.9)
    np.testing.assert_allclose((found.low, found.high), expected, rtol=1e-9)
    assert (found.value, found.count, found.n) == (count / n, count, n)


def test_of_nothing_the_rate_is_unknown():
    value, low, high, *_ = selective.rate(0, 0)
    assert np.isnan(value)
    assert (low, high) == (0, 1)


def test_aurc_is_the_mean_over_all_orders_of_the_tied():
    scores, right = TIED
    areas = []
    for order in itertools.permutations(range(len(scores))):
        if (np.diff(scores[list(order)]) <= 0).all():
            wrong = ~right[list(order)]
            areas.append(np.mean([wrong[:k].mean() for k in range(1, len(wrong) + 1)]))
    assert len(areas) == 12
    np.testing.assert_allclose(selective.aurc(scores, right), np.mean(areas), rtol=1e-12)


def test_augrc_is_the_chance_of_a_failure_not_below_another():
    scores, right = drawn()
    beats = (scores[:, None] > scores) + (scores[:, None] == scores) / 2
    found = selective.augrc(scores, right)
    np.testing.assert_allclose(found, (~right[:, None] * beats).mean(), rtol=1e-12)
    failures, auroc = np.mean(~right), selective.failure_auroc(scores, right).value
    by_rank = failures**2 / 2 + failures * (1 - failures) * (1 - auroc)
    np.testing.assert_allclose(found, by_rank, rtol=1e-12)


def test_areas_at_their_ends():
    right = np.repeat([True, False], 50)
    best, worst, none = right.astype(float), -right.astype(float), np.zeros(100)
    assert selective.augrc(best, right) == pytest.approx(0.125)
    assert selective.augrc(worst, right) == pytest.approx(0.375)
    assert selective.augrc(none, right) == pytest.approx(0.25)
    assert selective.aurc(none, right) == pytest.approx(0.5)
    assert (
        selective.augrc(none, np.ones(100, bool)) == selective.aurc(none, np.ones(100, bool)) == 0
    )


def test_failure_auroc_counts_pairs_and_ties_by_half():
    scores, right = drawn()
    pairs = [np.sign(a - b) / 2 + 0.5 for a in scores[right] for b in scores[~right]]
    found = selective.failure_auroc(scores, right)
    np.testing.assert_allclose(found.value, np.mean(pairs), rtol=1e-12)
    assert found.low < found.value < found.high


def test_the_interval_of_the_auroc_covers_it():
    covered = []
    right = 0.3 + 0.6 * np.arange(20) / 20  # of each score
    pairs = np.outer(right, 1 - right)
    truth = (np.tril(pairs, -1).sum() + np.trace(pairs) / 2) / pairs.sum()
    for seed in range(500):
        _, low, high, _ = selective.failure_auroc(*drawn(seed=seed))
        covered.append(low <= truth <= high)
    error = np.sqrt(0.95 * 0.05 / len(covered))
    assert tolerance.within_sampling_error(np.mean(covered), 0.95, error, sigmas=4)


def test_an_auroc_of_one_kind_is_unknown_and_of_two_pairs_without_limits():
    assert np.isnan(selective.failure_auroc([1.0, 2.0], np.array([True, True])).value)
    single = selective.failure_auroc([1.0, 2.0], np.array([True, False]))
    assert single.value == 0
    assert np.isnan([single.low, single.high]).all()


def test_calibration_error_by_hand():
    confidence = np.array([0.1, 0.3, 0.5, 0.9, 1.0, 0.0])
    right = np.array([0, 1, 1, 1, 0, 0], bool)
    # halves: (0, .1, .3, .5) accurate to 1/2 at 0.225; (.9, 1) accurate to 1/2 at 0.95
    expected = 4 / 6 * (0.5 - 0.225) + 2 / 6 * (0.95 - 0.5)
    assert selective.calibration_error(confidence, right, bins=2) == pytest.approx(expected)


def test_the_curve_accepts_ties_together():
    found = selective.curve(*TIED)
    assert found.threshold.tolist() == [5, 3, 2, 1]
    np.testing.assert_allclose(found.coverage * 7, [1, 2, 5, 7])
    np.testing.assert_allclose(found.generalised_risk * 7, [0, 0, 2, 3])
    np.testing.assert_allclose(found.risk, [0, 0, 2 / 5, 3 / 7])


def test_a_summary_adds_up():
    scores, right = drawn()
    found = selective.summary(scores, scores > 0.5, right)
    passed = scores > 0.5
    assert found.coverage.value == passed.mean()
    assert found.accuracy.value == right.mean()
    assert found.false_verify.value == (~right[passed]).mean()
    assert found.selective_accuracy.value == right[passed].mean()
    assert found.verified_wrong.value == (~right & passed).mean()
    assert found.rejected_right.value == (~passed[right]).mean()
    assert found.augrc == selective.augrc(scores, right)


def test_the_bootstrap_agrees_with_the_exact_interval():
    _, right = drawn(400)
    found = selective.bootstrap(np.mean, right)
    exact = selective.rate(right.sum(), 400)
    np.testing.assert_allclose(found[:3], exact[:3], atol=0.02)


REFUSED = [
    (lambda: selective.augrc([1.0, np.nan], np.array([True, False])), "must not be NaN, got 1"),
    (lambda: selective.augrc([], np.array([], bool)), r"shape \[N\]"),
    (lambda: selective.augrc([1.0], np.array([1])), "must be 1 booleans"),
    (lambda: selective.rate(3, 2), r"count must lie in \[0, 2\], got 3"),
    (lambda: selective.rate(1, 2, level=1.0), "level must lie strictly"),
    (lambda: selective.calibration_error([1.5], np.array([True])), r"must lie in \[0, 1\]"),
]


@pytest.mark.parametrize(("call", "complaint"), REFUSED)
def test_bad_input_is_refused_in_words(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()
