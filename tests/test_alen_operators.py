"""The study of operators: shapes cost the same, selection is what it says, and a run ends whole."""

import dataclasses

import jax
import numpy as np
import pytest

from alen import answer as answering
from alen import energy, losses, presets, stability, tokeniser
from alen import model as organism
from experiments import alen_operators, alen_operators_analysis, alen_operators_arms
from experiments.alen_operators_arms import METHODS, MOST_STEPS, Arm
from experiments.shell import cli, storage
from tests import alen_case

TINY = presets.find("tiny").architecture
BASE = dataclasses.replace(TINY, vocabulary=29, question=8, answer=2, steps=3)
SMALL = {"dimension": 8, "hidden_dim": 8, "attention_heads": 1, "feed_forward_dim": 8}
STUDY = alen_operators.OperatorStudy(
    match=("flops",),
    operators=(1, 2),
    steps=(1, 2),
    seeds=5,
    training_steps=1,
    batch_size=4,
    pool=128,
    questions=16,
    **SMALL,
)


@pytest.mark.parametrize("match", alen_operators_arms.MATCHES)
@pytest.mark.parametrize(("operators", "steps"), [(1, 1), (4, 3), (12, 10), (1, 10)])
def test_arms_cost_the_same(match, operators, steps):
    arm = alen_operators_arms.matched(match, BASE, operators, steps)
    shape = dataclasses.replace(BASE, operators=operators, steps=steps, hidden=arm.hidden)
    ratio = alen_operators_arms.cost(match, shape) / alen_operators_arms.cost(match, BASE)
    assert ratio == pytest.approx(1, abs=0.01)
    assert arm.parameters == presets.parameters(shape).total
    if (operators, steps) == (BASE.operators, BASE.steps):
        assert arm.hidden == BASE.hidden


def test_what_cannot_be_matched_is_refused():
    narrow = dataclasses.replace(BASE, hidden=1, operators=1, steps=1)
    with pytest.raises(ValueError, match="12 operators in 10 steps cannot be given the flops of"):
        alen_operators_arms.matched("flops", narrow, 12, 10)


def test_selection_is_held_against_all_candidates():
    model, params, count = alen_case.MODEL, alen_case.params(), alen_case.SHAPE.operators
    questions = alen_case.questions(24)
    hyper = losses.Hyper(1e-3, weights=energy.Weights(1.0, 0.5, 0.2))

    @jax.jit
    def whole(params):
        apply = lambda *args, method: model.apply({"params": params}, *args, method=method)
        memory, first = apply(questions, method="encode")
        course = apply(first, organism.Reasoning(hyper.weights), method="reason")
        thoughts, memory = (
            course.proposals[:, -1].reshape(24 * count, -1),
            stability.spread(memory, count),
        )
        told = answering.from_thought(model, params, thoughts, memory).tokens
        return told.reshape(24, count, -1), course.chosen[:, -1]

    each, chosen = jax.device_get(whole(params))
    # The truth is what some candidate says, not always the first; PAD stands only behind EOS.
    proper = (each == tokeniser.EOS).any(-1) & (np.diff((each == tokeniser.PAD) * 1) >= 0).all(-1)
    kept = np.flatnonzero(proper.any(1))
    each, chosen, proper, questions = each[kept], chosen[kept], proper[kept], questions[kept]
    rows = np.arange(len(kept))
    truth = each[rows, np.where(rows % 2, proper.argmax(1), count - 1 - proper[:, ::-1].argmax(1))]
    seen = jax.jit(lambda p: alen_operators_arms.look(model, hyper, p, questions, truth))(params)
    right = (each == truth[:, None]).all(-1)
    assert seen.oracle == 1
    np.testing.assert_allclose(seen.random, right.mean(), atol=1e-6)
    np.testing.assert_allclose(seen.selected, right[rows, chosen].mean(), atol=1e-6)
    np.testing.assert_allclose(seen.argmin, seen.selected, atol=1e-6)
    np.testing.assert_allclose(seen.after[alen_case.SHAPE.steps - 1], seen.argmin, atol=1e-6)
    assert seen.after.shape == (MOST_STEPS,)
    assert seen.selected < 1


