"""Paired differences are tested as a family, and told with what was found."""

import numpy as np
import pytest
import scipy.stats

from experiments import elements_paired
from experiments.lab import statistics

GENERATOR = np.random.default_rng(0)
NOISE = GENERATOR.normal(0, 0.002, (3, 12))
NOISE -= NOISE.mean(-1, keepdims=True)
DIFFERENCES = NOISE + np.array([[0.05], [-0.03], [0.0]])


def test_a_family_has_the_p_values_of_scipy_corrected_by_holm():
    tests = elements_paired.family(DIFFERENCES)
    p = [scipy.stats.ttest_1samp(row, 0).pvalue for row in DIFFERENCES]
    np.testing.assert_allclose([t.p for t in tests], statistics.holm(p), rtol=1e-6)
    below = [scipy.stats.ttest_1samp(row, 0.01, alternative="less").pvalue for row in DIFFERENCES]
    above = [scipy.stats.ttest_1samp(r, -0.01, alternative="greater").pvalue for r in DIFFERENCES]
    same = statistics.holm(np.maximum(below, above))
    np.testing.assert_allclose([t.p_equivalence for t in tests], same, rtol=1e-6, atol=1e-12)
    assert [t.verdict for t in tests] == ["higher", "lower", "equivalent"]


def test_a_small_difference_is_equivalent_only_within_the_margin():
    (close,) = elements_paired.family(NOISE[:1] + 0.004)
    (far,) = elements_paired.family(NOISE[:1] + 0.004, margin=0.002)
    assert (close.verdict, far.verdict) == ("equivalent", "higher")


def test_what_spreads_too_much_stays_undecided():
    (one,) = elements_paired.family(np.array([[0.3, -0.2, 0.25, -0.3]]))
    assert one.verdict == "undecided"
    assert one.p > 0.05


def test_differences_that_are_only_rounding_errors_are_none():
    third = np.full((1, 5), 0.1 + 0.2 - 0.3)
    (one,) = elements_paired.family(third)
    assert one.difference.value == 0
    assert one.p == 1


@pytest.mark.parametrize(
    ("shift", "said"),
    [(0.05, "+5.0 [+4.9, +5.1] (p < 0.001, higher)"), (0, "+0.0 [-0.1, +0.1] (p < 0.001, equi")],
)
def test_a_test_is_told_with_interval_p_and_verdict(shift, said):
    (one,) = elements_paired.family(NOISE[:1] + shift)
    assert elements_paired.told(one).startswith(said)
    assert len(elements_paired.cells(one)) == len(elements_paired.HEADER)
