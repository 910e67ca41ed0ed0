"""What the intervals, ranks and verdicts promise, on data whose truth is known."""

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats import multitest

from experiments.lab import statistics

NAMES = ("a", "b", "c", "d")


def within_sampling_error(frequency, expected, draws, sigmas=5):
    """Is `frequency` out of `draws` within so many binomial standard errors of `expected`?"""
    return abs(frequency - expected) <= sigmas * np.sqrt(expected * (1 - expected) / draws)


def at_most(frequency, bound, draws, sigmas=5):
    """Is `frequency` no further above `bound` than so many binomial standard errors?"""
    return frequency <= bound or within_sampling_error(frequency, bound, draws, sigmas)


def normal(generator, shape):
    return generator.normal(0.9, 0.05, shape)


def accuracy(generator, shape):
    return generator.beta(18, 2, shape)


def counted_accuracy(generator, shape):
    """Right answers out of 100, of networks that differ in how good they are."""
    return generator.binomial(100, generator.beta(18, 2, shape)) / 100


def limits(estimate):
    return np.stack([estimate.low, estimate.high])


# Intervals of a mean


# The coverage of 95 % intervals in 20 000 simulations; t on normal data is exact by theory. The
# bootstrap falls short by what it always does at 20 and 30 trials.
COVERAGE = [
    (normal, 5, 0.95),
    (normal, 10, 0.95),
    (normal, 20, 0.925),
    (normal, 30, 0.935),
    (accuracy, 5, 0.92),
    (accuracy, 10, 0.93),
    (accuracy, 20, 0.925),
    (accuracy, 30, 0.935),
    (counted_accuracy, 5, 0.92),
    (counted_accuracy, 10, 0.93),
    (counted_accuracy, 20, 0.925),
    (counted_accuracy, 30, 0.935),
]


@pytest.mark.parametrize(("draw", "trials", "expected"), COVERAGE)
def test_an_interval_covers_the_truth_as_often_as_expected(draw, trials, expected):
    draws = 2000
    samples = draw(np.random.default_rng(trials), (draws, trials))
    estimate = statistics.mean(samples, resamples=1999)
    covered = np.mean((estimate.low <= 0.9) & (estimate.high >= 0.9))
    assert within_sampling_error(covered, expected, draws)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_below_twenty_trials_the_interval_is_students_t(level):
    samples = np.random.default_rng(0).normal(size=(3, 19))
    estimate = statistics.mean(samples, level=level)
    expected = scipy.stats.t.interval(
        level, 18, loc=samples.mean(axis=-1), scale=scipy.stats.sem(samples, axis=-1)
    )
    np.testing.assert_allclose(estimate.value, samples.mean(axis=-1), rtol=1e-12)
    np.testing.assert_allclose(limits(estimate), expected, rtol=1e-9)
    assert estimate.n == 19


def skewed(generator, shape):
    return generator.exponential(size=shape) ** 2


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_from_twenty_trials_on_the_interval_is_bca(level):
    """SciPy's limits lie among ours of other seeds, for data skewed enough to need BCa."""
    samples = skewed(np.random.default_rng(1), (4, 20))
    theirs = scipy.stats.bootstrap(
        (samples,), np.mean, axis=-1, confidence_level=level, n_resamples=19999, rng=0
    ).confidence_interval
    ours = np.stack(
        [
            limits(statistics.mean(samples, level=level, resamples=19999, seed=seed))
            for seed in range(10)
        ]
    )
    sigmas = np.abs(np.stack(theirs) - ours.mean(axis=0)) / ours.std(axis=0, ddof=1)
    assert sigmas.max() < 5


