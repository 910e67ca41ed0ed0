"""The three checks: that they can fail, that they see no more than they may, and their controls.

The case is a + b mod 5, whole: 25 questions, 125 answers, 25 of them right. The answering model is
a stand-in whose thought holds the right answer.
"""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alen import (
    backward,
    blocks,
    guarantees,
    selective,
    stability,
    tokeniser,
    verifier,
    verify,
)

P, FIRST = 5, 5  # numbers, and the token of 0
QUESTIONS = np.array([(FIRST + a, FIRST + P, FIRST + b) for a in range(P) for b in range(P)])
TRUTH = (QUESTIONS[:, 0] + QUESTIONS[:, 2] - 2 * FIRST) % P
PARTS = backward.spans([[(0, 1), (2, 3)]] * P**2, 3)
ROWS, ANSWERS = np.divmod(np.arange(P**3), P)  # every answer to every question
RIGHT = TRUTH[ROWS] == ANSWERS
CHECKER = verifier.Verifier(FIRST + P + 1, 3, 2, blocks.Shape(32, 4, 8, 64, 1))
OPTIMISER = optax.adam(5e-3)


def asked(rows, numbers):
    ended = np.stack([FIRST + numbers, np.full_like(numbers, tokeniser.EOS)], axis=-1)
    memory = np.random.default_rng(0).normal(size=(FIRST + P + 1, 8))[QUESTIONS[rows]]
    thought = np.eye(P)[TRUTH[rows]]
    found = verifier.Asked(
        QUESTIONS[rows].astype(np.int32),
        ended.astype(np.int32),
        memory.astype(np.float32),
        np.ones((len(rows), 3), bool),
        np.ones((len(rows), P), np.float32) / np.sqrt(P).astype(np.float32),
        thought.astype(np.float32),
        PARTS[rows],
    )
    return jax.tree.map(jnp.asarray, found)


ALL = asked(ROWS, ANSWERS)


@jax.jit
def train(key):
    """The new-born verifier, the trained one and the course of its losses."""
    pairs = jnp.tile(jnp.arange(P**2), 2)

    def step(state, key):
        first, second, third, order = jax.random.split(key, 4)
        rows = jax.random.permutation(order, pairs)
        miss = (truth[rows] + jax.random.randint(first, rows.shape, 1, P)) % P
        numbers = jnp.where(jax.random.uniform(second, rows.shape) < 0.5, truth[rows], miss)
        batch = jax.tree.map(lambda x: x[rows * P + numbers], ALL)
        true = ALL.answers[rows * P + truth[rows]]
        told = (numbers == truth[rows], true, jnp.ones(len(rows), bool))
        return verifier.step(third, CHECKER, OPTIMISER, state, batch, *told)

    truth = jnp.asarray(TRUTH)
    born = verifier.start(key, CHECKER, OPTIMISER, ALL)
    trained, course = jax.lax.scan(step, born, jax.random.split(key, 400))
    return born.params, trained.params, course


margins_of = jax.jit(lambda *args: verifier.margins(jax.random.key(0), CHECKER, *args))
logits_of = jax.jit(CHECKER.backward.apply)
told_of = jax.jit(functools.partial(backward.told, CHECKER.backward, pool="least"))


@pytest.fixture(scope="module")
def case():
    """Three verifiers with their margins of all 125 answers, and how the trained one learnt."""
    born, trained, course = train(jax.random.key(1))
    zero = jax.tree.map(jnp.zeros_like, born)
    params = {"trained": trained, "random": born, "zero": zero}
    found = {name: margins_of(p, ALL) for name, p in params.items()}
    return types.SimpleNamespace(params=params, margins=found, course=course)


# What training gives


def test_both_networks_learn(case):
    assert case.course.correctness[-20:].mean() < 0.1 < 0.5 < case.course.correctness[0]
    # Of right answers nothing is left, of hidden ones (a fifth) the logarithm of five.
    assert case.course.backward[0] > np.log(P)
    np.testing.assert_allclose(case.course.backward[-20:].mean(), np.log(P) / 5, atol=0.1)


