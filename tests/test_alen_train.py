"""A run of alen_train goes on where it stopped, seeds do not meet, and thresholds can fail."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from alen import guarantees, tasks, tokeniser, verify
from experiments import (
    alen_configuration,
    alen_train,
    alen_train_course,
    alen_train_questions,
    alen_trained,
    alen_training,
    alen_verification_experiment,
)
from experiments.alen_train import Train
from experiments.alen_train_course import Evidence
from experiments.lab import keys
from experiments.shell import checkpoints, cli, run, storage

TINY = Train(
    prime=5,
    operations=("+",),
    share=0.5,
    dimension=8,
    hidden_dim=8,
    num_operators=2,
    attention_heads=1,
    feed_forward_dim=8,
    batch_size=8,
    steps=4,
    check_steps=4,
    evaluate_every=2,
    held_out=16,
    seeds=2,
)


@pytest.fixture(scope="module")
def trainer():
    jax.config.update("jax_disable_most_optimizations", True)  # compilation is most of the time
    yield alen_training.Trainer(TINY.subject(), jax.local_devices()[:1], block=16)
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def compile_once(trainer):
    """The runs of `TINY` share one trainer's programs; each has its own state."""
    patch = pytest.MonkeyPatch()
    patch.setattr(alen_train_course, "Trainer", lambda subject, devices: trainer)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, compile_once):
    return alen_train.write(TINY.subject(), tmp_path_factory.mktemp("runs"))


