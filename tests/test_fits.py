"""Falls are found where they are and nowhere else; fronts and crossings by hand."""

import numpy as np
import pytest
import scipy.optimize

from experiments.lab import fits, statistics
from tests import tolerance

X = np.arange(1.0, 9.0)
FEW = {"resamples": 199}


def fall(x, critical, scale=0.6, top=0.95, floor=0.5):
    return floor + (top - floor) / (1 + np.exp((x - critical) / scale))


def noisy(seed, means, trials, noise=0.03):
    means = np.asarray(means)[..., None]
    return means + np.random.default_rng(seed).normal(0, noise, (*means.shape[:-1], trials))


def numbers(fit):
    return np.stack([*fit.critical[:3], *fit.top[:3], *fit.scale[:3], fit.residual])


# The fit


def test_an_exact_fall_is_recovered():
    parameters = [(2.2, 0.5, 0.9), (5.0, 1.5, 0.8), (7.5, 0.3, 1.0)]
    means = np.stack([fall(X, *each) for each in parameters])
    fit = fits.logistic(X, np.repeat(means[..., None], 3, axis=-1), 0.5, 1.0)
    found = np.stack([fit.critical.value, fit.scale.value, fit.top.value], axis=-1)
    np.testing.assert_allclose(found, parameters, rtol=1e-4)
    np.testing.assert_allclose(fit.residual, 0, atol=1e-5)
    assert (fit.verdict == "within").all()


def test_the_fit_is_the_least_squares_one_of_scipy():
    generator = np.random.default_rng(0)
    truth = [(generator.uniform(2, 7), generator.uniform(0.4, 1.5)) for _ in range(20)]
    samples = noisy(1, [fall(X, *each) for each in truth], 4)
    fit = fits.logistic(X, samples, 0.5, 1.0)
    low, high = (X[0] - 7, 0.1, 0.5), (X[-1] + 7, 7, 1.0)
    for index, start in enumerate(truth):
        best = scipy.optimize.least_squares(
            lambda p, y: fall(X, *p) - y, (*start, 0.9), "2-point", (low, high), xtol=1e-12,
            args=(samples[index].mean(axis=-1),),
        )  # fmt: skip
        assert fit.residual[index] <= np.sqrt(np.mean(best.fun**2)) * (1 + 1e-4)
        np.testing.assert_allclose(fit.critical.value[index], best.x[0], atol=2e-3)


@pytest.mark.parametrize(("trials", "draws"), [(8, 300), (25, 60)])
def test_the_critical_position_is_covered(trials, draws):
    """Trials differ in where they fall; the mean over them falls where they do on average."""
    generator = np.random.default_rng(trials)
    place = 4.3 + generator.normal(0, 0.15, (draws, 1, trials))
    samples = fall(X[:, None], place) + generator.normal(0, 0.04, (draws, 8, trials))
    fit = fits.logistic(X, samples, 0.5, 1.0, **FEW)
    assert (fit.verdict == "within").all()
    for estimate, truth in ((fit.critical, 4.3), (fit.top, 0.95)):
        covered = np.mean((estimate.low <= truth) & (truth <= estimate.high))
        error = np.sqrt(0.94 * 0.06 / draws)
        assert tolerance.within_sampling_error(covered, 0.94, error, sigmas=4)
    assert np.median(fit.critical.high - fit.critical.low) < 0.6


def test_below_twenty_trials_the_interval_is_jackknife_t():
    """Pseudo-values from fits to all trials but one; those of the scale are of its logarithm."""
    samples = noisy(13, fall(X, 4.4), 7)
    fit = fits.logistic(X, samples, 0.5, level=0.9)
    without = [fits.logistic(X, np.delete(samples, trial, axis=-1), 0.5) for trial in range(7)]
    for number, function in (("critical", float), ("top", float), ("scale", np.log)):
        estimate = getattr(fit, number)
        value, *limits = map(function, estimate[:3])
        left = np.array([function(getattr(each, number).value) for each in without])
        expected = statistics.mean(7 * value - 6 * left, level=0.9)
        widths = expected.low - expected.value, expected.high - expected.value
        np.testing.assert_allclose(np.array(limits) - value, widths, rtol=1e-3)