@pytest.mark.parametrize("check", ["forward", "backward"])
def test_a_trained_check_rejects_wrong_answers(case, check):
    margin = np.asarray(getattr(case.margins["trained"], check))
    assert selective.failure_auroc(margin, RIGHT).value > 0.99
    passed = margin > 0
    assert selective.rate((passed & ~RIGHT).sum(), (~RIGHT).sum()).high < 0.1
    assert (passed & RIGHT).sum() >= 0.9 * RIGHT.sum()


def test_the_backward_margin_is_in_nats_a_token(case):
    """A right answer leaves one number of five: log 5, if the network is sure."""
    found = np.asarray(case.margins["trained"].backward)[RIGHT]
    np.testing.assert_allclose(np.median(found), np.log(P), atol=0.2)


# Controls


@pytest.mark.parametrize("check", ["forward", "backward"])
def test_a_random_verifier_scores_as_such(case, check):
    margin = np.asarray(getattr(case.margins["random"], check))
    value, low, high, _ = selective.failure_auroc(margin, RIGHT, level=0.999)
    assert low < 0.5 < high
    assert 0.3 < value < 0.7
    assert not guarantees.sgr(margin, RIGHT, alpha=0.1, delta=0.1).certified


@pytest.mark.parametrize("check", ["forward", "backward"])
def test_a_zero_verifier_knows_and_verifies_nothing(case, check):
    margins = case.margins["zero"]
    margin = np.asarray(getattr(margins, check))
    assert (margin == 0).all()
    assert selective.failure_auroc(margin, RIGHT).value == 0.5
    assert not verify.judge(margins, verify.Thresholds(0, 0, 0), [check]).verified.any()
    assert not guarantees.sgr(margin, RIGHT, alpha=0.1, delta=0.1).certified


def test_an_accept_all_verifier_is_as_wrong_as_the_answers(case):
    everything = verify.Thresholds(-np.inf, -np.inf, -np.inf)
    verdict = verify.judge(case.margins["trained"], everything, ("forward", "backward"))
    found = selective.summary(np.zeros(P**3), np.asarray(verdict.verified), RIGHT)
    assert found.coverage.value == 1
    assert found.false_verify.value == 0.8
    assert found.failure_auroc.value == 0.5


# What the backward check sees


def logits(case, questions, part, answers):
    return np.asarray(logits_of(case.params["trained"].backward, questions, part, answers))


def test_nothing_leaks_from_the_hidden_part(case):
    part = ALL.parts[:, 0]
    others = ALL.questions.at[:, 0].set(FIRST + (ALL.questions[:, 0] + 2) % P)
    seen = logits(case, ALL.questions, part, ALL.answers)
    np.testing.assert_array_equal(seen, logits(case, others, part, ALL.answers))
    rest = ALL.questions.at[:, 2].set(FIRST + (ALL.questions[:, 2] + 2) % P)
    assert (seen[:, 0] != logits(case, rest, part, ALL.answers)[:, 0]).any(axis=-1).all()
    empty = jnp.zeros_like(part)
    assert (
        logits(case, ALL.questions, empty, ALL.answers) != logits(case, others, empty, ALL.answers)
    ).any()


def test_the_backward_check_never_sees_a_thought(case):
    blind = ALL._replace(
        memory=-ALL.memory, thought=ALL.initial, initial=ALL.thought, memory_mask=~ALL.memory_mask
    )
    found = margins_of(case.params["trained"], blind)
    np.testing.assert_array_equal(found.backward, case.margins["trained"].backward)
    assert (found.forward != case.margins["trained"].forward).any()


def test_hidden_answers_tell_nothing(case):
    hidden = backward.hide_answers(ALL.answers)
    assert len(np.unique(hidden)) == 1
    found = margins_of(case.params["trained"], ALL._replace(answers=hidden)).backward
    np.testing.assert_allclose(found, 0, atol=1e-5)


def test_the_margin_is_what_its_definition_says(case):
    params, n = case.params["trained"].backward, P**3
    questions, parts, answers = ALL.questions, ALL.parts, ALL.answers
    told = told_of(params, questions, parts, answers)
    gains, hits = [], []
    for p, place in enumerate((0, 2)):
        log_p = [
            jax.nn.log_softmax(logits(case, questions, parts[:, p], a)[:, place])
            for a in (answers, backward.hide_answers(answers))
        ]
        true = (np.arange(n), questions[:, place])
        gains.append(log_p[0][true] - log_p[1][true])
        hits.append(log_p[0].argmax(axis=-1) == questions[:, place])
    np.testing.assert_allclose(case.margins["trained"].backward, np.mean(gains, axis=0), atol=1e-4)
    np.testing.assert_allclose(told.margin, np.min(gains, axis=0), atol=1e-4)
    np.testing.assert_array_equal(told.exact, np.all(hits, axis=0))
    assert (np.asarray(told.exact) == RIGHT).mean() > 0.97