def same(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


# Runs


def test_a_run_leaves_what_other_studies_leave(finished):
    rows, curves = run.read(finished, "results"), run.read(finished, "curves")
    learning = rows["split"] == "tuning"
    assert rows["step"][learning].tolist() == [2, 2, 4, 4]
    assert set(rows["stratum"][~learning]) == {"mixture", "trained", "longer", "unanswerable"}
    assert (rows["right"][rows["stratum"] == "unanswerable"] == 0).all()
    assert (rows["verified_wrong"] <= rows["verified"]).all()
    assert len(curves["loss"]) == 2 * (4 + 4)
    assert np.isfinite(curves["loss"]).all()
    lines = (finished / "summary.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 4
    assert lines[0].startswith("task,size,stratum,seed,n,accuracy,accuracy_low,accuracy_high")
    assert "could not certify" in (finished / "report.html").read_text()  # of four steps
    assert len(storage.read_json(finished / "findings.json")["findings"]) == 4


def stored_chunks(folder):
    return sorted(path.stem for path in (folder / "results").glob("*"))


def lose(folder, names):
    for name in names:
        (folder / "results" / f"{name}.parquet").unlink()
        shutil.rmtree(folder / "checkpoints" / name)


def equal_runs(found, expected):
    for table in ("results", "curves"):
        same(run.read(found, table), run.read(expected, table))
    names = stored_chunks(expected)
    assert stored_chunks(found) == names
    for folder in (found, expected):
        whole = [name for name in names if checkpoints.whole(folder, name) is not None]
        assert whole == names[-1:]
    trees = [storage.load_tree(folder / "checkpoints" / names[-1]) for folder in (found, expected)]
    same(*trees)


@pytest.mark.parametrize("kept", [1, 3])
def test_a_run_that_lost_its_last_chunks_ends_in_the_same_bits(
    finished, tmp_path, compile_once, kept
):
    """What is left are marks: those chunks are trained again to go on from."""
    again = tmp_path / finished.name
    shutil.copytree(finished, again)
    names = stored_chunks(again)
    assert names[0].startswith("0-organism")
    assert len(names) == 4
    lose(again, names[kept:])
    assert alen_train.write(TINY.subject(), tmp_path) == again
    equal_runs(again, finished)


@pytest.mark.parametrize("stored", [2, 4])
def test_a_run_killed_before_it_thins_ends_in_the_same_bits(
    finished, tmp_path, compile_once, monkeypatch, stored
):
    """Killed after so many chunks were stored, the last two of them whole."""
    marked = []

    def mark(folder, name, step):
        if len(marked) == stored - 2:
            raise KeyboardInterrupt
        marked.append(name)
        original(folder, name, step)

    original = checkpoints.mark
    again = tmp_path / finished.name
    monkeypatch.setattr(checkpoints, "mark", mark)
    with pytest.raises(KeyboardInterrupt):
        alen_train.write(TINY.subject(), tmp_path)
    names = stored_chunks(again)
    assert len(names) == stored
    assert all(checkpoints.whole(again, name) is not None for name in names[-2:])
    monkeypatch.undo()
    restored = []
    restore = alen_train_course.restore
    keep = lambda trainer, tree: restored.append(1) or restore(trainer, tree)
    monkeypatch.setattr(alen_train_course, "restore", keep)
    alen_train.write(TINY.subject(), tmp_path)
    assert len(restored) == (stored < 4)  # it went on from the checkpoint
    equal_runs(again, finished)


@pytest.mark.parametrize("method", ["advance", "check"])
def test_another_study_that_is_killed_in_training_loses_the_chunk_in_flight_and_no_bit(
    finished, tmp_path, compile_once, trainer, monkeypatch, method
):
    calls, original = [], getattr(trainer, method)

    def killed(state, steps):
        calls.append(steps)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(state, steps)

    monkeypatch.setattr(trainer, method, killed)
    with pytest.raises(KeyboardInterrupt):
        alen_verification_experiment._trained(TINY.subject(), tmp_path)
    found = alen_verification_experiment._trained(TINY.subject(), tmp_path)
    assert calls == [2, 2, 2]
    tree = storage.load_tree(finished / "checkpoints" / stored_chunks(finished)[-1])["state"]
    same(found, alen_train_course.restore(trainer, tree).networks)


def test_seeds_that_the_devices_do_not_divide_are_as_without_padding(trainer):
    """Of three on two devices, the last is trained twice, and nobody sees it."""
    subject = dataclasses.replace(trainer.subject, seeds=(0, 1, 5))
    padded = alen_training.Trainer(subject, jax.local_devices()[:2], block=16)
    examples = subject.task.enumerate("trained", "test")[:8]
    asked = alen_train_questions.prepare(keys.root(6), subject.task, examples, subject.surfaces)

    def lived(own):
        state, learnt, _ = own.advance(own.start(), 2)
        state = alen_train_course.restore(own, alen_train_course.flat(state))
        state, checked, _ = own.check(state, 2)
        return (state, own.ask(state.networks, asked)), (learnt, checked)

    assert (padded.devices, padded.padding) == (2, 1)
    (found, shown), (expected, seen) = lived(padded), lived(trainer)
    jax.tree.map(lambda one, other: _close(one, other, 0), found, expected)
    jax.tree.map(lambda one, other: _close(one, other, 1), shown, seen)


def _close(three, two, axis):
    """The first two of three seeds are as the two."""
    assert three.shape[axis] == 3
    np.testing.assert_allclose(np.take(three, (0, 1), axis), two, atol=1e-5)


@pytest.mark.parametrize(
    ("seeds", "devices", "used", "padding"),
    [(5, 2, 2, 1), (4, 2, 2, 0), (5, 4, 3, 1), (2, 4, 2, 0), (1, 4, 1, 0)],
)
def test_as_many_devices_are_used_as_make_it_quickest(trainer, seeds, devices, used, padding):
    subject = dataclasses.replace(trainer.subject, seeds=tuple(range(seeds)))
    own = alen_training.Trainer(subject, jax.local_devices()[:devices])
    assert (own.devices, own.padding, len(own.roots)) == (used, padding, seeds + padding)


def test_a_seed_does_not_see_its_neighbours(finished, trainer, monkeypatch):
    """The programs are those of the pair (0, 1); the seeds are the pair (7, 0)."""
    other = alen_training.Trainer(
        dataclasses.replace(trainer.subject, seeds=(7, 0)), jax.local_devices()[:1], block=16
    )
    for name in ("_start", "_compiled"):
        monkeypatch.setitem(other.__dict__, name, getattr(trainer, name))
    state, _, _ = other.advance(other.start(), 2)
    state, _, _ = other.advance(state, 2)
    state, _, _ = other.check(state, 2)
    state, _, _ = other.check(state, 2)
    stored = storage.load_tree(finished / "checkpoints" / stored_chunks(finished)[-1])["state"]
    found = alen_train_course.flat(state)
    for name, leaf in stored.items():
        np.testing.assert_allclose(found[name][1], leaf[0], atol=1e-5, err_msg=name)
    moved = "organism.params.table.embedding"
    assert not np.allclose(found[moved][0], stored[moved][0], atol=1e-3)


def test_a_finished_run_is_loaded_as_it_was(finished, trainer):
    trained = alen_trained.load(finished, index=1)
    assert trained.subject == trainer.subject
    assert trained.seed == 1
    names = sorted(path.stem for path in (finished / "results").glob("*"))
    stored = storage.load_tree(finished / "checkpoints" / names[-1])["state"]
    found = trained.networks.organism["table"]["embedding"]
    np.testing.assert_array_equal(found, stored["organism.params.table.embedding"][1])
    assert trained.thresholds == verify.Thresholds()
    assert not trained.guarantee.certified
    with pytest.raises(run.Refused, match=r"--index must lie in \[0, 1\], got 2"):
        alen_trained.load(finished, index=2)


def test_a_run_that_is_not_finished_cannot_be_asked(finished, tmp_path):
    again = tmp_path / finished.name
    shutil.copytree(finished, again)
    last = max((again / "results").glob("*"))
    last.unlink()
    with pytest.raises(run.Refused, match="is not finished: the same command resumes it"):
        alen_trained.load(again)


# Thresholds


def evidence(count, wrong, lowest):
    """Answers with margins from `lowest` up; the `wrong` first of them are wrong."""
    rise = np.linspace(lowest, 1, count)
    return Evidence(np.stack([rise, rise, np.ones(count)], 1), np.arange(count) >= wrong)


def test_thresholds_let_right_answers_pass_and_are_never_lenient():
    found = alen_train_course.certify(evidence(200, 0, -1), evidence(200, 0, -1), 0.05, 0.05)
    assert found.certified
    assert found.wrong == 0
    assert found.verified == 100
    # All that is right is wholly stable: less than that would be like nothing that is known.
    np.testing.assert_allclose(found.thresholds, (0.0, 0.0, 1.0 - guarantees.JUST))


def test_what_is_unlike_all_right_answers_is_not_verified():
    known = evidence(2000, 0, 0.5)  # no answer is wrong, so any thresholds could be certified
    found = alen_train_course.certify(known, known, 0.05, 0.05)
    assert found.certified
    assert found.verified >= 0.99 * 2000
    assert (np.array([0.45, 0.6, 1.0]) <= found.thresholds).any()
    assert (np.array([0.6, 0.6, 1.0]) > found.thresholds).all()


def test_nothing_is_certified_where_answers_are_wrong_or_few():
    wrong = Evidence(np.ones((200, 3)), np.arange(200) % 2 == 0)
    for calibration in (wrong, evidence(30, 0, 0.5)):
        found = alen_train_course.certify(evidence(200, 0, 0.5), calibration, 0.05, 0.05)
        assert not found.certified
        assert np.isinf(found.thresholds).all()


# Questions


def test_the_mixture_has_its_share_without_an_answer():
    task = tasks.find("modular", prime=31, operations=("+",))
    drawn = alen_train_questions.mixture(keys.root(0), task, "calibration", 200, 0.2)
    unknown = sum(example.answer is None for example in drawn)
    assert len(drawn) == 200
    assert 20 < unknown < 60
    assert {task.split(example.question) for example in drawn} == {"calibration"}


def test_training_questions_are_of_the_training_split_in_several_wordings(trainer):
    pool, task = trainer.pool("organism", 0), trainer.subject.task
    questions = np.asarray(pool.questions.questions)[0]
    texts = [task.tokeniser.decode(row) for row in questions]
    assert {task.split(text) for text in texts} == {"train"}
    assert len(texts) == pool.count * (1 + 2 * trainer.subject.surfaces)
    truths = [task.truth(text) for text in texts]
    assert truths[: pool.count] == truths[pool.count : 2 * pool.count]
    assert texts[: pool.count] != texts[pool.count : 2 * pool.count]
    known = np.asarray(pool.questions.answers)[0].any(-1)
    (end,) = np.asarray(pool.ends)[0]  # of the only level
    assert known[:end].all()
    assert not known[end : pool.count].any()
    spans = alen_train_questions.parts(pool.questions.spans[0], questions.shape[1])
    shown = np.where(np.asarray(spans).any(1), questions, tokeniser.PAD)
    digits = {task.tokeniser.encode(str(n))[0] for n in range(5)}
    assert set(np.unique(shown)) == digits | {tokeniser.PAD}


# Flags


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"task": "modlar"}, "did you mean 'modular'"),
        ({"task": "lookup", "prime": 7}, "unknown setting of task lookup 'prime'"),
        ({"task": "addition", "digits": 99}, r"digits must lie in \[1, 16\], got 99"),
        ({"task": "file"}, "--task=file needs --file"),
        ({"task": "file", "file": "/nowhere"}, "--file=/nowhere cannot be read"),
        ({"alpha": 1.5}, "alpha must lie strictly between 0 and 1, got 1.5"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"size": "huge"}, "size must be one of"),
        ({"unanswerable": 1.0}, r"unanswerable must lie in \[0, 1\), got 1.0"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_words(flags, message):
    with pytest.raises(run.Refused, match=message):
        Train(**flags).subject()


def test_what_is_usual_for_a_task_is_taken_and_said(capsys, tmp_path):
    alen_train.main(Train(), cli.Options(out=str(tmp_path), dry_run=True))
    said = capsys.readouterr().out
    assert "learning_rate = 0.002  # the task" in said
    assert "prime 113, operations ['+']" in said
    told = Train(learning_rate=0.1, weight_decay=0.5, operations=("*",), prime=7).subject()
    assert told.task == tasks.find("modular", prime=7, operations=("*",))
    assert (told.configuration.learning_rate, told.weight_decay) == (0.1, 0.5)
    assert told.configuration.batch == Train().subject().configuration.batch == 256


def test_describe_prints_all_sizes_beside_the_guide(capsys, tmp_path):
    alen_train.main(Train(describe=True), cli.Options(out=str(tmp_path)))
    said = capsys.readouterr().out
    assert all(name in said for name in ("tiny", "xl", "500–1000 M"))
    assert "\n".join(alen_configuration.describe(50))[:40] in said
