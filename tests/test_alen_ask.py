"""What alen_ask says of an answer, and how it refuses what is no question."""

import dataclasses

import jax
import numpy as np
import pytest

from alen import verify
from experiments import alen_ask, alen_train_course, alen_trained, alen_training
from experiments.alen_ask import Ask
from experiments.alen_train import NAME, Train
from experiments.shell import cli, run
from experiments.shell.run import Output

TINY = Train(
    prime=5,
    operations=("+",),
    dimension=8,
    hidden_dim=8,
    num_operators=3,
    attention_heads=1,
    feed_forward_dim=8,
    reasoning_steps=2,
    steps=1,
    check_steps=1,
)
CERTIFIED = 100  # calibration answers, all right


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run whose networks are random numbers and whose calibration answers were all right."""
    subject, out = TINY.subject(), tmp_path_factory.mktemp("runs")
    shapes = jax.eval_shape(alen_training.Trainer(subject).start)
    draw = np.random.default_rng(0).normal
    state = jax.tree.map(lambda leaf: (0.6 * draw(size=leaf.shape)).astype(leaf.dtype), shapes)
    all_right = {"margins": np.ones((1, CERTIFIED, 3)), "right": np.ones((1, CERTIFIED), bool)}
    rising = np.linspace(-1, 1, CERTIFIED)[None, :, None].repeat(3, -1)
    evidence = {"tuning": all_right | {"margins": rising}, "calibration": all_right}

    def train(_, pending):
        for task in pending:
            tables = {name: {"step": np.zeros(1)} for name in alen_train_course.TABLES}
            last = evidence if "verifier" in task.name else {}
            yield task, Output(tables, {"state": alen_train_course.flat(state), **last})

    plan = alen_train_course.plan(subject, out, NAME)._replace(train=train)
    return run.execute(plan, out)


@pytest.fixture(scope="module")
def oracle(folder):
    return alen_ask.Oracle(alen_trained.load(folder))


def test_an_answer_comes_with_its_verdict_and_how_it_was_reached(oracle):
    said = oracle.lines("3 + 4 mod 5")
    assert said[0] == "question: 3 + 4 mod 5"
    assert said[1].startswith("answer: ")
    verdict, margins, steps = said[2], said[3:6], said[6:]
    for check, line in zip(verify.CHECKS, margins, strict=True):
        assert line.startswith(f"  {check}: ")
        assert verify.UNITS[check] in line
        assert (f"the {check} check failed" in verdict) == line.startswith(f"  {check}: failed")
    assert verdict.startswith("verdict: abstained: ")
    assert len(steps) == 2
    for number, line in enumerate(steps, 1):
        assert line.startswith(f"step {number}: operator ")
        energies = [float(e) for e in line.split("[")[1].split("]")[0].split(", ")]
        chosen = int(line.split()[3])
        assert len(energies) == 3
        assert energies[chosen] == min(energies)
    assert oracle.lines("3 + 4 mod 5") == said


def test_only_the_verdict_depends_on_the_thresholds(oracle, monkeypatch):
    before = oracle.lines("3 + 4 mod 5")
    lenient = oracle.trained._replace(thresholds=verify.Thresholds(-1e9, -1e9, -1e9))
    monkeypatch.setattr(oracle, "trained", lenient)
    after = oracle.lines("3 + 4 mod 5")
    assert after[2].startswith("verdict: verified (forward ")
    assert all(" passed, " in line for line in after[3:6])
    assert after[1] == before[1]
    assert after[6:] == before[6:]


def test_the_guarantee_is_printed_in_words_and_can_be_asked_for_anew(oracle, folder):
    assert oracle.trained.guarantee.certified
    said = oracle.guarantee()
    assert "at most 0.05, with probability at least 0.95" in said
    assert f"of {CERTIFIED} in all" in said
    assert "It does not guarantee" in said
    strict = alen_trained.load(folder, alpha=0.01)
    assert not strict.guarantee.certified
    assert strict.thresholds == verify.Thresholds()
    with pytest.raises(run.Refused, match="alpha must lie strictly between 0 and 1, got 2"):
        alen_trained.load(folder, alpha=2.0)


def test_lines_that_are_no_question_are_reported_and_the_rest_goes_on(oracle, capsys):
    alen_ask.answer_all(oracle, ["3 + 4 mod 5\n", "3 + pi mod 5\n", "\n", "1 + 1 mod 5\n"])
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if line.startswith("question")] == [
        "question: 3 + 4 mod 5",
        "question: 1 + 1 mod 5",
    ]
    assert err.startswith("alen_ask: line 2: ")
    assert "'pi'" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("3 + pi mod 5", "cannot read 'pi'"),
        ("mod mod mod", "modular knows no question 'mod mod mod'"),
        ("1 + " * 20 + "1 mod 5", "a text must have at most 9 tokens, got 43"),
    ],
)
def test_what_is_no_question_is_refused_in_a_sentence(oracle, folder, question, message):
    study = Ask(question=question, checkpoint=str(folder))
    with pytest.raises(run.Refused, match=message):
        alen_ask.main(study, cli.Options())


def test_a_folder_that_is_no_run_of_it_is_refused(tmp_path):
    with pytest.raises(run.Refused, match="is not the manifest of a run"):
        alen_trained.load(tmp_path)
    plan = run.Plan("other", {}, (1,), lambda _: [], lambda *_: iter(()), "step")
    with pytest.raises(run.Refused, match="is a run of other, not of alen_train"):
        alen_trained.load(run.execute(plan, tmp_path))


@pytest.mark.parametrize(
    ("flags", "message"), [({}, "--checkpoint must"), ({"checkpoint": "x"}, "is missing")]
)
def test_a_question_and_a_run_must_be_named(flags, message):
    with pytest.raises(ValueError, match=message):
        Ask(**flags)


def test_a_question_may_stand_by_itself():
    flag = "--question=57 + 88 mod 113"
    assert alen_ask.arguments(["--checkpoint=r", "57 + 88 mod 113"]) == ["--checkpoint=r", flag]
    assert alen_ask.arguments(["--checkpoint", "r", "-"]) == ["--checkpoint", "r", "--question=-"]
    assert alen_ask.arguments(["--dry_run", "57 + 88 mod 113"]) == ["--dry_run", flag]
    with pytest.raises(ValueError, match=r"one question at a time .*, got '1', '2'"):
        alen_ask.arguments(["1", "--checkpoint", "r", "2"])


def test_a_subject_comes_back_from_its_settings():
    subject = dataclasses.replace(TINY.subject(), seeds=(3, 4), alpha=0.1)
    assert alen_trained.restored(subject.settings()) == subject