@pytest.mark.parametrize("trials", [10, 20])
def test_errors_have_the_mirrored_interval_of_accuracies(trials):
    """Resampled means of accuracies in tenths often tie with the observed mean: were the ties put
    on one side, or left to rounding, the mirror image would shift by a step."""
    tenths = np.random.default_rng(2).integers(5, 11, size=(50, trials))
    accuracies, errors = statistics.mean(tenths / 10), statistics.mean((10 - tenths) / 10)
    np.testing.assert_allclose(errors.low, 1 - accuracies.high, atol=1e-9)
    np.testing.assert_allclose(errors.high, 1 - accuracies.low, atol=1e-9)


@pytest.mark.parametrize("trials", [2, 5, 20, 25])
def test_equal_trials_give_an_interval_of_no_width(trials):
    """Also where they are equal but for rounding, as 0.3 and 0.1 + 0.2."""
    samples = np.full((2, trials), [[0.1], [0.3]])
    samples[1, 1:] = 0.1 + 0.2
    estimate = statistics.mean(samples)
    np.testing.assert_array_equal(np.stack(estimate[:3]), np.tile([0.1, 0.3], (3, 1)))


def test_one_trial_has_a_value_and_no_limits():
    estimate = statistics.mean([0.7])
    assert estimate.value == 0.7
    assert np.isnan(limits(estimate)).all()
    assert estimate.n == 1
    ranked = statistics.ranks([[0.7], [0.8]])
    np.testing.assert_array_equal(ranked.value, [2, 1])
    assert np.isnan(limits(ranked)).all()
    (comparison,) = statistics.compare([[0.7], [0.8]], ["a", "b"], margin=0.5)
    assert np.isnan([comparison.p, comparison.p_equivalence, comparison.effect]).all()
    assert comparison.verdict == "undecided"
    assert np.isnan(statistics.against([[0.7], [0.8]], 0.7, alternative="greater")).all()


@pytest.mark.parametrize("shape", [(20,), (3, 20), (2, 3, 20), (5,), (2, 3, 5)])
def test_an_estimate_has_the_shape_of_the_leading_axes(shape):
    estimate = statistics.mean(np.random.default_rng(3).normal(size=shape))
    assert {np.shape(part) for part in estimate[:3]} == {shape[:-1]}


# Promises of every estimate


@pytest.mark.parametrize("trials", [7, 25])
@pytest.mark.parametrize("scale", [0.0, 0.9])
def test_the_neighbours_of_an_entry_do_not_matter(trials, scale):
    samples = scale + np.random.default_rng(4).integers(-10, 11, size=(600, trials)) / 100
    whole = np.stack(statistics.mean(samples)[:3])
    order = np.random.default_rng(5).permutation(600)
    np.testing.assert_array_equal(np.stack(statistics.mean(samples[order])[:3]), whole[:, order])
    np.testing.assert_array_equal(
        np.stack(statistics.mean(samples[300:307])[:3]), whole[:, 300:307]
    )
    np.testing.assert_array_equal(np.stack(statistics.mean(samples[599])[:3]), whole[:, 599])
    columns = np.asfortranarray(samples)
    np.testing.assert_array_equal(np.stack(statistics.mean(columns)[:3]), whole)


def test_the_same_seed_gives_the_same_and_another_seed_another_interval():
    samples = np.random.default_rng(6).normal(size=(12, 25))
    for estimate in (statistics.mean, statistics.ranks):
        first, again, other = (estimate(samples, seed=seed, resamples=199) for seed in (1, 1, 2))
        np.testing.assert_array_equal(limits(first), limits(again))
        assert (limits(first) != limits(other)).any()


