"""Networks made of networks: what is taken over, what is frozen, and how members decide."""

import functools
import itertools

import jax
import numpy as np
import pytest

from elements import composition, datasets, learner, network

SLOTS = (4, 4, 4)
NORMALS = network.kernel_count(SLOTS)
STEPS = 15
RULES = (
    jax.jit(composition.vote),
    jax.jit(composition.mean),
    jax.jit(lambda z: composition.weighted(z, np.full(len(z), 0.8, np.float32), 50)),
)
Y = np.array([0, 0, 0, 1, 1], np.float32)
WHOLE = learner.Share(Y, np.full(5, 0.2, np.float32))


@functools.cache
def trial(dataset, init=2):
    setting = learner.Setting(datasets.index(dataset), 0.1, datasets.Form(), 30)
    return _draw(jax.random.key(init), setting)


@jax.jit
def _draw(init_key, setting):
    sizes = {"capacity": 30, "tests": 8, "normals": NORMALS}
    return learner.draw(jax.random.key(1), init_key, setting, **sizes)


def base(slots=SLOTS):
    """Gradient descent or Adam, as hyper says: one program for both."""
    return learner.learner(slots, False, learner.protocol("tuned"), "tanh")


def hyper(depth=3, graft=None, adaptive=False):
    rate, used = np.float32(0.03 if adaptive else 0.3), network.Used(np.int32(depth))
    return learner.Hyper(rate, 1.0, adaptive, used, graft=graft)


@functools.cache
def program(slots=SLOTS, grafted=False):
    """`(trial, hyper, steps) -> (parameters before, parameters after, what is measured)`."""
    one = composition.grafted(base(slots)) if grafted else base(slots)

    def run(trial, hyper, steps):
        start = one.init(trial, hyper)
        end = jax.lax.fori_loop(0, steps, lambda _, state: one.step(trial, state, hyper), start)
        return start.params, end.params, one.measure(trial, end, hyper)

    return jax.jit(run)


def composed(bottom, frozen, *, epochs=STEPS, source="moons", target="xor", adaptive=False):
    graft = composition.Graft(*map(np.int32, (bottom, epochs, frozen)))
    pair = composition.Pair(trial(source, init=7), trial(target))
    return program(grafted=True)(pair, hyper(graft=graft, adaptive=adaptive), STEPS)


def layers(params):
    """The hidden layers' leaves from the input on, then the output's."""
    output, *hidden = network.in_order(jax.tree.map(np.asarray, params))
    return [jax.tree.leaves(own) for own in (*hidden, output)]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


# What is taken over, and what is frozen


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("frozen", [0, 1, 2, 3])
def test_frozen_layers_stay_as_they_are_to_the_last_bit_and_all_others_learn(frozen, adaptive):
    start, end, _ = composed(3, frozen, adaptive=adaptive)
    stay = [same(*pair) for pair in zip(layers(start), layers(end), strict=True)]
    assert stay == [k < frozen for k in range(4)]


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("bottom", [1, 2, 3])
def test_a_bottom_is_that_of_a_network_of_so_many_layers_trained_by_itself(bottom, adaptive):
    start, _, _ = composed(bottom, bottom, adaptive=adaptive)
    alone = program(SLOTS[:bottom])
    begun, donor, _ = alone(trial("moons", init=7), hyper(bottom, adaptive=adaptive), STEPS)
    for found, expected in zip(layers(start)[:bottom], layers(donor)[:bottom], strict=True):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert not same(layers(begun)[0], layers(donor)[0])  # it has learnt


def test_what_is_not_taken_over_starts_anew():
    start, _, _ = composed(2, 2)
    fresh = network.initial(SLOTS, "tanh", trial("xor").normals)
    new = [same(*pair) for pair in zip(layers(start), layers(fresh), strict=True)]
    assert new == [False, False, True, True]


def test_a_random_bottom_is_that_of_a_donor_that_has_not_learnt():
    start, end, _ = composed(2, 2, epochs=0)
    donor = network.initial(SLOTS, "tanh", trial("moons", init=7).normals)
    own = network.initial(SLOTS, "tanh", trial("xor").normals)
    for params in (start, end):
        for k in range(2):
            assert same(layers(params)[k], layers(donor)[k])
            assert not same(layers(params)[k], layers(own)[k])


def test_a_network_without_a_bottom_is_a_plain_one():
    plain = program(SLOTS)(trial("xor"), hyper(), STEPS)
    found = composed(0, 0)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_a_donor_knows_nothing_of_the_target_and_the_target_is_what_is_measured():
    (start, _, measured), (other, _, elsewhere) = (
        composed(3, 3, target=target) for target in ("xor", "circles")
    )
    assert all(same(*pair) for pair in zip(layers(start), layers(other), strict=True))
    _, end, _ = composed(3, 3)
    own = trial("xor")
    logits = network.logits(end, own.test.x, "tanh", False)
    expected = learner.accuracy(logits, learner.all_of(own.test))
    assert float(measured["test_accuracy"]) == pytest.approx(float(expected), abs=1e-6)
    assert float(measured["test_loss"]) != float(elsewhere["test_loss"])


