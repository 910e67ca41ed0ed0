"""An organism learns; its energy learns what is true of candidates and moves nothing else."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alen import energy, learner, losses, tokeniser
from alen.losses import Hyper
from tests import alen_case

MODEL, KEY = alen_case.MODEL, jax.random.key(5)
LEARNER = learner.learner(MODEL, decoded_share=0.5)
HYPER = Hyper(3e-3)
FIT = HYPER._replace(learning_rate=5e-3, warmup=10.0, weight_decay=0.0)
STEPS = 400


@pytest.fixture(scope="module")
def steps():
    """A step of two seeds at once: the one program that trains here."""
    return jax.jit(jax.vmap(LEARNER.step, (0, 0, None, None)))


@pytest.fixture(scope="module")
def start():
    """Two equal states away from the start, where everything has a gradient."""
    moments = jax.eval_shape(lambda: LEARNER.init(KEY).optimiser)
    moments = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), moments)
    state = learner.State(alen_case.params(), moments, np.int32(0))
    return jax.tree.map(lambda leaf: np.stack([leaf, leaf]), state)


@pytest.fixture(scope="module")
def gradient(steps, start):
    """Of the loss, given a batch and what of training is changed: the first moment, unclipped."""

    def slopes(batch, hyper):
        keys = jnp.stack([KEY, KEY])
        state, info = steps(keys, start, batch, hyper._replace(clip=1e9, beta1=0.5))
        (moments,) = (part for part in state.optimiser if hasattr(part, "mu"))
        first = lambda leaf: np.asarray(leaf)[0]
        return jax.tree.map(lambda mu: 2 * first(mu), moments.mu), jax.tree.map(
            first, info.measured
        )

    return slopes


@pytest.fixture(scope="module")
def fitted(steps):
    """Two seeds of a + b mod 3 trained together: what the steps showed, `[steps, 2]`."""
    keys, batch, shown = jax.random.split(KEY, 2), alen_case.sums(), []
    state = jax.jit(jax.vmap(LEARNER.init))(keys)
    drawn = jax.jit(jax.vmap(lambda key: jax.random.split(key, STEPS), out_axes=1))(keys)
    for own in drawn:
        state, info = steps(own, state, batch, FIT)
        shown.append(info.measured)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *shown)


def largest(tree):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): float(np.abs(leaf).max())
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def test_it_learns_all_sums_and_argmin_agrees_with_soft_selection(fitted):
    assert (fitted.answer[0] > 0.9).all()
    assert (fitted.answer[-20:].mean(0) < 0.05).all()
    last = jax.tree.map(lambda leaf: np.nanmean(leaf[-20:], 0), fitted)
    for right in (last.right_hard, last.right_soft):
        assert (right > 0.98).all()
    assert (last.selected >= last.oracle - 0.15).all()  # of first steps too
    assert (last.constraint < 0.45).all()  # log 2 is ignorance
    assert not np.array_equal(fitted.answer[:, 0], fitted.answer[:, 1])


def test_a_seed_among_others_is_the_seed_alone(steps, start):
    one, two, three = jax.random.split(KEY, 3)
    (first, shown), (second, _) = (
        steps(jnp.stack(keys), start, alen_case.sums(), HYPER)
        for keys in ([one, two], [two, three])
    )
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b[0]), first, second)
    decoded = 4  # half of nine
    alone = jax.jit(functools.partial(losses.loss, MODEL, decoded))
    value, measured = alone(two, alen_case.params(), alen_case.sums(), HYPER)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[1], b, atol=1e-4), shown.measured, measured
    )
    assert float(value) == pytest.approx(float(shown.measured.loss[1]), rel=1e-5)


def test_gradients_reach_everything(gradient):
    found, _ = gradient(alen_case.sums(), HYPER)
    dead = {name for name, size in largest(found).items() if not size > 0}
    assert dead == set()


def test_the_critic_moves_the_energy_alone(gradient):
    first, _ = gradient(alen_case.sums(), HYPER)
    second, _ = gradient(alen_case.sums(), HYPER._replace(critic=7.0, ranking=5.0))
    differ = largest(jax.tree.map(lambda a, b: a - b, first, second))
    for name, size in differ.items():
        assert (size > 1e-4) if name.startswith("energy") else (size < 1e-5), name


def test_questions_without_an_answer_teach_the_energy_and_nothing_else(gradient):
    batch = alen_case.sums()
    nothing = batch._replace(answers=jnp.zeros_like(batch.answers))
    found, measured = gradient(nothing, HYPER._replace(balance=0.0))
    sizes = largest(found)
    assert sizes["energy/heads/kernel"] > 1e-3
    assert all(size == 0 for name, size in sizes.items() if not name.startswith("energy"))
    assert float(measured.answer) == float(measured.risk) == float(measured.ranking) == 0
    assert np.isnan(measured.right_hard)
    assert float(measured.constraint) > 0


def test_no_gradient_is_a_scatter():
    state = jax.eval_shape(LEARNER.init, KEY)
    program = str(jax.make_jaxpr(LEARNER.step)(KEY, state, alen_case.sums(), HYPER))
    assert "dot_general" in program
    assert "scatter" not in program


def test_answers_are_judged_as_greedy_decoding_would_be():
    logits = np.random.default_rng(0).normal(size=(3, 4, 6)).astype(np.float32)
    best = logits.argmax(-1)
    pad, wrong = tokeniser.PAD, (best[1] + 1) % 6
    answers = np.stack([[*best[0, :2], pad, pad], wrong, [pad] * 4])
    answers[:2][answers[:2] == pad] = 0
    judged = losses.judge(jnp.asarray(logits), jnp.asarray(answers))
    there = answers != pad
    chances = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), answers[..., None], 2)[
        ..., 0
    ]
    expected = -(chances * there).sum(1) / np.maximum(there.sum(1), 1)
    np.testing.assert_allclose(judged.loss, expected, rtol=1e-5)
    np.testing.assert_array_equal(judged.right, [True, False, False])


def test_pairs_of_right_and_wrong_are_ranked():
    energies = jnp.array([[1.0, 2.0, 0.5], [3.0, 1.0, 2.0]])
    right = jnp.array([[True, False, False], [True, True, True]])
    expected = (math.log1p(math.exp(-1.0)) + math.log1p(math.exp(0.5))) / 2
    assert losses.ranking(energies, right) == pytest.approx(expected, rel=1e-6)
    assert losses.ranking(energies, jnp.zeros((2, 3), bool)) == 0


def test_each_term_is_at_rest_where_it_is_true():
    """Half right; losses 0.2 ± 0.1: the optimum of each of the three losses, found by gradient."""
    right = jnp.array([[True, False], [True, False]])
    judged = losses.Judged(jnp.array([[0.1, 0.3], [0.3, 0.1]]), right)

    def value(odds, risk, spread):
        whole = lambda x: jnp.full((2, 2), x)
        terms = energy.Terms(whole(0.0), whole(risk), whole(spread), whole(odds))
        return jnp.stack(losses.critic(terms, judged, jnp.array([True, True])))

    slopes = jax.jit(jax.jacfwd(value, (0, 1, 2)))
    odds, risk, spread = slopes(0.0, 0.2, 0.1)
    np.testing.assert_allclose([odds, risk, spread], np.zeros((3, 3)), atol=1e-6)
    off = slopes(0.5, 0.3, 0.2)
    np.testing.assert_array_equal(np.sign(np.round(off, 6)), np.eye(3))


def test_the_rate_climbs_from_the_first_step_on_and_falls_as_a_cosine():
    pace = lambda step, **given: float(learner.rate(Hyper(2.0, warmup=4.0, **given), step))
    assert [pace(s) for s in (0, 1, 3, 4, 1000)] == [0.5, 1.0, 2.0, 2.0, 2.0]
    fall = {"decay_steps": 14.0, "final_share": 0.1}
    assert pace(9, **fall) == pytest.approx(2 * 0.55)
    assert pace(14, **fall) == pace(99, **fall) == pytest.approx(0.2)
    assert pace(7, hold=0.5, **fall) == 2.0 > pace(8, hold=0.5, **fall)
    assert pace(14, hold=0.5, **fall) == pytest.approx(0.2)


def test_only_weights_decay_and_as_much_as_is_traced(start, steps):
    keys, batch = jnp.stack([KEY, KEY]), alen_case.sums()
    plain, _ = steps(keys, start, batch, HYPER)
    decayed, info = steps(keys, start, batch, HYPER._replace(weight_decay=0.5))
    share, which = float(info.rate[0]) * 0.49, learner.decayed(start.params)
    jax.tree.map(
        lambda old, a, b, d: np.testing.assert_allclose(b, a - d * share * old, atol=2e-6),
        start.params,
        plain.params,
        decayed.params,
        which,
    )
    kept = {name.rsplit("/", 1)[1] for name, d in largest(which).items() if not d}
    assert kept == {"bias", "scale"}


def test_the_step_keeps_its_structure_and_counts(start, steps):
    state, info = steps(jnp.stack([KEY, KEY]), start, alen_case.sums(), HYPER)
    same = lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype)
    assert jax.tree.all(jax.tree.map(same, start, state))
    np.testing.assert_array_equal(state.step, 1)
    measured = jax.tree.map(np.asarray, info.measured)
    np.testing.assert_allclose(measured.usage.share.sum(1), 1, atol=1e-5)
    assert (measured.random <= measured.oracle).all()
    assert (measured.selected <= measured.oracle).all()


def test_a_share_must_be_a_share():
    with pytest.raises(ValueError, match=r"decoded_share must lie in \[0, 1\], got 2"):
        learner.learner(MODEL, decoded_share=2)