def test_from_twenty_trials_on_the_limits_are_bca():
    """Those of a mean are known: `statistics.mean`'s of the same resamples."""
    samples = np.random.default_rng(14).exponential(size=(5, 24)) ** 2
    expected = statistics.mean(samples, level=0.9, resamples=999)
    resampled = statistics.resampled_means(samples, 999, 0)
    without = (24 * samples.mean(axis=-1, keepdims=True) - samples) / 23
    limits = fits._bca(samples.mean(axis=-1), resampled, without, 0.9)
    np.testing.assert_allclose(limits, expected[1:3], rtol=1e-9)


@pytest.mark.parametrize("trials", [8, 25])
def test_a_jump_between_two_positions_may_be_anywhere_between_them(trials):
    samples = noisy(2, [np.where(X <= 4, 0.9, 0.5), np.where(X <= 7, 0.9, 0.5)], trials)
    estimate = fits.logistic(X, samples, 0.5, 1.0, **FEW).critical
    assert (estimate.low <= [4, 7]).all()
    assert (estimate.high >= [5, 8]).all()
    assert (estimate.high - estimate.low < 2).all()


# Verdicts


@pytest.mark.parametrize("trials", [8, 25])
@pytest.mark.parametrize("ceiling", [None, 1.0])
def test_no_fall_is_beyond_and_the_last_position_is_the_bound(trials, ceiling):
    samples = noisy(3, np.outer([0.9, 0.97, 0.6], np.ones(8)), trials)
    fit = fits.logistic(X, samples, 0.5, ceiling, **FEW)
    assert fit.verdict.tolist() == ["beyond"] * 3
    np.testing.assert_array_equal(fit.critical[:3], np.array([[np.inf], [8], [np.inf]]) * [1, 1, 1])
    np.testing.assert_allclose(fit.top.value, [0.9, 0.97, 0.6], atol=0.03)
    assert np.isnan(fit.scale.value).all()


@pytest.mark.parametrize("trials", [8, 25])
def test_a_fall_to_less_than_half_is_beyond_and_never_a_position_past_the_last(trials):
    fit = fits.logistic(X, noisy(4, fall(X, 9.0, 1.0), trials, 0.01), 0.5, 1.0, **FEW)
    assert fit.verdict == "beyond"
    assert (fit.critical.value, fit.critical.high) == (np.inf, np.inf)
    assert 7 < fit.critical.low <= 8


@pytest.mark.parametrize("trials", [8, 25])
def test_fallen_before_the_first_position_is_below_if_the_height_is_known(trials):
    samples = noisy(5, np.full(8, 0.5), trials)
    fit = fits.logistic(X, samples, 0.5, 1.0, **FEW)
    assert fit.verdict == "below"
    assert fit.critical[:3] == (-np.inf, -np.inf, 1)
    assert np.isnan([*fit.top[:3], *fit.scale[:3]]).all()
    unknown_height = fits.logistic(X, samples, 0.5, **FEW)
    assert unknown_height.verdict == "unidentified"
    assert np.isnan(unknown_height.critical[:3]).all()


def test_the_tail_of_a_fall_is_below():
    fit = fits.logistic(X, noisy(6, fall(X, -0.5, 0.8), 12, 0.01), 0.5, 0.95, **FEW)
    assert fit.verdict == "below"
    assert (fit.critical.value, fit.critical.low) == (-np.inf, -np.inf)
    assert 1 <= fit.critical.high < 2
    assert np.isnan([*fit.top[:3], *fit.scale[:3]]).all()
    for trials in (12, 25):
        late = fits.logistic(X, noisy(6, fall(X, -2, 0.8), trials, 1e-5), 0.5, 0.95, **FEW)
        assert (late.verdict, late.critical.value, late.critical.high) == ("below", -np.inf, 1)


@pytest.mark.parametrize(("trials", "draws"), [(8, 200), (25, 60)])
def test_noise_is_rarely_given_a_verdict(trials, draws):
    """Fallen or not is anyone's guess where the noise is three times as high as the ceiling."""
    samples = noisy(7, np.full((draws, 8), 0.5), trials, 3.0)
    verdict = fits.logistic(X, samples, 0.5, 1.0, **FEW).verdict
    share = np.mean(verdict != "unidentified")
    assert share <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / draws)


