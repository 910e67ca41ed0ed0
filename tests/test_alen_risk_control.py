"""Bounds hold where they are promised to: by definition, by hand and in 10,000 simulated draws."""

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats import proportion

from alen import guarantees, risk_control, validity

ALPHA, DELTA, DRAWS = 0.1, 0.1, 10_000


def at_most(share, bound, draws=DRAWS, sigmas=4):
    """Is `share` no further above `bound` than so many binomial standard errors?"""
    return share <= bound + sigmas * np.sqrt(bound * (1 - bound) / draws)


# Populations


def one_score(kinds, wrong):
    """Equally frequent kinds of answers in ascending order of one score, wrong[0] to wrong[1]."""
    margins = np.arange(kinds)[:, None] / kinds
    share = np.full(kinds, 1 / kinds)
    return validity.Population(margins, share, np.linspace(*wrong, kinds))


def three_scores():
    """Three margins of four values each; the wrongness falls with their sum."""
    margins = np.stack(np.meshgrid(*[np.arange(4.0)] * 3), axis=-1).reshape(-1, 3)
    return validity.Population(margins, np.full(64, 1 / 64), 0.22 - margins.sum(axis=1) / 45)


TIED = one_score(8, (0.2, 0.04))  # a few values: ties everywhere
FINE = one_score(300, (0.3, 0.0))
JUST_TOO_BAD = one_score(8, (0.102, 0.102))  # all of it is above alpha
JOINT = three_scores()
GRID = guarantees.grid(JOINT.margins, points=4)
SEQUENCE = guarantees.path(JOINT.margins).sequence(points=64)


