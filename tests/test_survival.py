"""Times to an event: censored ones count, clusters stay together, intervals cover the truth."""

import numpy as np
import pytest
import scipy.stats

from experiments.lab import statistics, survival
from tests import tolerance

# By hand: 4 of 5 at risk stay at 1, 2 of 3 at 3 (one was lost at 2), 0 of 1 at 6 (lost at 4).
TIMES = np.array([1.0, 2.0, 3.0, 4.0, 6.0])
REACHED = np.array([True, False, True, False, True])
AT = [0.0, 0.9, 1.0, 2.5, 3.0, 5.9, 6.0, 99.0]
SHARES = [1, 1, 4 / 5, 4 / 5, 8 / 15, 8 / 15, 0, 0]
FEW = {"resamples": 999}


def numbers(estimate):
    return np.stack(estimate[:3])


def watched(times, horizon):
    """Times and whether they were seen, of a study that ends at the horizon."""
    return np.minimum(times, horizon), times <= horizon


def population(generator, shape, horizon=300.0, difficulty=0.0):
    """Epochs of units `[..., S, T]`, alike within a trial by the share `difficulty`."""
    trial = generator.normal(size=(*shape[:-2], 1, shape[-1]))
    unit = generator.normal(size=shape)
    times = np.exp(5 + np.sqrt(difficulty) * trial + np.sqrt(1 - difficulty) * unit)
    return watched(np.ceil(times), horizon)


def covers(estimate, truth):
    return np.mean((estimate.low <= truth) & (truth <= estimate.high))


def covers_as_often(share, expected, draws):
    error = np.sqrt(expected * (1 - expected) / draws)
    return tolerance.within_sampling_error(share, expected, error, sigmas=4)


# Curves


def test_the_curve_by_hand():
    estimate = survival.kaplan_meier(TIMES, REACHED, AT)
    np.testing.assert_allclose(estimate.value, SHARES, rtol=1e-9)
    assert estimate.n == 5
    np.testing.assert_array_equal(numbers(estimate)[:, [0, 1]], 1)


def test_the_interval_is_that_of_the_pseudo_values_by_hand():
    """The curve at 3 is 8/15; without the first trial it is 2/3, without the second 3/4 x 2/3, then
    3/4 without an event at 3, and 3/4 x 1/2. At 1 the pseudo-values are the trials' own shares."""
    without = np.array([2 / 3, 3 / 4 * 2 / 3, 3 / 4, 3 / 4 * 1 / 2, 3 / 4 * 1 / 2])
    expected = statistics.mean([[0, 1, 1, 1, 1], 5 * 8 / 15 - 4 * without], level=0.5)
    estimate = survival.kaplan_meier(TIMES, REACHED, [1, 3], level=0.5)
    np.testing.assert_allclose(estimate.value - estimate.low, expected.value - expected.low)
    np.testing.assert_allclose(estimate.high - estimate.value, expected.high - expected.value)


def test_the_curve_is_that_of_scipy():
    generator = np.random.default_rng(0)
    times, reached = generator.integers(1, 40, (3, 2, 30)), generator.uniform(size=(3, 2, 30)) < 0.6
    at = np.arange(40.0)
    estimate = survival.kaplan_meier(times, reached, at)
    assert estimate.value.shape == (3, 2, 40)
    for index in np.ndindex(3, 2):
        sample = scipy.stats.CensoredData.right_censored(times[index], ~reached[index])
        inside = at <= times[index].max()
        expected = scipy.stats.ecdf(sample).sf.evaluate(at)[inside]
        np.testing.assert_allclose(estimate.value[index][inside], expected, atol=1e-12)


@pytest.mark.parametrize("trials", [12, 24])
def test_watched_to_the_end_the_interval_is_that_of_the_trials_own_shares(trials):
    """Also over strata: the trial is the unit, its share over the strata the number."""
    times, reached = population(np.random.default_rng(1), (2, 3, trials), difficulty=0.5)
    at = np.linspace(0, 300, 31)
    estimate = survival.kaplan_meier(times, reached, at, stratified=True)
    late = ~(reached[:, None] & (times[:, None] <= at[:, None, None]))  # [2, X, S, T]
    expected = statistics.mean(late.mean(axis=-2))
    np.testing.assert_allclose(estimate.value, expected.value, atol=1e-9)
    np.testing.assert_allclose(estimate.low, np.maximum(expected.low, 0), atol=1e-9)
    np.testing.assert_allclose(estimate.high, np.minimum(expected.high, 1), atol=1e-9)