@pytest.mark.parametrize("unknown", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("trials", [5, 25])
def test_an_unknown_trial_makes_its_entry_unknown_and_no_other(unknown, trials):
    whole = np.random.default_rng(7).normal(size=(3, 2, trials))
    holed = whole.copy()
    holed[1, 0, 2] = unknown
    for estimate in (
        statistics.stratified,
        lambda samples: statistics.slope(samples, [0.0, 1.0]),
        lambda samples: statistics.mean(samples[:, 0]),
    ):
        expected = np.stack(estimate(whole)[:3])
        expected[:, 1] = np.nan
        np.testing.assert_array_equal(np.stack(estimate(holed)[:3]), expected)
    assert np.isnan(np.stack(statistics.ranks(holed[:, 0])[:3])).all()


@pytest.mark.parametrize("unknown", [np.nan, np.inf])
@pytest.mark.parametrize("trials", [5, 25])
def test_an_unknown_arm_leaves_the_family(unknown, trials):
    samples = np.random.default_rng(8).normal(size=(3, trials))
    samples[2, 0] = unknown
    both, *unknown = statistics.compare(samples, NAMES[:3], margin=0.1)
    assert (both,) == tuple(statistics.compare(samples[:2], NAMES[:2], margin=0.1))
    for comparison in unknown:
        numbers = [*comparison.difference[:3], comparison.p, comparison.p_holm]
        assert np.isnan([*numbers, comparison.effect, comparison.p_equivalence]).all()
        assert comparison.verdict == "undecided"
    p = np.stack(statistics.against(samples, 0.0, alternative="less"))
    np.testing.assert_array_equal(
        p[:, :2], np.stack(statistics.against(samples[:2], 0.0, alternative="less"))
    )
    assert np.isnan(p[:, 2]).all()


# Strata and slopes


def test_strata_weigh_equally_and_are_not_resampled():
    """A trial's mean over the strata is the unit: spread between strata does not widen it."""
    for trials in (6, 24):
        trial = np.random.default_rng(9).normal(size=trials)
        samples = np.array([[-100.0], [0.0], [130.0]]) + trial
        estimate, expected = statistics.stratified(samples), statistics.mean(trial + 10)
        np.testing.assert_allclose(estimate, expected, rtol=1e-12)
    assert statistics.stratified(np.zeros((4, 3, 6))).value.shape == (4,)


def test_the_slope_of_lines_is_theirs():
    slopes = np.array([1.0, 2.0, 3.0, 6.0])
    x = np.array([0.0, 1.0, 4.0, 10.0, -3.0])
    lines = slopes * x[:, None] + np.array([5.0, -3.0, 0.0, 9.0])
    estimate = statistics.slope(np.stack([lines, -lines]), x)
    expected = statistics.mean(slopes)
    np.testing.assert_allclose(estimate.value, [3.0, -3.0], rtol=1e-12)
    np.testing.assert_allclose(limits(estimate)[:, 0], limits(expected), rtol=1e-12)


def test_the_slope_is_that_of_least_squares():
    x, y = np.array([0.0, 1.0, 4.0]), np.array([2.0, 7.0, 3.0])
    expected = np.polynomial.Polynomial.fit(x, y, 1).convert().coef[1]
    np.testing.assert_allclose(statistics.slope(y[:, None], x).value, expected, rtol=1e-12)


# Ranks


def test_the_highest_mean_ranks_first_and_ties_share_their_rank():
    """The tie of 0.1 and 0.2 with 0.15 and 0.15 is one up to rounding."""
    estimate = statistics.ranks([[0.1, 0.2], [0.9, 0.8], [0.15, 0.15], [0.0, 0.1]])
    np.testing.assert_array_equal(estimate.value, [2.5, 1, 2.5, 4])
    assert estimate.n == 2


def test_arms_are_ranked_within_the_same_resampled_trials():
    """Trials of very different difficulty do not blur an order that holds in each of them."""
    difficulty = np.random.default_rng(10).normal(scale=100, size=10)
    samples = difficulty + np.array([[0.0], [1.0], [2.0], [1.0]])
    estimate = statistics.ranks(samples)
    np.testing.assert_array_equal(np.stack(estimate[:3]), np.tile([4, 2.5, 1, 2.5], (3, 1)))


def test_rank_intervals_are_the_percentiles_of_a_resampled_order():
    """The arms' difference is 3 in one of four trials, else -0.5. Its resampled mean is positive
    when a resample holds that trial: with probability 1 - (3/4)^4 = 0.68."""
    samples = np.array([[3.0, -0.5, -0.5, -0.5], [0.0, 0.0, 0.0, 0.0], [-9.0, -9.0, -9.0, -9.0]])
    wide = statistics.ranks(samples, level=0.95)
    np.testing.assert_array_equal(wide.value, [1, 2, 3])
    np.testing.assert_array_equal(limits(wide), [[1, 1, 3], [2, 2, 3]])
    narrow = statistics.ranks(samples, level=0.3)  # tails of 0.35 > 0.32
    np.testing.assert_array_equal(limits(narrow), [[1, 2, 3], [1, 2, 3]])


# Comparisons


def test_holm_by_hand():
    """0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1 raised to the one before it."""
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.005])
    np.testing.assert_allclose(statistics.holm(p), [0.03, 0.06, np.nan, 0.06, 0.02], rtol=1e-12)
    np.testing.assert_array_equal(statistics.holm([0.7, 0.9]), [1.0, 1.0])
    np.testing.assert_array_equal(statistics.holm([0.3]), [0.3])
    assert np.isnan(statistics.holm([np.nan])).all()
    assert statistics.holm([]).shape == (0,)