def one_by_one(population):
    """All thresholds of one score, from one in the middle to the most lenient."""
    return np.append(population.margins[: len(population.margins) // 2, 0][::-1], -np.inf)[:, None]


def learnt(population, candidates, **settings):
    settings = {"risk": "false_verify", "correction": risk_control.fixed_sequence} | settings
    return validity.by_learn_then_test(population, candidates, ALPHA, DELTA, **settings)


FALSE, JOINTLY = risk_control.RISKS
BONFERRONI = {"correction": risk_control.bonferroni}
EXACT = {"tail": "binomial"}
RULES = {
    "sgr, tied": (TIED, validity.by_sgr(TIED, ALPHA, DELTA), FALSE),
    "sgr, fine": (FINE, validity.by_sgr(FINE, ALPHA, DELTA), FALSE),
    "sgr, all too bad": (JUST_TOO_BAD, validity.by_sgr(JUST_TOO_BAD, ALPHA, DELTA), FALSE),
    "sequence, tied": (TIED, learnt(TIED, one_by_one(TIED), **EXACT), FALSE),
    "sequence, all too bad": (
        JUST_TOO_BAD,
        learnt(JUST_TOO_BAD, one_by_one(JUST_TOO_BAD), **EXACT),
        FALSE,
    ),
    "bonferroni, all too bad": (
        JUST_TOO_BAD,
        learnt(JUST_TOO_BAD, one_by_one(JUST_TOO_BAD), **EXACT, **BONFERRONI),
        FALSE,
    ),
    "sequence, three": (JOINT, learnt(JOINT, SEQUENCE, risk=JOINTLY), JOINTLY),
    "bonferroni, three": (JOINT, learnt(JOINT, GRID, **BONFERRONI), FALSE),
    "exact bonferroni, three": (JOINT, learnt(JOINT, GRID, **BONFERRONI, **EXACT), FALSE),
}


@pytest.mark.parametrize("name", RULES)
def test_a_bound_is_broken_in_at_most_delta_of_the_draws(name):
    population, rule, risk = RULES[name]
    risks = validity.true_risks(rule, population, 400, risk, draws=DRAWS)
    assert len(risks) == DRAWS
    assert at_most((risks > ALPHA + 1e-12).mean(), DELTA)
    if "too bad" not in name:
        assert (risks > 0).mean() > 0.02  # it is not by verifying nothing that the bound holds


PLUG_IN = [
    (TIED, one_by_one(TIED), FALSE),
    (JOINT, GRID, FALSE),
    (JUST_TOO_BAD, one_by_one(JUST_TOO_BAD), JOINTLY),
]


@pytest.mark.parametrize(("population", "candidates", "risk"), PLUG_IN)
def test_the_simulation_sees_a_threshold_without_guarantee_break_it(population, candidates, risk):
    rule = validity.by_plug_in(population, candidates, ALPHA, risk=risk)
    risks = validity.true_risks(rule, population, 400, risk, draws=DRAWS)
    assert not at_most((risks > ALPHA).mean(), 2 * DELTA)


def test_a_sequence_ordered_by_its_own_data_breaks_the_bound():
    """What `fixed_sequence` warns of, and the exact test of one candidate is sharp."""
    population = one_score(40, (0.102, 0.102))
    candidates = population.margins[:-1]
    by_own_p = lambda p, delta: risk_control.fixed_sequence(np.sort(p, axis=-1), delta)
    settings = {"risk": FALSE, "tail": "binomial", "correction": by_own_p}
    cheat = validity.by_learn_then_test(population, candidates, ALPHA, DELTA, **settings)
    honest = learnt(population, np.array([[-np.inf]]), tail="binomial")
    broken = [
        (validity.true_risks(rule, population, 400, FALSE, draws=2000) > ALPHA).mean()
        for rule in (cheat, honest)
    ]
    assert not at_most(broken[0], 1.5 * DELTA, 2000)
    assert 0.03 < broken[1] < DELTA + 0.02


@pytest.mark.parametrize("population", [TIED, FINE])
def test_conformal_risk_control_holds_on_average_and_hardly_wastes_any(population):
    alpha, n = 0.05, 99
    rule = validity.by_conformal(population, alpha)
    risks = validity.true_risks(rule, population, n, JOINTLY, draws=DRAWS)
    error = risks.std() / np.sqrt(DRAWS)
    assert risks.mean() <= alpha + 4 * error
    # Without ties among the losses it is alpha - 1 / (n + 1) at least (theorem 2 of the paper).
    if population is FINE:
        assert risks.mean() >= alpha - 2 / (n + 1)
    assert (risks > alpha).mean() > 0.2  # which is no bound for the single calibration set


# p values, bounds, corrections


@pytest.mark.parametrize(("n", "alpha"), [(30, 0.1), (200, 0.02), (50, 0.4)])
def test_p_values_are_p_values(n, alpha):
    wrong = np.arange(n + 1)
    chance = scipy.stats.binom.pmf(wrong, n, alpha)  # at the edge of the hypothesis
    exact = risk_control.binomial(wrong, n, alpha)
    p = risk_control.hoeffding_bentkus(wrong, n, alpha)
    np.testing.assert_allclose(exact, scipy.stats.binom.cdf(wrong, n, alpha), rtol=1e-9)
    for level in (0.01, 0.05, 0.2):
        assert chance[p <= level].sum() <= level
        assert chance[exact <= level].sum() <= level
    assert (p >= exact - 1e-12).all()
    h = lambda a: a * np.log(a / alpha) + (1 - a) * np.log((1 - a) / (1 - alpha))
    few = wrong[1 : int(n * alpha)]
    hoeffding, bentkus = np.exp(-n * h(few / n)), np.e * scipy.stats.binom.cdf(few, n, alpha)
    np.testing.assert_allclose(p[few], np.minimum(np.minimum(hoeffding, bentkus), 1), rtol=1e-9)
    assert p[-1] == 1


def test_of_nothing_nothing_is_certified():
    for p in risk_control.TAILS.values():
        assert p(np.array(0), np.array(0), 0.1) == 1


def test_the_upper_bound_is_that_of_clopper_and_pearson():
    wrong, n = np.array([0, 3, 10, 10]), np.array([10, 10, 10, 400])
    expected = proportion.proportion_confint(wrong, n, alpha=0.2, method="beta")[1]
    np.testing.assert_allclose(risk_control.upper_bound(wrong, n, 0.1), expected, rtol=1e-9)


def test_corrections_by_hand():
    p = np.array([[0.01, 0.04, 0.2, 0.001], [0.06, 0.0, 0.0, 0.02]])
    sequence = risk_control.fixed_sequence(p, 0.05)
    assert sequence.tolist() == [[True, True, False, False], [False] * 4]
    halves = risk_control.fixed_sequence(p, 0.05, starts=2)
    assert halves.tolist() == [[True, False, False, False], [False, False, True, True]]
    bonferroni = risk_control.bonferroni(p, 0.05)
    assert bonferroni.tolist() == [[True, False, False, True], [False, True, True, False]]


# Thresholds, against slow definitions


def calibration(seed=0, n=300, values=25, checks=3):
    generator = np.random.default_rng(seed)
    margins = generator.integers(values, size=(n, checks)) / values
    return margins, generator.random(n) < 1 - 0.5 * (1 - margins.mean(axis=1)) ** 2


@pytest.mark.parametrize(("values", "alpha"), [(4, 0.2), (25, 0.14), (10_000, 0.14)])
def test_sgr_is_the_bisection_of_the_paper(values, alpha):
    margins, right = calibration(n=1200, values=values)
    scores = margins[:, 0]
    found = guarantees.sgr(scores, right, alpha=alpha, delta=0.1)
    steps, low, high, best = int(np.ceil(np.log2(1201))), 0, 1200, np.inf
    candidates = [-np.inf, *np.sort(scores)[:-1]]
    for _ in range(steps):
        if low < high:
            middle = (low + high) // 2
            passed = scores > candidates[middle]
            m, wrong = passed.sum(), (passed & ~right).sum()
            if m and scipy.stats.beta.ppf(1 - 0.1 / steps, wrong + 1, m - wrong) <= alpha:
                high, best = middle, candidates[middle]
            else:
                low = middle + 1
    assert np.isfinite(best)
    assert found.thresholds == [best]
    passed = scores > best
    assert (found.verified, found.wrong) == (passed.sum(), (passed & ~right).sum())


@pytest.mark.parametrize("values", [4, 10_000])
def test_conformal_is_the_lowest_threshold_that_the_definition_allows(values):
    margins, right = calibration(values=values)
    scores, n = margins[:, 0], len(right)
    found = guarantees.conformal(scores, right, alpha=0.05)
    fine = [t for t in [-np.inf, *scores] if (((scores > t) & ~right).sum() + 1) / (n + 1) <= 0.05]
    assert found.thresholds[0] == min(fine)


def test_learn_then_test_takes_the_certified_that_verifies_most():
    margins, right = calibration()
    candidates = guarantees.grid(margins[:100], points=5)
    settings = {"alpha": 0.2, "delta": 0.1, "correction": "bonferroni"}
    found = guarantees.learn_then_test(candidates, margins, right, **settings)
    best = (0, None)
    for thresholds in candidates:
        passed = (margins > thresholds).all(axis=1)
        m, wrong = passed.sum(), (passed & ~right).sum()
        p = risk_control.hoeffding_bentkus(wrong, m, 0.2)
        if p <= 0.1 / len(candidates) and m > best[0]:
            best = (m, thresholds)
    assert found.certified
    assert found.verified == best[0]
    np.testing.assert_array_equal(found.thresholds, best[1])


def test_a_path_is_the_same_by_its_level_and_by_its_thresholds():
    margins, _ = calibration()
    margins[5, 1], margins[7, 2] = np.nan, -np.inf
    way = guarantees.path(margins[100:])
    level = way.level(margins)
    for at in (-np.inf, 0, 3, 60, 199, 200, np.inf):
        passed = (np.where(np.isnan(margins), -np.inf, margins) > way.thresholds(at)).all(axis=1)
        np.testing.assert_array_equal(level > at, passed)
    strict = way.sequence(points=9)
    assert (np.diff(strict, axis=0) <= 0).all()
    assert np.isneginf(strict[-1]).all()


def test_three_checks_on_one_path_and_an_order_learnt_elsewhere():
    margins, right = calibration(n=900)
    tune, rest = slice(0, 300), slice(300, None)
    way = guarantees.path(margins[tune])
    joint = guarantees.sgr(margins[rest], right[rest], alpha=0.15, delta=0.1, path=way)
    passed = (margins[rest] > joint.thresholds).all(axis=1)
    assert joint.certified
    assert joint.verified == passed.sum()
    average = guarantees.conformal(margins[rest], right[rest], alpha=0.05, path=way)
    assert average.thresholds.shape == (3,)
    order = guarantees.promising(way.sequence(), margins[tune], right[tune], 0.15)
    settings = {"alpha": 0.15, "delta": 0.1}
    ordered = guarantees.learn_then_test(order, margins[rest], right[rest], **settings)
    assert ordered.certified
    unordered = guarantees.learn_then_test(way.sequence(), margins[rest], right[rest], **settings)
    assert not unordered.certified  # the strictest thresholds verify too few to begin with


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2])
def test_typical_thresholds_leave_out_a_share_of_the_right(share):
    draw = np.random.default_rng(0)
    margins, right = draw.normal(size=(5000, 3)), draw.random(5000) < 0.7
    limits = guarantees.typical(margins, right, share)
    out = (margins[right] <= limits).mean(axis=0)
    np.testing.assert_allclose(out, share, atol=2e-3)
    changed = np.where(right[:, None], margins, -7.0)  # the wrong ones have no say
    np.testing.assert_array_equal(guarantees.typical(changed, right, share), limits)
    assert np.isneginf(guarantees.typical(margins, np.zeros(5000, bool), share)).all()
    # A margin that all have passes, also where thresholds are rounded to the type of margins.
    shared = guarantees.typical(np.ones(9), np.ones(9, bool)).astype(np.float32)
    assert np.float32(1) > shared