def test_clusters_make_the_interval_wider():
    """Strata that are all alike say nothing new, whatever their number."""
    times, reached = population(np.random.default_rng(2), (1, 1, 40))
    alone = survival.kaplan_meier(times[:, 0], reached[:, 0], [150.0])
    copies = [np.repeat(each, 5, axis=1) for each in (times, reached)]
    np.testing.assert_allclose(
        numbers(survival.kaplan_meier(*copies, [150.0], stratified=True)), numbers(alone)
    )
    apart = survival.kaplan_meier(*(each.reshape(1, -1) for each in copies), [150.0])
    assert (apart.high - apart.low < 0.6 * (alone.high - alone.low)).all()


@pytest.mark.parametrize("trials", [12, 40])
def test_a_share_is_covered_also_under_early_censoring(trials):
    """Exponential times, a third lost to follow-up at moments of their own."""
    draws, generator = 300, np.random.default_rng(trials)
    times, lost = generator.exponential([[[[100.0]]], [[[200.0]]]], (2, draws, 2, trials))
    estimate = survival.kaplan_meier(
        np.minimum(times, lost), times <= lost, [50.0], stratified=True, **FEW
    )
    assert covers_as_often(covers(estimate, np.exp(-0.5)), 0.94, draws)


def test_beyond_the_last_look_the_share_is_unknown_unless_it_is_nought():
    times = np.array([[10.0, 50.0, 50.0], [10.0, 20.0, 50.0]])
    reached = np.array([[True, True, False], [True, True, True]])
    value = survival.kaplan_meier(times, reached, [49, 50, 51]).value
    np.testing.assert_allclose(value, [[2 / 3, 1 / 3, np.nan], [1 / 3, 0, 0]], rtol=1e-9)
    assert np.isnan(numbers(survival.kaplan_meier(times, reached, [51]))[:, 0]).all()


@pytest.mark.parametrize("trials", [6, 25])
def test_an_entry_does_not_depend_on_the_others_and_an_unknown_time_is_its_own(trials):
    times, reached = population(np.random.default_rng(3), (4, 2, trials))
    functions = (
        lambda t, r: survival.kaplan_meier(t, r, np.arange(0, 300, 7), stratified=True, **FEW),
        lambda t, r: survival.quantile(t, r, 0.3, stratified=True, **FEW),
        lambda t, r: survival.restricted_mean(t, r, 300, stratified=True, **FEW),
    )
    holed = times.copy()
    holed[2, 1, 3] = np.nan
    for function in functions:
        whole = numbers(function(times, reached))
        np.testing.assert_array_equal(numbers(function(times[1], reached[1])), whole[:, 1])
        expected = whole.copy()
        expected[:, 2] = np.nan
        np.testing.assert_array_equal(numbers(function(holed, reached)), expected)


def test_one_trial_has_no_interval():
    estimate = survival.kaplan_meier([[3.0], [4.0]], np.ones((2, 1), bool), [3.5])
    np.testing.assert_array_equal(estimate.value[:, 0], [0, 1])
    median = survival.quantile([3.0], np.array([True]))
    assert median.value == 3
    assert np.isnan([median.low, median.high]).all()


# Quantiles


def test_the_median_is_the_first_time_at_which_half_have_got_there():
    """Of the survivors alone the median would be 2: the censored ones are not dropped."""
    times, reached = np.array([1.0, 2.0, 3.0, 9.0, 9.0, 9.0]), np.array([True] * 3 + [False] * 3)
    assert survival.quantile(times, reached).value == 3
    assert survival.quantile(times, reached, 0.51).value == np.inf
    assert survival.quantile(TIMES, REACHED, 0.2).value == 1
    assert survival.quantile(TIMES, REACHED, 1 - 8 / 15).value == 3
    assert survival.quantile(np.full(3, 9.0), np.zeros(3, bool)).value == np.inf


@pytest.mark.parametrize("trials", [15, 30])
def test_the_interval_of_a_quantile_inverts_that_of_the_curve(trials):
    times, reached = population(np.random.default_rng(4), (trials,))
    at = np.append(np.unique(times), np.inf)
    curve = survival.kaplan_meier(times, reached, at[:-1])
    estimate = survival.quantile(times, reached, 0.4)
    assert estimate.value == at[np.sum(curve.value > 0.6)]
    assert estimate.low == at[np.flatnonzero(curve.low <= 0.6)[0]]
    assert estimate.high == at[np.flatnonzero(curve.high > 0.6)[-1] + 1]
    assert estimate.low < estimate.value < estimate.high