@pytest.mark.parametrize("trials", [8, 25])
def test_a_limit_out_of_range_is_infinite_and_leaves_the_fall_unidentified(trials):
    fit = fits.logistic(X, noisy(8, fall(X, 7.9), trials, 0.2), 0.5, 1.0, **FEW)
    low, high = fit.critical.low, fit.critical.high
    assert high == np.inf
    assert low <= 8
    assert fit.verdict in ("beyond", "unidentified")


def test_one_trial_has_no_interval_and_no_verdict():
    fit = fits.logistic(X, fall(X, 4, 0.3)[:, None], 0.5)  # from a top that is reached
    np.testing.assert_allclose(fit.critical.value, 4, rtol=1e-3)
    assert np.isnan([fit.critical.low, fit.critical.high]).all()
    assert fit.verdict == "unidentified"


def test_without_a_ceiling_the_top_is_the_highest_mean():
    """A slow fall looks like the tail of a steep one from far above: nobody has seen that."""
    samples = noisy(11, fall(X, 3, 1.2, top=0.66), 25, 0.03)
    free, seen = (fits.logistic(X, samples, 0.5, c, **FEW) for c in (5.0, None))
    assert seen.top.value <= samples.mean(axis=-1).max() + 1e-12
    assert seen.verdict == "within"
    assert seen.critical.high - seen.critical.low < free.critical.high - free.critical.low
    means = samples.mean(axis=-1)
    half = 0.5 + (seen.top.value - 0.5) / 2
    assert means[: int(seen.critical.value) - 1].min() > half > means[int(seen.critical.value) + 1]


@pytest.mark.parametrize("trials", [6, 22])
def test_an_entry_does_not_depend_on_the_others_and_an_unknown_trial_is_its_own(trials):
    samples = noisy(9, [[fall(X, c) for c in (3, 4.5, 6)], [fall(X, c) for c in (5, 9, 2)]], trials)
    whole = numbers(fits.logistic(X, samples, 0.5, 1.0, **FEW))
    assert whole.shape == (10, 2, 3)
    alone = numbers(fits.logistic(X, samples[1, 2], 0.5, 1.0, **FEW))
    np.testing.assert_array_equal(alone, whole[:, 1, 2])
    samples[0, 1, 2, 3] = np.nan
    fit = fits.logistic(X, samples, 0.5, 1.0, **FEW)
    whole[:, 0, 1] = np.nan
    np.testing.assert_array_equal(numbers(fit), whole)
    assert fit.verdict[0, 1] == "unidentified"
    assert np.isnan(numbers(fits.logistic(X, samples[0, 1], 0.5, **FEW))).all()


