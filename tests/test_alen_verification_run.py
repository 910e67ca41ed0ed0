"""The study of verification: asking a real organism, and a run from chunks to report."""

import csv
import dataclasses
import json

import alen_planted
import jax
import numpy as np
import pytest

from alen import answer as answering
from alen import model as organism
from alen import tasks, verified, verifier
from experiments import alen_configuration, alen_train_questions, alen_training
from experiments import alen_verification as study
from experiments import alen_verification_asking as asking
from experiments import alen_verification_experiment as experiments
from experiments.alen_train_subject import Subject
from experiments.lab import keys
from experiments.shell import run

TASK = tasks.find("modular", prime=5, operations=("+",))
FLAGS = {
    "dimension": 8,
    "hidden_dim": 4,
    "num_operators": 2,
    "attention_heads": 1,
    "feed_forward_dim": 8,
    "thought_slots": 1,
    "task_vocab": True,
}


def subject(seeds):
    language = alen_train_questions.language(TASK)
    sized = alen_configuration.Sized(**FLAGS)
    configuration = sized.configuration(language, environment={})
    return Subject(TASK, configuration, seeds, steps=2, check_steps=2, perturbations=2, surfaces=1)


@pytest.fixture(scope="module")
def asked():
    """A random organism with its answers to all questions, and to the last three alone."""
    own = subject((0,))
    examples = TASK.enumerate("trained", "test") + TASK.enumerate("unanswerable", "test")
    questions = alen_train_questions.prepare(keys.root(1), TASK, examples, surfaces=1)

    @jax.jit
    def made(key):
        params = jax.tree.map(lambda x: 3 * x, organism.initial(key, own.model))
        found = answering.answer(own.model, params, questions.questions, length=own.checker.answer)
        parts = alen_train_questions.parts(questions.spans, questions.questions.shape[1])
        seen = verified.asked(questions.questions, found, parts)
        return params, found, verifier.init(key, own.checker, seen)

    params, found, checks = jax.device_get(made(keys.root(2)))
    few = alen_train_questions.Questions(*(leaf[-3:] for leaf in questions))
    ask = lambda these: asking.ask(own, params, checks, these, keys.root(4), 3)
    return own, params, questions, found, ask(questions), ask(few)


def test_measures_are_those_of_the_model_whatever_is_asked_beside(asked):
    _, _, questions, found, whole, few = asked
    right = answering.exact(found.tokens, questions.answers)
    np.testing.assert_array_equal(whole.answers.right, right)
    np.testing.assert_allclose(whole.answers.log_probability, found.log_probability, atol=1e-5)
    chances = np.exp(found.log_probabilities)
    spoken = np.asarray(found.tokens) != 0
    np.testing.assert_allclose(
        whole.answers.softmax, (chances * spoken).sum(1) / spoken.sum(1), atol=1e-5
    )
    np.testing.assert_array_equal(whole.chosen, found.course.chosen)
    for name in ("forward", "backward", "log_probability", "softmax"):
        np.testing.assert_allclose(
            getattr(few.answers, name), getattr(whole.answers, name)[-3:], atol=1e-5
        )
    assert set(np.round(3 * whole.answers.agreement).astype(int)) <= {1, 2, 3}
    unanswerable = len(TASK.enumerate("unanswerable", "test"))
    assert not whole.answers.right[-unanswerable:].any()
    assert not whole.answers.voted_right[-unanswerable:].any()


def test_the_chosen_candidate_decodes_to_the_answer(asked):
    own, params, questions, found, whole, _ = asked
    proposed = asking.candidates(own, params, questions, keys.root(5))
    row = np.arange(len(found.tokens))
    assert proposed.energy.shape == (len(row), 2)
    chosen = proposed.energy.argmin(axis=1)
    np.testing.assert_array_equal(chosen, whole.chosen[:, -1])
    np.testing.assert_array_equal(proposed.right[row, chosen], whole.answers.right)


def test_self_consistency_costs_what_answer_and_checks_do():
    cost = asking.costs(subject((0,)), 2)
    more = asking.costs(dataclasses.replace(subject((0,)), perturbations=20), 2)
    assert abs(cost.samples * cost.answer - sum(cost)) <= cost.answer / 2
    assert more.samples > cost.samples