def test_holm_is_that_of_statsmodels():
    p = np.random.default_rng(20).uniform(size=40) ** 4
    expected = multitest.multipletests(p, method="holm")[1]
    np.testing.assert_allclose(statistics.holm(p), expected, rtol=1e-12)


@pytest.mark.parametrize("trials", [8, 22])
def test_a_comparison_is_the_paired_t_test_with_its_effect(trials):
    samples = np.random.default_rng(11).normal(size=(3, trials)) + np.array([[0.0], [0.5], [4.0]])
    comparisons = statistics.compare(samples, NAMES[:3], margin=0.1, level=0.9)
    assert [(c.first, c.second) for c in comparisons] == [("a", "b"), ("a", "c"), ("b", "c")]
    for comparison, (i, j) in zip(comparisons, [(0, 1), (0, 2), (1, 2)], strict=True):
        test = scipy.stats.ttest_rel(samples[i], samples[j])
        np.testing.assert_allclose(comparison.p, test.pvalue, rtol=1e-9)
        np.testing.assert_allclose(comparison.effect * np.sqrt(trials), test.statistic, rtol=1e-9)
        expected = statistics.mean(samples[i] - samples[j], level=0.9)
        np.testing.assert_allclose(comparison.difference, expected, rtol=1e-12)
    family = statistics.holm([c.p for c in comparisons])
    np.testing.assert_array_equal([c.p_holm for c in comparisons], family)
    assert comparisons[2].verdict == "second higher"
    (reverse,) = statistics.compare(samples[[2, 1]], NAMES[:2], margin=0.1)
    assert reverse.verdict == "first higher"


def test_equal_arms_are_rarely_told_apart_in_the_whole_family():
    """At most alpha of all families of six comparisons; uncorrected it would be one in five."""
    draws, alpha = 600, 0.05
    generator = np.random.default_rng(12)
    families = [
        statistics.compare(generator.normal(size=(4, 10)), NAMES, margin=1e-6, alpha=alpha)
        for _ in range(draws)
    ]
    wrong = np.mean([any(c.verdict != "undecided" for c in family) for family in families])
    assert at_most(wrong, alpha, draws)
    single = np.mean([family[0].p < alpha for family in families])
    assert within_sampling_error(single, alpha, draws)


@pytest.mark.parametrize("side", [-1, 1])
def test_a_difference_of_the_margin_is_rarely_called_equivalent(side):
    """In alpha of all cases, when the spread is small beside the margin."""
    draws, alpha, margin = 1000, 0.05, 0.5
    generator = np.random.default_rng(13)
    samples = generator.normal(scale=0.3, size=(draws, 2, 10))
    samples[:, 0] += side * margin
    verdicts = [
        statistics.compare(pair, NAMES[:2], margin=margin, alpha=alpha)[0].verdict
        for pair in samples
    ]
    assert within_sampling_error(verdicts.count("equivalent") / draws, alpha, draws)