def test_a_limit_is_infinite_where_it_was_not_seen():
    times, reached = population(np.random.default_rng(5), (1, 40), horizon=160)
    estimate = survival.quantile(times, reached)
    assert np.isfinite([estimate.value, estimate.low]).all()
    assert estimate.high == np.inf


@pytest.mark.parametrize("trials", [15, 40])
def test_the_median_is_covered(trials):
    draws = 300
    times, reached = population(
        np.random.default_rng(trials), (draws, 3, trials), difficulty=0.5, horizon=250
    )
    estimate = survival.quantile(times, reached, stratified=True, **FEW)
    assert covers_as_often(covers(estimate, np.ceil(np.exp(5))), 0.95, draws)


# Restricted means


def test_the_restricted_mean_is_the_area_under_the_curve_and_no_mean_of_survivors():
    times, reached = population(np.random.default_rng(6), (2, 3, 30))
    estimate = survival.restricted_mean(times, reached, 250, stratified=True)
    curve = survival.kaplan_meier(times, reached, np.arange(250), stratified=True)
    np.testing.assert_allclose(estimate.value, curve.value.sum(axis=-1), rtol=1e-9)
    survivors = [each[seen].mean() for each, seen in zip(times, reached, strict=True)]
    assert (estimate.value > 1.2 * np.array(survivors)).all()
    units = np.minimum(times, 250).mean(axis=-2)
    np.testing.assert_array_equal(numbers(estimate), numbers(statistics.mean(units)))


def test_arms_are_compared_in_restricted_mean_time_by_trial():
    """The trials' difficulty is shared by the arms and cancels; the slower arm comes out higher."""
    generator = np.random.default_rng(7)
    trial = generator.normal(size=(1, 1, 25))
    unit = generator.normal(scale=0.1, size=(3, 2, 25))
    slower = np.array([0.0, 0.3, 0.0])[:, None, None]
    times, reached = watched(np.exp(4 + trial + unit + slower), 200)
    pairs = survival.compare_restricted(
        times, reached, ("a", "b", "c"), horizon=200, margin=10, stratified=True
    )
    assert [pair.verdict for pair in pairs] == ["second higher", "equivalent", "first higher"]
    units = np.minimum(times, 200).mean(axis=1)
    assert pairs == statistics.compare(units, ("a", "b", "c"), margin=10)


# Refusals

TWO, SEEN = np.ones((2, 3)), np.ones((2, 3), bool)
REFUSED = [
    (lambda: survival.kaplan_meier(1.0, True, [0]), r"times must have shape \[\.\.\., T\].*\(\)"),
    (lambda: survival.quantile(TWO[0], SEEN[0], stratified=True), r"times .* S, T\].*\(3,\)"),
    (lambda: survival.quantile(TWO, SEEN[0]), r"reached must be bool .*\(2, 3\), got bool of \(3"),
    (lambda: survival.quantile(TWO, TWO), r"reached must be bool .* got float64 of \(2, 3\)"),
    (lambda: survival.quantile(TWO * np.inf, ~SEEN), r"times must be >= 0 and finite.*got inf"),
    (lambda: survival.quantile(-TWO, SEEN), r"times must be >= 0 .* got -1 to -1"),
    (lambda: survival.quantile(TWO, SEEN, 1), r"q must lie strictly between 0 and 1, got 1"),
    (lambda: survival.kaplan_meier(TWO, SEEN, [-1]), r"at must be .* >= 0, got \[-1\.0\]"),
    (lambda: survival.kaplan_meier(TWO, SEEN, []), r"at must be one axis .* got \[\]"),
    (lambda: survival.kaplan_meier(TWO, SEEN, 3), r"at must be one axis .* got 3\.0"),
    (lambda: survival.restricted_mean(TWO, ~SEEN, 2), r"horizon .* censored time, 1, got 2"),
    (lambda: survival.restricted_mean(TWO, SEEN, 0), r"horizon must be positive .* got 0"),
    (lambda: survival.kaplan_meier(TWO, SEEN, [1], level=2), r"level must .* got 2"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_bad_input_is_refused_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()