def planted(subject, params, checks, questions, key, samples):
    """Answers that depend on the seed alone; with unanswerable ones wrong."""
    count = len(questions.questions)
    answers = alen_planted.answers(int(params["mark"][0]), count, 0.8, 4.0)
    known = questions.answers.any(axis=1)
    answers = answers._replace(right=answers.right & known, voted_right=answers.right & known)
    return asking.Asked(answers, np.zeros((count, 1), np.int8))


@pytest.fixture
def fake(monkeypatch):
    """In the place of training: parameters by seed. Returns the seeds that it was asked for."""
    seen = []

    def trained(subject, out):
        seen.append(subject.seeds)
        marks = {"mark": np.array(subject.seeds)[:, None]}
        return alen_training.Networks(marks, verifier.Params(marks, marks))

    monkeypatch.setattr(experiments, "_trained", trained)
    monkeypatch.setattr(asking, "ask", planted)
    energies = asking.Candidates(np.array([[0.0, 1.0], [1.0, 0.0]]), np.eye(2, dtype=bool))
    monkeypatch.setattr(asking, "candidates", lambda *_: energies)
    return seen


def test_a_run_resumes_by_task_and_seed_and_reports_the_same(fake, tmp_path, capsys):
    labels = ("modular:prime=5", "modular:prime=7")
    flags = study.Verification(tasks=labels, seeds=3, steps=4, check_steps=2, questions=60, **FLAGS)
    experiment = flags.experiment()
    outcome = experiments.execute(experiment, study.NAME, tmp_path)
    assert fake == [(0, 1, 2), (0, 1, 2)]
    study.publish(outcome, flags)
    names = ("summary.csv", "metrics.csv", "findings.json", "report.html")
    first = {name: (outcome.folder / name).read_bytes() for name in names}

    (outcome.folder / "results" / "01-00001.parquet").unlink()
    again = experiments.execute(experiment, study.NAME, tmp_path)
    assert fake[2:] == [(0, 1, 2)]  # a run of its own, which is read
    study.publish(again, flags)
    for name in names[:-1]:
        assert (again.folder / name).read_bytes() == first[name]

    rows = list(csv.DictReader((again.folder / "summary.csv").open()))
    assert {(row["task"], row["seed"]) for row in rows} == {
        (t, str(s)) for t in labels for s in range(3)
    }
    assert {row["stratum"] for row in rows} >= {
        "trained",
        "unanswerable",
        "mixed",
        "perturbed",
        "domain",
    }
    domain = [row for row in rows if row["stratum"] == "domain"]
    assert {row["n"] for row in domain if row["task"] == labels[0]} == {"25"}
    told = json.loads((again.folder / "findings.json").read_text())
    assert any("refuted" in text for _, text in told["findings"])
    assert "fewer than the 30,000" in told["findings"][-1][1]
    for stem in ("risk_coverage", "energy", "confusion_0", "operators_1"):
        assert (again.folder / f"{stem}.png").exists()
    assert run.manifest(again.folder)["finished"]


def test_every_organism_is_asked_with_its_own_verifier(fake, tmp_path, monkeypatch):
    given = []
    keep = lambda subject, params, checks, *more: (
        given.append((params["mark"], *(own["mark"] for own in checks)))
        or planted(subject, params, checks, *more)
    )
    monkeypatch.setattr(asking, "ask", keep)
    own = experiments.Experiment((("modular", subject((4, 0, 7))),), 8)
    experiments.execute(own, study.NAME, tmp_path)
    found = np.array(given).reshape(3, -1)
    np.testing.assert_array_equal(found, np.tile([[4], [0], [7]], found.shape[1]))


def test_questions_of_all_strata_are_asked_in_one_shape(fake):
    flags = study.Verification(tasks=("modular:prime=5",), seeds=1, questions=60, **FLAGS)
    experiment = flags.experiment()
    sets = experiments.sets(experiment, experiment.subjects[0][1])
    assert len({one.questions.spans.shape[1:] for one in sets}) == 1
    places = {(one.stratum, one.split): one for one in sets}
    assert places["trained", "test"].listed
    assert not places["perturbed", "test"].listed
    test, other = (places[name, "test"].questions for name in ("trained", "perturbed"))
    np.testing.assert_array_equal(test.answers, other.answers)
    assert (test.questions != other.questions).any(axis=1).all()
    few = experiments.sets(dataclasses.replace(experiment, questions=3), experiment.subjects[0][1])
    for one in few:
        size = len(one.questions.questions)
        assert size <= 3
        every = one.stratum in TASK.strata and TASK.enumerate(one.stratum, one.split)
        assert one.listed == (bool(every) and size == len(every))