# Ensembles


def test_an_ensemble_that_is_right_on_all_points_scores_one():
    right = np.stack([(2 * Y - 1) * scale for scale in (0.1, 1, 30)]).astype(np.float32)
    for rule in RULES:
        assert learner.accuracy(rule(right), WHOLE) == pytest.approx(1.0, abs=1e-6)
        assert learner.accuracy(rule(-right), WHOLE) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("logit", "share"), [(-2, 3 / 5), (2, 2 / 5), (-90, 3 / 5), (90, 2 / 5)])
def test_a_constant_ensemble_scores_the_share_of_its_label(logit, share):
    for rule in RULES:
        found = learner.accuracy(rule(np.full((3, 5), logit, np.float32)), WHOLE)
        assert found == pytest.approx(share, abs=1e-6)


def test_equal_members_together_are_the_member():
    member = np.array([-80, -3, -1e-3, 1e-3, 0.5, 20, 80], np.float32)
    for rule in RULES:
        together = np.asarray(rule(np.tile(member, (5, 1))))
        np.testing.assert_array_equal(together > 0, member > 0)
    together = composition.mean(np.tile(member, (5, 1)))
    np.testing.assert_allclose(together, member, rtol=1e-5, atol=1e-6)


def test_a_vote_counts_heads_and_the_mean_probability_weighs_how_sure_they_are():
    logits = np.array([[-0.1, 0.1], [-0.1, 0.1], [9.0, -9.0]], np.float32)
    np.testing.assert_allclose(composition.vote(logits), [-1 / 3, 1 / 3], rtol=1e-6)
    probability = (1 / (1 + np.exp(-logits.astype(np.float64)))).mean(0)
    expected = np.log(probability / (1 - probability))
    np.testing.assert_allclose(composition.mean(logits), expected, rtol=1e-5)
    assert expected[0] > 0 > expected[1]


def test_weights_are_the_best_that_independent_voters_can_have():
    accuracies, n = np.array([0.9, 0.7, 0.6], np.float32), 10**6
    votes = np.array([*itertools.product([-1, 1], repeat=3)], np.float32).T  # members × points
    for_one = np.where(votes > 0, accuracies[:, None], 1 - accuracies[:, None]).prod(0)
    for_zero = np.where(votes > 0, 1 - accuracies[:, None], accuracies[:, None]).prod(0)
    odds = np.log(for_one / for_zero)
    margin = composition.weighted(votes, accuracies, n)
    np.testing.assert_allclose(3 * margin, odds, rtol=1e-3, atol=1e-4)


def test_a_better_member_weighs_more_and_one_worse_than_chance_counts_against():
    alone = np.array([[1], [-1], [-1]], np.float32)  # the first against the two others

    def wins(*accuracies):
        return float(composition.weighted(alone, np.array(accuracies, np.float32), 100)[0]) > 0

    assert wins(0.95, 0.7, 0.7)
    assert not wins(0.8, 0.75, 0.75)
    assert not wins(0.7, 0.7, 0.7)
    assert wins(0.6, 0.2, 0.6)  # the second says 0, which speaks for 1
    assert not wins(0.2, 0.55, 0.55)


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_weights_stay_finite_at_the_ends(accuracy):
    logits = np.ones((3, 4), np.float32)
    margin = composition.weighted(logits, np.full(3, accuracy, np.float32), 20)
    assert np.isfinite(margin).all()
    assert ((np.asarray(margin) > 0) == (accuracy == 1)).all()


def test_a_diverged_member_abstains_and_if_all_have_the_answer_is_wrong():
    sound = np.array([[-1, 2], [-3, 1]], np.float32)
    broken = np.full((1, 2), np.nan, np.float32)
    for rule in RULES:
        together = np.asarray(rule(np.concatenate([sound, broken])))
        np.testing.assert_array_equal(together > 0, [False, True])
        assert np.isnan(rule(np.tile(broken, (3, 1)))).all()
    # It has been wrong on all validation points, and would else speak for the other label.
    accuracies = np.array([0.6, 0.6, 0.0], np.float32)
    together = composition.weighted(np.concatenate([sound, broken]), accuracies, 100)
    np.testing.assert_array_equal(np.asarray(together) > 0, [False, True])


def test_disagreement_is_the_mean_over_pairs():
    logits = np.random.default_rng(0).normal(size=(5, 40)).astype(np.float32)
    pairs = [np.mean((a > 0) != (b > 0)) for a, b in itertools.combinations(logits, 2)]
    assert float(composition.disagreement(logits)) == pytest.approx(np.mean(pairs), rel=1e-5)
    assert float(composition.disagreement(np.tile(logits[:1], (3, 1)))) == 0