def test_a_question_without_parts_or_only_padding_is_never_exact(case):
    parts = ALL.parts.at[:2].set(False).at[1, 0, 2].set(True)
    questions = ALL.questions.at[1, 2].set(tokeniser.PAD)
    told = told_of(case.params["trained"].backward, questions, parts, ALL.answers)
    assert told.margin[:2].tolist() == [0, 0]
    assert not told.exact[:2].any()
    assert told.exact[2:].any()
    without = ALL._replace(questions=questions, parts=parts)
    assert margins_of(case.params["trained"], without).backward[:2].tolist() == [0, 0]


def test_a_part_is_drawn_among_those_there_are():
    parts = jnp.asarray(backward.spans([[(0, 1), (2, 4)], [], [(1, 3)]], 4))
    drawn = jax.jit(jax.vmap(lambda key: backward.draw_part(key, parts)))(
        jax.random.split(jax.random.key(0), 200)
    )
    first = np.asarray(drawn[:, 0]).astype(int) @ [8, 4, 2, 1]
    assert set(first.tolist()) == {8, 3}
    assert 60 < (first == 8).sum() < 140
    assert not drawn[:, 1].any()
    assert (np.asarray(drawn[:, 2]) == [False, True, True, False]).all()


# Stability


def test_a_shaken_thought_is_a_unit_vector_at_the_radius():
    thought = jnp.eye(64)[:3]
    shake = jax.jit(stability.shake, static_argnums=2)
    moved = shake(jax.random.key(0), thought, 500, 0.2)
    assert moved.shape == (3, 500, 64)
    np.testing.assert_allclose(jnp.linalg.norm(moved, axis=-1), 1, rtol=1e-5)
    cosine = np.einsum("bnd,bd->bn", moved, thought)
    # Most directions are nearly orthogonal to the thought: cos = 1 / sqrt(1 + radius²).
    np.testing.assert_allclose(cosine.mean(), 1 / np.sqrt(1.04), atol=2e-3)
    assert cosine.std() > 1e-4
    assert (moved[0] != moved[1]).any()
    np.testing.assert_allclose(shake(jax.random.key(0), thought, 500, 0.0)[:, 1], thought)


def test_answers_are_the_same_up_to_their_end():
    eos, pad = tokeniser.EOS, tokeniser.PAD
    answers = jnp.array([[7, eos, pad], [7, eos, 9], [7, 8, eos], [7, 8, 9]])
    same = stability.same(answers[:, None], answers[None])
    assert np.asarray(same).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_stability_is_the_share_of_all_perturbations_with_the_same_answer():
    checker = CHECKER.__class__(**{**vars(CHECKER), "perturbations": 4, "radius": 0.1})
    some = jax.tree.map(lambda x: x[:3], ALL)
    answers = some.answers

    def decode(thoughts):  # the first question's thoughts give another answer
        assert thoughts.shape == (12, P)
        assert thoughts.dtype == some.thought.dtype
        return stability.spread(answers, 4).at[:4].add(1)

    def answer(questions):  # of two surfaces the first is right
        assert questions.shape == (6, 3)
        return stability.spread(answers, 2).at[1::2].add(1)

    perturbed = jnp.repeat(some.questions[:, None], 2, axis=1)
    call = lambda **given: jax.jit(
        lambda key: verifier.margins(key, checker, None, some, checks=["stability"], **given)
    )(jax.random.key(0))
    both = call(decode=decode, answer=answer, perturbed=perturbed)
    np.testing.assert_allclose(both.stability, [1 / 6, 5 / 6, 5 / 6], rtol=1e-6)
    np.testing.assert_allclose(call(decode=decode).stability, [0, 1, 1])
    assert np.isnan(both.forward).all()
    assert np.isnan(call().stability).all()
    with pytest.raises(ValueError, match="other surfaces need both"):
        call(perturbed=perturbed)


