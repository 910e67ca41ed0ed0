"""Exact tests of paired differences, on data with a known answer."""

import itertools

import numpy as np
import pytest
import scipy.stats

from experiments.lab import paired


def by_hand(row, alternative):
    means = [np.mean(np.multiply(s, row)) for s in itertools.product((1, -1), repeat=len(row))]
    means, own = np.round(means, 12), np.round(np.mean(row), 12)
    share = {
        "greater": np.mean(means >= own),
        "less": np.mean(means <= own),
    }
    share["two-sided"] = min(1.0, 2 * min(share.values()))
    return share[alternative]


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_the_sign_flip_test_goes_through_all_patterns(alternative):
    rows = np.random.default_rng(1).normal(0.4, 1, (3, 7))
    rows[2, :3] = 0.0  # ties
    p = paired.sign_flip(rows, alternative=alternative)
    np.testing.assert_allclose(p, [by_hand(row, alternative) for row in rows])


def test_the_smallest_p_is_that_of_one_pattern_in_all():
    for trials in (2, 5, 10):
        (p,) = paired.sign_flip(np.linspace(1, 2, trials)[None])
        assert p == pytest.approx(paired.smallest(trials, 1)) == 2 / 2**trials
    assert paired.smallest(10, 22) == pytest.approx(22 * 2 / 1024)
    assert paired.smallest(1, 3) == paired.smallest(3, 8) == 1.0


def test_without_an_effect_the_test_rarely_finds_one():
    rows = np.random.default_rng(2).standard_t(3, (600, 8))
    assert np.mean(paired.sign_flip(rows) < 0.05) < 0.08


def test_many_trials_are_sampled_and_repeat():
    row = np.random.default_rng(3).normal(0.3, 1, (1, 24))
    p = paired.sign_flip(row)
    assert p == paired.sign_flip(row)
    expected = scipy.stats.ttest_1samp(row[0], 0).pvalue
    assert p[0] == pytest.approx(expected, abs=0.03)


def test_planted_differences_get_their_verdicts():
    generator = np.random.default_rng(4)
    control = generator.normal(1.5, 0.1, 12)
    shifts = {"lower": -0.05, "higher": 0.05, "higher, not worse": 0.004, "not worse": 0.0}
    noise = generator.permuted(np.tile(np.linspace(-0.001, 0.001, 12), (4, 1)), axis=1)
    arms = control + np.array(list(shifts.values()))[:, None] + noise
    wild = control + np.linspace(-0.5, 0.55, 12)
    tests = paired.against(np.vstack([arms, wild]), control, margin=0.01)
    assert [t.verdict for t in tests] == [*shifts, "undecided"]
    assert tests[0].difference.value == pytest.approx(-0.05)
    assert tests[0].difference.low < -0.05 < tests[0].difference.high < 0
    # Holm: the smallest p times the number of arms.
    assert tests[0].p == pytest.approx(5 * 2 / 2**12)


def test_an_unknown_trial_makes_an_arm_unknown_and_no_other():
    control = np.zeros(6)
    arms = np.array([np.full(6, -1.0), np.full(6, -1.0)])
    arms += np.arange(6) / 100
    alone = paired.against(arms[:1], control, margin=0.01)[0]
    arms[1, 3] = np.inf
    first, second = paired.against(arms, control, margin=0.01)
    assert first.p == alone.p
    assert np.isnan(second.p)
    assert second.verdict == "undecided"
    assert np.isnan(paired.sign_flip(np.ones((2, 1)))).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: paired.sign_flip(np.zeros((2, 3)), alternative="both"), "alternative must be"),
        (lambda: paired.sign_flip(np.zeros(3)), "shape"),
        (lambda: paired.against(np.zeros((2, 3)), np.zeros(4), margin=0.1), "control must have"),
        (lambda: paired.against(np.zeros((2, 3)), np.zeros(3), margin=0), "margin must be"),
        (lambda: paired.against(np.zeros((2, 3)), np.zeros(3), margin=1, alpha=1), "alpha must"),
    ],
)
def test_what_cannot_be_tested_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