def test_equivalence_is_the_interval_of_one_minus_two_alpha_within_the_margin():
    """The power of TOST, exactly: the 90 % t interval lies within the margin or not."""
    differences = np.random.default_rng(14).normal(size=(200, 12))
    samples = np.stack([differences, np.zeros_like(differences)], axis=1)
    interval = limits(statistics.mean(differences, level=0.9))
    expected = np.abs(interval).max(axis=0) < 0.7
    verdicts = [statistics.compare(pair, NAMES[:2], margin=0.7)[0].verdict for pair in samples]
    assert 20 < expected.sum() < 180
    np.testing.assert_array_equal(np.array(verdicts) == "equivalent", expected)


def test_equivalence_is_corrected_over_the_family():
    samples = np.random.default_rng(15).normal(size=(3, 15))
    family = statistics.compare(samples, NAMES[:3], margin=0.9)
    pairs = [
        statistics.compare(samples[[i, j]], NAMES[:2], margin=0.9)[0].p_equivalence
        for i, j in [(0, 1), (0, 2), (1, 2)]
    ]
    np.testing.assert_array_equal([c.p_equivalence for c in family], statistics.holm(pairs))


def test_a_proven_difference_smaller_than_the_margin_is_equivalent():
    samples = np.stack([np.random.default_rng(16).normal(0.1, 0.01, 10), np.zeros(10)])
    (small,) = statistics.compare(samples, NAMES[:2], margin=0.5)
    assert (small.verdict, small.p_holm < 0.05) == ("equivalent", True)
    (large,) = statistics.compare(samples, NAMES[:2], margin=0.05)
    assert large.verdict == "first higher"


@pytest.mark.parametrize("trials", [3, 24])
def test_differences_equal_in_all_trials_give_the_limits_of_the_test(trials):
    """Also where they are equal but for rounding, as 0.3 - 0.2 and 0.2 - 0.1."""
    arm = np.random.default_rng(17).uniform(high=8, size=trials)
    family = statistics.compare([arm + 0.1, arm, arm + 0.1], NAMES[:3], margin=0.05)
    first, equal, second = family
    np.testing.assert_allclose(first.difference[:3], 0.1, rtol=1e-9)
    assert first.difference.low == first.difference.high == first.difference.value
    assert (first.p, first.effect, first.p_equivalence) == (0, np.inf, 1)
    assert (second.p, second.effect, second.p_equivalence) == (0, -np.inf, 1)
    assert (equal.p, equal.effect, equal.p_equivalence) == (1, 0, 0)
    assert [c.verdict for c in family] == ["first higher", "equivalent", "second higher"]


def test_arms_that_differ_by_rounding_alone_do_not_differ():
    arm = np.random.default_rng(18).uniform(0.5, 1, size=6)
    (comparison,) = statistics.compare([arm, arm * (1 + 3e-16)], NAMES[:2], margin=0.01)
    assert (comparison.p, comparison.effect, comparison.difference.value) == (1, 0, 0)


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_against_is_the_t_test_of_one_sample(alternative):
    samples = np.random.default_rng(19).normal(size=(4, 9)) + np.array([[0.3], [0], [1], [-1]])
    p, p_holm = statistics.against(samples, 0.2, alternative=alternative)
    expected = scipy.stats.ttest_1samp(samples, 0.2, axis=-1, alternative=alternative).pvalue
    np.testing.assert_allclose(p, expected, rtol=1e-9)
    np.testing.assert_array_equal(p_holm, statistics.holm(p))


@pytest.mark.parametrize(
    ("alternative", "expected"),
    [("greater", [0, 1, 0.5]), ("less", [1, 0, 0.5]), ("two-sided", [0, 0, 1])],
)
def test_against_equal_trials_is_the_limit_of_the_test(alternative, expected):
    """Equal to the value up to rounding counts as equal: 0.1 + 0.2 against 0.3."""
    samples = np.array([[0.9] * 4, [0.1] * 4, [0.1 + 0.2] * 4])
    p, _ = statistics.against(samples, 0.3, alternative=alternative)
    np.testing.assert_array_equal(p, expected)