def test_the_seed_decides():
    samples = noisy(10, fall(X, 4.5), 20)
    first, again, other = (
        numbers(fits.logistic(X, samples, 0.5, seed=seed, **FEW)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first[1:3] != other[1:3]).any()


# Crossings


def test_the_first_crossing_is_where_chance_is_not_excluded_any_more():
    means = np.array([fall(X, 3.0, 0.1), fall(X, 5.0, 0.1), np.full(8, 0.9), np.full(8, 0.5)])
    samples = noisy(11, means, 10)
    crossings = fits.first_crossing(X, samples, 0.5, alternative="greater")
    p = statistics.against(samples[1], 0.5, alternative="greater")[1]
    assert crossings.tolist() == [4, X[p >= 0.05][0], np.inf, 1]
    assert fits.first_crossing(X, samples[2], 0.5, alternative="greater") == np.inf
    assert fits.first_crossing(X, 1 - samples[0], 0.5, alternative="less") == 4
    assert fits.first_crossing(X, samples[0], 0.5, alternative="less") == 1


def test_a_crossing_is_corrected_over_positions():
    """A p of 0.03 in each of eight positions tells one alone, but not eight."""
    samples = np.array([-1.0, 0.0, 1.0, 1.0, 1.0, 1.0]) + 0.2
    p = statistics.against(samples[None], 0, alternative="greater")[0]
    assert 0.025 < p < 0.05
    alone = fits.first_crossing([1.0], samples[None], 0, alternative="greater")
    family = fits.first_crossing(X, np.tile(samples, (8, 1)), 0, alternative="greater")
    assert (alone, family) == (np.inf, 1)


def test_an_unknown_mean_hides_what_comes_after_it_and_not_what_comes_before():
    samples = noisy(12, fall(X, 3.0, 0.1), 10)
    for position, expected in ((6, 4), (1, np.nan)):
        holed = samples.copy()
        holed[position, 0] = np.nan
        crossing = fits.first_crossing(X, holed, 0.5, alternative="greater")
        np.testing.assert_array_equal(crossing, expected)


# Fronts


def test_the_front_by_hand():
    """Dominated: the third by the second, the fifth (as good, but dearer), the sixth (as dear)."""
    cost, value = [1, 2, 3, 4, 5, 4, 2], [0.5, 0.8, 0.7, 0.9, 0.9, 0.6, 0.8]
    expected = [True, True, False, True, False, False, True]
    assert fits.pareto(cost, value).tolist() == expected
    assert fits.pareto([1], [0]).tolist() == [True]


def test_front_probability_by_hand():
    """The second arm costs more and is better by 3 in one of four trials, else worse by 1: better
    on the mean of a resample that holds the trial twice, as good with it once (3 - 3), where it is
    dominated for its cost. At least two of four draws hit one of four: 0.262."""
    samples = np.array([[0.0, 0, 0, 0], [3, -1, -1, -1], [9, 9, 9, 9], [0, 0, 0, 0]])
    share = fits.front_probability([1, 2, 3, 1], samples, resamples=9999)
    np.testing.assert_array_equal(share[[0, 2, 3]], 1)
    chance = 1 - 0.75**4 - 4 * 0.25 * 0.75**3
    assert tolerance.within_sampling_error(share[1], chance, np.sqrt(chance * (1 - chance) / 9999))


def test_arms_equal_but_for_rounding_share_the_front_only_at_equal_cost():
    arm = np.random.default_rng(15).uniform(0.5, 1, 9)
    samples = [arm, arm * (1 + 3e-16)]
    assert fits.front_probability([1, 2], samples).tolist() == [1, 0]
    assert fits.front_probability([1, 1], samples).tolist() == [1, 1]


def test_an_unknown_arm_leaves_the_front_unknown():
    samples = np.array([[1.0, 2.0], [np.nan, 1.0]])
    assert np.isnan(fits.front_probability([1, 2], samples)).all()
    assert np.isnan(fits.front_probability([1, 2], samples[:, 1:])).all()


# Refusals

FLAT = np.zeros((8, 5))
REFUSED = [
    (lambda: fits.logistic(X, np.zeros(8), 0), r"samples must have shape .*X, T\].*\(8,\)"),
    (lambda: fits.logistic(X[:3], FLAT, 0), r"x must be 8 finite, ascending .* got \[1\.0"),
    (lambda: fits.logistic(X[::-1], FLAT, 0), r"x must be 8 finite, ascending"),
    (lambda: fits.logistic(X[:2], FLAT[:2], 0), r"x must have at least 3 .* got \[1\.0, 2\.0\]"),
    (lambda: fits.logistic(X, FLAT, 0.5, 0.5), r"floor must be .*ceiling, got 0\.5 and 0\.5"),
    (lambda: fits.logistic(X, FLAT, np.nan), r"floor must be .* got nan and None"),
    (lambda: fits.logistic(X, FLAT, 0, level=1.0), r"level must .* got 1\.0"),
    (lambda: fits.first_crossing(X, FLAT, 0, alternative="more"), r"alternative must .* 'more'"),
    (lambda: fits.first_crossing(X, FLAT, 0, alternative="less", alpha=0), r"alpha must .* got 0"),
    (lambda: fits.pareto([1, 2], [1, np.nan]), r"value must be .* got \[1\.0, nan\]"),
    (lambda: fits.pareto([1], [1, 2]), r"cost must be 2 numbers .* got \[1\.0\]"),
    (lambda: fits.front_probability([1], FLAT), r"cost must be 8 numbers .* got \[1\.0\]"),
    (lambda: fits.front_probability([1], FLAT[0]), r"samples must have shape \[A, T\].*\(5,\)"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_bad_input_is_refused_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()
