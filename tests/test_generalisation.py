"""How far what was learnt reaches: shares of a trial, noisy inputs, labels learnt by heart."""

import functools
import itertools

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies
from scipy import stats

from elements import datasets, generalisation, learner
from tests.tolerance import within_sampling_error

SIZES = (50, 100, 200, 500, 1000)
FLIPS = (0, 10, 20, 40)


@jax.jit
def split(n, flipped):
    setting = learner.Setting(0, 0.1, datasets.Form(), n, 20, flipped)
    return learner.split(setting, 1000, validation=True, flips=True)


def shares(n, flipped=0):
    return jax.tree.map(np.asarray, split(n, flipped))


def inside(share):
    return share.weight > 0


def balanced(chosen, y):
    return np.count_nonzero(chosen & (y == 0)) == np.count_nonzero(chosen & (y == 1))


# Shares


@pytest.mark.parametrize("n", SIZES)
def test_the_split_is_80_to_20_exactly_and_balanced(n):
    train, validation, _ = shares(n)
    y = np.arange(1000) % 2
    for share, count in ((train, 4 * n // 5), (validation, n // 5)):
        chosen = inside(share)
        assert np.count_nonzero(chosen) == count
        assert balanced(chosen, y)
        np.testing.assert_allclose(share.weight[chosen], 1 / count, rtol=1e-6)
        np.testing.assert_array_equal(share.y, y)
    np.testing.assert_array_equal(inside(train) ^ inside(validation), np.arange(1000) < n)


@pytest.mark.parametrize("flipped", FLIPS)
def test_the_shares_of_a_small_sample_are_parts_of_those_of_a_larger_one(flipped):
    for smaller, larger in itertools.pairwise(SIZES):
        for small, large in zip(
            shares(smaller, flipped=flipped), shares(larger, flipped=flipped), strict=True
        ):
            assert not np.any(inside(small) & ~inside(large))


@pytest.mark.parametrize("flipped", FLIPS)
@pytest.mark.parametrize("n", SIZES)
def test_just_so_many_labels_are_wrong_and_only_where_they_are_learnt(n, flipped):
    train, validation, wrong = shares(n, flipped=flipped)
    chosen, y = inside(wrong), np.arange(1000) % 2
    assert np.count_nonzero(chosen) == 2 * (2 * n // 5 * flipped // 100)
    assert balanced(chosen, y)
    assert not np.any(chosen & ~inside(train))
    learnt = inside(train)
    np.testing.assert_array_equal(train.y[learnt], np.where(chosen, 1 - y, y)[learnt])
    np.testing.assert_array_equal(wrong.y[chosen], 1 - y[chosen])
    np.testing.assert_array_equal(validation.y, y)


def test_at_200_points_the_counts_are_round():
    counts = [np.count_nonzero(inside(shares(200, flipped=f)[2])) for f in FLIPS]
    assert counts == [0, 16, 32, 64]  # of 160


@hypothesis.given(
    pairs=strategies.integers(1, 300),
    held_back=strategies.integers(0, 99),
    flipped=strategies.integers(0, 100),
)
def test_any_percentage_gives_the_whole_pairs_that_it_has_room_for(pairs, held_back, flipped):
    held, wrong = learner.roles(np.arange(2 * pairs), held_back, flipped)
    expected = pairs * held_back // 100
    assert held.sum() == 2 * expected
    assert wrong.sum() == 2 * ((pairs - expected) * flipped // 100)
    assert not np.any(held & wrong)
    for chosen in (held, wrong):
        np.testing.assert_array_equal(chosen[::2], chosen[1::2])  # a pair goes the same way


def test_what_is_not_asked_for_is_none():
    setting = learner.Setting(0, 0.1, datasets.Form(), 10)
    train, validation, wrong = learner.split(setting, 10, validation=False, flips=False)
    assert (validation, wrong) == (None, None)
    assert float(train.weight.sum()) == pytest.approx(1)


# Scores


@jax.jit
def drawn(data_key, init_key, flipped):
    setting = learner.Setting(0, 0.1, datasets.Form(), 50, 20, flipped)
    sizes = {"capacity": 60, "tests": 1000, "normals": 9, "noises": 10}
    return learner.draw(data_key, init_key, setting, validation=True, flips=True, **sizes)


@functools.cache
def trial(flipped):
    """Fifty points in room for sixty, of which ten are held back."""
    return drawn(jax.random.key(1), jax.random.key(2), flipped)


@jax.jit
def accuracies(logits, of):
    found = learner.scores(logits, of)
    return {name: value for name, value in found.items() if name.endswith("accuracy")}


def scored(own, held_out, flipped=0):
    logits = np.concatenate([own, held_out]).astype(np.float32)
    return {name: float(share) for name, share in accuracies(logits, trial(flipped)).items()}


PARTS = ("train_accuracy", "validation_accuracy", "test_accuracy")


def test_a_network_that_is_right_on_all_points_scores_one():
    own, held_out = np.arange(60) % 2 - 0.5, np.arange(1000) % 2 - 0.5
    assert scored(own, held_out) == pytest.approx(dict.fromkeys(PARTS, 1.0))
    assert scored(-own, -held_out) == pytest.approx(dict.fromkeys(PARTS, 0.0))


@pytest.mark.parametrize("logit", [-1, 0, 1])
def test_a_constant_network_scores_the_majority_share(logit):
    own, held_out = np.full(60, logit), np.full(1000, logit)
    for flipped in (0, 20):  # labels are wrong in pairs, so no share has a majority
        found = scored(own, held_out, flipped)
        assert found == pytest.approx(dict.fromkeys(PARTS, 0.5))


def test_a_network_that_is_not_a_number_is_wrong():
    found = scored(np.full(60, np.nan), np.full(1000, np.nan))
    assert found == dict.fromkeys(PARTS, 0.0)


def test_points_beyond_the_sample_count_nowhere():
    own = np.where(np.arange(60) < 50, np.arange(60) % 2 - 0.5, np.nan)
    assert scored(own, np.arange(1000) % 2 - 0.5) == pytest.approx(dict.fromkeys(PARTS, 1.0))


# Wrong labels


def first_coordinate():
    """Parameters of a relu network whose logit is the first coordinate."""
    hidden = {"kernel": np.array([[1.0, 0.0], [-1.0, 0.0]]), "bias": np.zeros(2)}
    output = {"kernel": np.array([[1.0, -1.0]]), "bias": np.zeros(1)}
    return {"params": {"hidden_0": hidden, "output": output}}


def judged(own, of, sigmas=()):
    """What is said at the end of a network whose logits at the trial's points are `own [N]`."""
    params = first_coordinate()
    base = learner.Learner(None, None, None, lambda trial, state, hyper: {"params": state.params})
    made = generalisation.judged(base, False, "relu", sigmas)
    points = of._replace(x=np.stack([own, np.zeros_like(own)]).astype(np.float32))
    hyper = learner.Hyper(0.1, 1.0, False, learner.network.WHOLE, 0)
    return made.finish(points, learner.State(params, ()), hyper)


def test_who_repeats_every_wrong_label_has_memorised_all_of_them():
    of = trial(flipped=20)
    shown = np.asarray(of.train.y) * 2 - 1
    assert judged(shown, of)["memorised"] == pytest.approx(1)


def test_who_sees_through_the_wrong_labels_has_memorised_none():
    of = trial(flipped=20)
    assert judged(np.arange(60) % 2 * 2.0 - 1, of)["memorised"] == 0


def test_who_repeats_some_has_memorised_their_share():
    of = trial(flipped=40)
    wrong = np.flatnonzero(np.asarray(of.flipped.weight))
    assert len(wrong) == 16
    own = np.arange(60) % 2 * 2.0 - 1
    own[wrong[:4]] *= -1
    assert judged(own, of)["memorised"] == pytest.approx(1 / 4)


def test_a_constant_network_repeats_half_of_the_wrong_labels():
    assert judged(np.ones(60), trial(flipped=20))["memorised"] == pytest.approx(1 / 2)


def test_what_is_not_a_number_has_memorised_nothing():
    assert judged(np.full(60, np.nan), trial(flipped=20))["memorised"] == 0


def test_without_wrong_labels_nothing_is_known_of_memory():
    assert np.isnan(judged(np.ones(60), trial(flipped=0))["memorised"])


def test_a_network_is_not_asked_about_labels_where_none_are_ever_wrong():
    found = judged(np.ones(60), trial(flipped=20)._replace(flipped=None))
    assert set(found) == {"params"}


# Noise on the inputs

SIGMAS = (0.0, 0.1, 0.2, 0.3, 1.0)


def linear(noises=300, points=400):
    """Test points, their noise, a linear predictor and the points' margins from its boundary."""
    generator = np.random.default_rng(0)
    x = generator.uniform(-1, 1, (2, points)).astype(np.float32)
    noise = generator.standard_normal((noises, 2, points)).astype(np.float32)
    direction = np.array([3.0, -4.0], np.float32)
    y = (direction @ x > 0).astype(np.float32)
    margins = np.abs(direction @ x) / 5
    return datasets.Points(x, y), noise, lambda x: direction @ x, margins


def test_without_noise_robustness_is_plain_accuracy():
    test, noise, predict, _ = linear(noises=2)
    biased = lambda x: predict(x) + 1
    plain = float(learner.accuracy(biased(test.x), learner.all_of(test)))
    assert 0.5 < plain < 0.99
    found = generalisation.robustness(biased, test, noise, np.zeros(1, np.float32))
    np.testing.assert_allclose(found, plain, rtol=1e-6)


def test_a_linear_network_loses_what_the_closed_form_says():
    """A point at a distance d stays on its side with probability Φ(d / σ)."""
    test, noise, predict, margins = linear()
    sigmas = np.array(SIGMAS, np.float32)
    found = generalisation.robustness(predict, test, noise, sigmas)
    assert found[0] == pytest.approx(1)
    for sigma, accuracy in zip(SIGMAS[1:], found[1:], strict=True):
        stays = stats.norm.cdf(margins / sigma)
        error = np.sqrt(np.sum(stays * (1 - stays)) / len(noise)) / margins.size
        assert error < 0.002
        assert within_sampling_error(accuracy, stays.mean(), error)


def test_the_accuracy_of_a_linear_network_only_falls_with_noise():
    """All sigmas share their draws: what has crossed over never comes back."""
    test, noise, predict, _ = linear(noises=1)
    found = generalisation.robustness(predict, test, noise, np.array(SIGMAS, np.float32))
    assert np.all(np.diff(found) < 0)


def test_under_noise_a_constant_is_right_by_half_and_nan_is_wrong():
    test, noise, _, _ = linear(noises=2)
    y = datasets.labels(test.y.size).astype(np.float32)
    for logit, share in ((1.0, 0.5), (-1.0, 0.5), (np.nan, 0.0)):
        found = generalisation.robustness(
            lambda x, logit=logit: logit + 0 * x[0],
            test._replace(y=y),
            noise,
            np.array(SIGMAS, np.float32),
        )
        np.testing.assert_allclose(found, share, rtol=1e-6)


def test_a_judged_network_tells_each_sigma_by_name():
    of, sigmas = trial(flipped=20), (0.0, 0.5, 1.25)
    found = judged(np.ones(60), of, sigmas)
    names = ["noise_0_accuracy", "noise_0.5_accuracy", "noise_1.25_accuracy"]
    assert set(found) == {"params", "memorised", *names}
    predict = lambda x: x[0]
    expected = generalisation.robustness(predict, of.test, of.noise, np.array(sigmas, np.float32))
    np.testing.assert_allclose([found[name] for name in names], expected, rtol=1e-6)
    plain = learner.accuracy(predict(of.test.x), learner.all_of(of.test))
    assert found["noise_0_accuracy"] == pytest.approx(float(plain))
    assert len(set(map(float, expected))) == 3


def test_the_noise_is_standard_normal_and_every_draw_another():
    noise = np.asarray(trial(flipped=20).noise)
    assert noise.shape == (10, 2, 1000)
    means = noise.reshape(10, -1).mean(1)
    assert within_sampling_error(means, 0, 1 / np.sqrt(2000))
    assert within_sampling_error(noise.std(), 1, 1 / np.sqrt(2 * noise.size))
    flat = noise.reshape(20, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(20)).max() < 5 / np.sqrt(1000)
    x = np.asarray(trial(flipped=20).test.x)
    assert np.abs(np.corrcoef(np.concatenate([flat, x]))[:20, 20:]).max() < 5 / np.sqrt(1000)