# Refusals

TWO = np.zeros((2, 5))
REFUSED = [
    (lambda: statistics.mean(1.0), r"samples must have shape \[\.\.\., T\].*\(\)"),
    (lambda: statistics.mean(np.zeros((3, 0))), r"samples must have.*\(3, 0\)"),
    (lambda: statistics.stratified(np.zeros(3)), r"samples must have.*S, T\].*\(3,\)"),
    (lambda: statistics.stratified(np.zeros((0, 3))), r"samples must have.*\(0, 3\)"),
    (lambda: statistics.ranks(np.zeros((2, 2, 2))), r"samples must have.*A, T\].*\(2, 2, 2\)"),
    (lambda: statistics.mean(TWO, level=1.0), r"level must .* between 0 and 1, got 1\.0"),
    (lambda: statistics.ranks(TWO, level=0.0), r"level must .* got 0\.0"),
    (lambda: statistics.mean(TWO, level=95), r"level must .* got 95"),
    (lambda: statistics.mean(TWO, resamples=38), r"resamples must .* got 38"),
    (lambda: statistics.mean(TWO, resamples=99.5), r"resamples must .* got 99\.5"),
    (lambda: statistics.mean(TWO, seed=-1), r"seed must .* got -1"),
    (lambda: statistics.mean(TWO, seed=2**32), r"seed must .* got 4294967296"),
    (lambda: statistics.mean(TWO, seed=None), r"seed must .* got None"),
    (lambda: statistics.slope(TWO, [1, 2, 3]), r"x must be 2 finite points.* got \[1\. 2\. 3\.\]"),
    (lambda: statistics.slope(TWO, [1, 1]), r"x must be .* got \[1\. 1\.\]"),
    (lambda: statistics.slope(TWO, [1, np.nan]), r"x must be .* got \[ *1\. nan\]"),
    (lambda: statistics.compare(TWO, ["a"], margin=1), r"names must be 2 different .*\['a'\]"),
    (lambda: statistics.compare(TWO, ["a", "a"], margin=1), r"names must .*\['a', 'a'\]"),
    (lambda: statistics.compare(TWO, ["a", "b"], margin=0), r"margin must be positive.* got 0"),
    (lambda: statistics.compare(TWO, ["a", "b"], margin=np.nan), r"margin must .* got nan"),
    (lambda: statistics.compare(TWO, ["a", "b"], margin=np.inf), r"margin must .* got inf"),
    (lambda: statistics.compare(TWO, ["a", "b"], margin=1, alpha=0), r"alpha must .* got 0"),
    (lambda: statistics.against(TWO, np.nan, alternative="less"), r"value must .* got nan"),
    (lambda: statistics.against(TWO, 0, alternative="more"), r"alternative must .* got 'more'"),
    (lambda: statistics.holm([0.5, 1.5]), r"p must be .* \[0, 1\] or NaN, got \[0\.5, 1\.5\]"),
    (lambda: statistics.holm([-0.1, 0.5]), r"p must be .* got \[-0\.1, 0\.5\]"),
    (lambda: statistics.holm([[0.5]]), r"p must be one axis .* got \[\[0\.5\]\]"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_bad_input_is_refused_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_the_fewest_resamples_and_the_widest_seed_are_accepted():
    samples = skewed(np.random.default_rng(21), (200, 20))
    estimate = statistics.mean(samples, resamples=39, seed=2**32 - 1)
    assert ((estimate.low < estimate.value) & (estimate.value < estimate.high)).all()
    assert np.isfinite(limits(statistics.mean(samples, resamples=np.int64(39)))).all()
    assert statistics.compare(samples[:1], ["alone"], margin=1) == []