def planted(accuracy):
    """An experiment's stored rows, their accuracies those of a function of arm, seed, method."""
    arms = tuple(Arm("flops", k, r, 9, 100, 50.0) for k in (1, 4) for r in (1, 3))
    experiment = dataclasses.replace(STUDY.experiment(), arms=arms)
    rows = [
        {**arm._asdict(), "seed": seed, "stratum": number, "method": method, "n": 40,
         "accuracy": accuracy(arm, seed, method), "entropy": 0.5, "collapsed": 0.0}
        for arm in arms
        for seed in experiment.subject.seeds
        for number in range(len(experiment.strata))
        for method in (*METHODS, *(f"argmin@{r + 1}" for r in range(MOST_STEPS)))
    ]  # fmt: skip
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return alen_operators_analysis.Found(experiment, table)


def test_planted_differences_are_found_and_absent_ones_are_not():
    noise = np.random.default_rng(0).normal(0, 0.002, (5, 20, 2, 4))

    def accuracy(arm, seed, method):
        own = noise[seed, len(method), int(arm.operators > 1), arm.steps]
        more = 0.2 * (arm.operators > 1) + 0.1 * (method == "oracle") - 0.1 * (method == "random")
        return 0.5 + more + own

    found = planted(lambda arm, seed, method: accuracy(arm, seed, method[:9]))
    tests = alen_operators_analysis.tested(found)
    verdicts = {q: {one.verdict for one in own} for q, own in tests.items()}
    assert verdicts["Do more operators help?"] == {"higher"}
    assert verdicts["Do more steps help?"] == {"undecided"}
    assert [len(own) for own in tests.values()] == [2, 2, 2, 2, 2]
    (chosen,) = (own for q, own in tests.items() if q.startswith("Does the energy"))
    error = 0.002 * (2 / 5) ** 0.5  # of a mean over seeds of a difference of two
    assert all(abs(one.estimate.value - 0.1) < 5 * error for one in chosen)
    said = dict(alen_operators_analysis.findings(found, tests))
    more = said["Do more operators help, at equal floating-point operations?"]
    assert "2 higher, 0 lower, 0 undecided" in more


def test_a_run_is_stored_and_told(tmp_path):
    two = dataclasses.replace(STUDY, operators=(2,), steps=(2,))
    folder = alen_operators.main(two, cli.Options(out=str(tmp_path)))
    rows = storage.read_table(next((folder / "results").glob("*2x2.parquet")))
    assert set(rows["seed"]) == set(range(5))
    assert (rows["n"] == 16).all()
    by = {m: rows["accuracy"][rows["method"] == m] for m in METHODS}
    np.testing.assert_allclose(by["argmin"], by["selected"], atol=1e-6)
    assert (by["oracle"] >= by["random"]).all()
    head = (folder / "summary.csv").read_text().splitlines()
    assert head[0].startswith("task,size,match,operators,steps,hidden,parameters,flops,stratum")
    assert len(head) == 1 + len(two.experiment().strata) * (len(METHODS) + MOST_STEPS)
    assert (folder / "report.html").exists()
    assert (folder / "operators_flops.png").exists()
    again = alen_operators.main(two, cli.Options(out=str(tmp_path), dry_run=True))
    assert again == folder


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"seeds": 4}, "seeds must be from 5"),
        ({"steps": (1, 11)}, "steps must be at most 10"),
        ({"operators": (4, 1)}, "operators must rise from at least 1"),
        ({"match": ("luck",)}, "match must be of flops, parameters, got 'luck'"),
        ({"task": "lookupp"}, "did you mean 'lookup'"),
    ],
    ids=str,
)
def test_what_cannot_be_run_is_refused(flags, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(STUDY, **flags)