# The verdict

MARGINS = verify.Margins(*jnp.array([[1.0, 1, -1, 1], [2, 0, 2, jnp.nan], [0.9, 0.9, 0.1, 0.9]]))
HALF = verify.Thresholds(0.0, 0.0, 0.5)
SUBSETS = [
    ((), [1, 1, 1, 1]),
    (("forward",), [1, 1, 0, 1]),
    (("backward",), [1, 0, 1, 0]),  # equal to the threshold is not above it, NaN never is
    (("stability",), [1, 1, 0, 1]),
    (("forward", "stability"), [1, 1, 0, 1]),
    (("backward", "forward"), [1, 0, 0, 0]),
    (verify.CHECKS, [1, 0, 0, 0]),
]


@pytest.mark.parametrize(("checks", "expected"), SUBSETS)
def test_an_answer_is_verified_when_all_checks_in_use_pass(checks, expected):
    judge = lambda margins, thresholds: verify.judge(margins, thresholds, checks)
    verdict = jax.jit(judge)(MARGINS, HALF)
    assert verdict.verified.tolist() == list(map(bool, expected))
    each = jax.vmap(judge, in_axes=(0, None))(MARGINS, HALF)
    np.testing.assert_array_equal(each.verified, verdict.verified)


def test_without_certified_thresholds_nothing_is_verified():
    verdict = verify.judge(MARGINS, verify.Thresholds())
    assert not verdict.verified.any()
    assert "no threshold of the forward check is certified" in verify.words(verdict, 0)


def test_a_verdict_in_words():
    verdict = verify.judge(MARGINS, HALF)
    verified = "verified (forward 1 log odds, backward 2 nats a token, stability 0.9 of"
    assert verify.words(verdict, 0).startswith(verified)
    failed = "abstained: the backward check failed (0 nats a token, more than 0 is needed)"
    assert verify.words(verdict, 1) == failed
    assert verify.words(verdict, 2).count("check failed") == 2
    assert verify.words(verdict, 3) == "abstained: the backward check gave no margin"
    assert verify.words(verify.judge(MARGINS, HALF, ()), 2) == "verified (no check asked)"


def test_thresholds_come_from_a_guarantee_and_margins_go_into_one():
    found = verify.thresholds([0.5, 2.0], ("stability", "forward"))
    assert found == verify.Thresholds(0.5, -np.inf, 2.0)
    columns = verify.stacked(MARGINS, ("stability", "forward"))
    np.testing.assert_allclose(columns[0], [1, 0.9], rtol=1e-6)
    with pytest.raises(ValueError, match="checks must be some of forward, backward, stability"):
        verify.judge(MARGINS, HALF, ["sideways"])
    with pytest.raises(ValueError, match="thresholds must be 3"):
        verify.thresholds([1.0])


# What is learnt from


def test_answers_to_learn_from():
    size = 3000
    answerable = jnp.arange(size) % 3 > 0
    truth, near, sampled = (jnp.full((size, 2), i) for i in (1, 2, 3))
    sampled_right = jnp.arange(size) % 2 == 0
    answers, right = verifier.mixture(
        jax.random.key(0), truth, near, sampled, sampled_right, answerable, shares=(0.5, 0.2)
    )
    kind, right, can = np.asarray(answers[:, 0]), np.asarray(right), np.asarray(answerable)
    assert not right[~can].any()
    assert not (kind[~can] == 1).any()
    assert right[kind == 1].all()
    assert not right[kind == 2].any()
    np.testing.assert_array_equal(right[(kind == 3) & can], sampled_right[(kind == 3) & can])
    for share, chosen in ((0.5, kind[can] == 1), (0.2, kind == 2)):
        assert abs(chosen.mean() - share) < 5 * np.sqrt(share * (1 - share) / len(chosen))
    with pytest.raises(ValueError, match="shares must be"):
        verifier.mixture(jax.random.key(0), *[None] * 5, shares=(0.8, 0.3))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"radius": -1.0}, "radius must be finite and at least 0, got -1.0"),
        ({"perturbations": -1}, "perturbations must be at least 0"),
        ({"pool": "most"}, "pool must be one of mean, least, got 'most'"),
    ],
)
def test_an_impossible_verifier_is_refused(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        verifier.Verifier(**{**vars(CHECKER), **change})