# What is said


def test_what_cannot_be_certified_is_said_and_verifies_nothing():
    scores, right = np.random.default_rng(0).random(50), np.arange(50) % 2 == 0
    grid = guarantees.grid(scores)
    for found in (
        guarantees.sgr(scores, right, alpha=0.01, delta=0.05),
        guarantees.conformal(scores, right, alpha=0.01),
        guarantees.learn_then_test(grid, scores, right, alpha=0.01, delta=0.05),
    ):
        assert not found.certified
        assert not (scores[:, None] > found.thresholds).any()
        assert "could not certify" in found.says()
        assert "no answer is verified" in found.says()
        assert found.says().count(".") - found.says().count("0.") == 1


def test_thresholds_that_verify_nothing_are_not_called_certified():
    nothing, right = np.full((50, 1), np.inf), np.ones(50, bool)
    settings = {"alpha": 0.5, "delta": 0.1, "risk": JOINTLY}
    scores = np.zeros(50)
    for found in (
        guarantees.learn_then_test(nothing[:1], scores, right, **settings),
        guarantees.conformal(scores * np.nan, right, alpha=0.5),
    ):
        assert not found.certified
        assert np.isposinf(found.thresholds).all()


def test_a_guarantee_says_what_it_is_and_what_it_is_not():
    margins, right = calibration(n=600)
    found = guarantees.sgr(margins[:, 0], right, alpha=0.2, delta=0.1)
    assert "at most 0.2, with probability at least 0.9 over draws" in found.says()
    assert f"{found.wrong} of {found.verified} verified were wrong, of 600" in found.says()
    assert "independent draws of one distribution" in found.does_not_say()
    assert "up to 0.1 that mislead" in found.does_not_say()
    average = guarantees.conformal(margins[:, 0], right, alpha=0.05)
    assert "on average over calibration sets" in average.says()
    assert "exchangeable" in average.does_not_say()
    assert "wrong answers among the verified" in average.does_not_say()
    assert str(average) == f"{average.says()} {average.does_not_say()}"


REFUSED = [
    ({"alpha": 0.0}, "alpha must lie strictly between 0 and 1, got 0.0"),
    ({"delta": 1.0}, "delta must lie strictly"),
    ({"risk": "wrong"}, "risk must be one of false_verify, verified_wrong, got 'wrong'"),
    ({"correction": "holm"}, "correction must be one of"),
    ({"tail": "normal"}, "tail must be one of"),
    ({"starts": 9}, r"starts must lie in \[1, 1\], got 9"),
    ({"margins": np.zeros((4, 2))}, r"margins must have shape \[N, 3\], got \(4, 2\)"),
    ({"right": np.ones(4)}, "right must be 4 booleans"),
]


@pytest.mark.parametrize(("change", "complaint"), REFUSED)
def test_bad_input_is_refused_in_words(change, complaint):
    settings = {"alpha": 0.1, "delta": 0.1, "right": np.ones(4, bool), "margins": np.zeros((4, 3))}
    with pytest.raises(ValueError, match=complaint):
        guarantees.learn_then_test(np.zeros((1, 3)), **(settings | change))
