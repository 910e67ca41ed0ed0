"""A run of steps resumes to the same bits, and its losses are those of a full pass; samples."""

import dataclasses
import json
import math
import pathlib
import shutil

import jax
import numpy as np
import pytest

from apoptosis import presets, transformer
from experiments import apoptosis_course, apoptosis_sample, apoptosis_train, apoptosis_trained
from experiments.apoptosis_sample import Sample
from experiments.apoptosis_train import Train
from experiments.apoptosis_trained import Found
from experiments.apoptosis_training import Subject, Trainer
from experiments.shell import run, storage
from experiments.shell.corpus import Corpus
from tests import commands

TINY = Train(steps=6, batch=4, evaluate_every=2, dropout=0.1)


@pytest.fixture(scope="module")
def trainer():
    return Trainer(TINY.subject())


@pytest.fixture(scope="module")
def compile_once(trainer):
    """The runs of `TINY` share one trainer's programs; each has its own state."""
    patch = pytest.MonkeyPatch()

    def shared(subject, devices):
        assert subject == trainer.subject
        return trainer

    patch.setattr(apoptosis_course, "Trainer", shared)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, compile_once):
    out = tmp_path_factory.mktemp("runs")
    return apoptosis_train.write(TINY.subject(), out)


def plan(out):
    return apoptosis_course.plan(TINY.subject(), out, apoptosis_train.NAME)


def assert_same(found, expected):
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def last(folder):
    return storage.load_tree(folder / "checkpoints" / "steps-0000004")


# Runs


def test_a_run_leaves_a_report_its_losses_and_its_checkpoints(finished):
    rows, curves = run.read(finished, "results"), run.read(finished, "curves")
    assert rows["step"].tolist() == [0, 2, 4, 6]
    assert curves["step"].tolist() == [1, 2, 3, 4, 5, 6]
    means = curves["loss"].astype(np.float64).reshape(3, 2).mean(1)
    np.testing.assert_allclose(rows["train_loss"][1:], means)
    symbols = len(TINY.subject().vocabulary)
    assert rows["validation_loss"][0] == pytest.approx(math.log(symbols), abs=0.05)
    assert (np.diff(rows["validation_loss"]) < 0).all()
    assert rows["best_step"].tolist() == [0, 2, 4, 6]
    (header, row) = (finished / "summary.csv").read_text().splitlines()
    summary = dict(zip(header.split(","), row.split(","), strict=True))
    assert summary["best_step"] == "6"
    assert float(summary["validation_loss_best"]) == rows["validation_loss"][-1]
    low, high = (float(summary[f"validation_loss_best_{side}"]) for side in ("low", "high"))
    error = rows["validation_error"][-1]
    assert (high - low) / 2 == pytest.approx(1.96 * error)
    page = (finished / "report.html").read_text()
    assert "nats per character" in page
    assert (finished / "loss.png").stat().st_size > 5000
    assert len(storage.read_json(finished / "findings.json")["findings"]) == 3


def test_the_report_is_made_again_from_disk_alone(finished, monkeypatch):
    before = (finished / "report.html").read_bytes()
    (finished / "report.html").unlink()
    monkeypatch.setattr(apoptosis_course.Course, "train", None)
    assert apoptosis_train.write(TINY.subject(), finished.parent) == finished
    assert (finished / "report.html").read_bytes() == before


def test_a_run_that_lost_its_last_chunks_ends_in_the_same_bits(finished, tmp_path, compile_once):
    again = tmp_path / finished.name
    shutil.copytree(finished, again)
    for lost in ("steps-0000002", "steps-0000004"):
        (again / "results" / f"{lost}.parquet").unlink()
        shutil.rmtree(again / "checkpoints" / lost)
    run.execute(plan(tmp_path), tmp_path)
    for table in ("results", "curves"):
        assert_same(run.read(again, table), run.read(finished, table))
    jax.tree.map(np.testing.assert_array_equal, last(again), last(finished))


def test_one_chunk_or_three_are_the_same_run(finished, tmp_path, compile_once):
    course = apoptosis_course.Course(TINY.subject(), tmp_path)
    (task,) = course.tasks((3,))
    ((_, output),) = course.train((3,), [task])
    for table in ("results", "curves"):
        assert_same(output.tables[table], run.read(finished, table))
    jax.tree.map(np.testing.assert_array_equal, output.tree, last(finished))
    assert [t.size for t in course.tasks((2,))] == [4, 2]


def test_a_checkpoint_holds_the_step_the_moments_and_the_best(finished):
    stored = last(finished)
    assert stored["step"] == stored["best_step"] == 6
    jax.tree.map(np.testing.assert_array_equal, stored["best"], stored["params"])
    moments = [leaf for path, leaf in stored["optimiser"].items() if ".nu." in path]
    assert len(moments) == len(jax.tree.leaves(stored["params"]))
    assert all(leaf.any() for leaf in moments)
    before = storage.load_tree(finished / "checkpoints" / "steps-0000002")["params"]
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), before, stored["params"])
    assert all(jax.tree.leaves(changed))


def test_the_best_is_kept_when_it_is_not_the_last(trainer, monkeypatch, tmp_path, compile_once):
    course = apoptosis_course.Course(TINY.subject(), tmp_path)
    true, worse = trainer.evaluate, [0.0, 0.0, 50.0, 50.0]

    def evaluate(params):
        penalty = worse.pop(0)
        return [loss._replace(value=loss.value + penalty) for loss in true(params)]

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    ((_, output),) = course.train((3,), course.tasks((3,)))
    assert output.tables["results"]["best_step"].tolist() == [0, 2, 2, 2]
    assert output.tree["best_step"] == 2
    loss = true(output.tree["best"])[0].value
    assert loss == output.tables["results"]["validation_loss"][1] == output.tree["best_loss"]
    assert loss != true(output.tree["params"])[0].value


# Losses on held-out text


def test_the_loss_is_a_full_pass_whatever_the_blocks_and_the_devices(trainer):
    params = trainer.start().params
    losses = trainer.evaluate(params)
    assert losses == trainer.evaluate(params)
    context = TINY.resolved.architecture.context
    forward = jax.jit(lambda inputs: trainer.model.apply({"params": params}, inputs))
    for part, loss in zip(trainer.subject.parts[1:], losses, strict=True):
        full = (len(part) - 1) // context
        ends = [(0, full, context), (full * context, 1, len(part) - 1 - full * context)]
        total = 0.0
        for start, count, length in ends:
            tokens = part[start : start + count * length + 1]
            inputs, targets = tokens[:-1].reshape(count, -1), tokens[1:].reshape(count, -1)
            each = transformer.losses(forward(inputs), targets)
            total += np.asarray(each).sum(dtype=np.float64)
        assert loss.value == pytest.approx(total / (len(part) - 1), rel=1e-5)
        assert 0 < loss.error < 0.05
    assert trainer.devices == 4
    other = Trainer(trainer.subject, jax.local_devices()[:1], block=7)
    assert other.block != trainer.block
    alone = jax.tree.map(np.asarray, params)
    for found, loss in zip(other.evaluate(alone), losses, strict=True):
        np.testing.assert_allclose(found, loss, rtol=1e-5)
    # And the same steps.
    (_, one, _), (_, four, _) = (t.advance(t.start(), 2) for t in (other, trainer))
    np.testing.assert_allclose(one, four, rtol=1e-4)


def test_a_step_s_batch_and_dropout_are_those_of_its_number(trainer):
    (_, whole, _), (state, first, _) = (trainer.advance(trainer.start(), n) for n in (4, 2))
    _, second, _ = trainer.advance(state, 2)
    np.testing.assert_allclose(whole, np.concatenate([first, second]), rtol=1e-5)
    later = trainer.start()._replace(step=jax.device_put(np.int32(2), trainer.everywhere))
    _, elsewhere, _ = trainer.advance(later, 2)  # the first parameters on another step's batch
    assert abs(elsewhere[0] - first[0]) > 1e-4
    other = dataclasses.replace(trainer.subject, seed=1)
    assert other.settings() != trainer.subject.settings()


# What is said


def times(device, **columns):
    rows = {"step": [0, 100], "steps": [100, 100], "seconds": [1.0, 3.0], "device": [device] * 2}
    return {name: np.array(v) for name, v in (rows | {"devices": [2, 2]} | columns).items()}


def test_the_share_of_the_peak_is_that_of_the_formula():
    subject = dataclasses.replace(TINY.subject(), compute="bfloat16")
    # 6 (2 blocks of 4 · 32² + 2 · 32 · 64, and the head) + 12 · 2 · 32 · 32
    flops = 6 * (2 * (4 * 32**2 + 2 * 32 * 64) + 32 * len(subject.vocabulary)) + 12 * 2 * 32 * 32
    assert apoptosis_trained.operations(subject) == flops
    found = Found({}, {}, times("NVIDIA H200"))
    assert found.rate(subject) == 200 * 4 * 32 / 4
    assert found.share(subject) == pytest.approx(6400 * flops / (2 * 989e12))
    pcie = Found({}, {}, times("NVIDIA H100 PCIe")).share(subject)
    assert pcie == pytest.approx(6400 * flops / (2 * 756e12))
    assert math.isnan(Found({}, {}, times("cpu")).share(subject))


def test_a_run_that_diverged_is_told_as_such():
    rows = {"validation_loss": np.array([4.6, 3.0, np.nan])}
    assert Found(rows, {}, {}).best == 1
    assert Found({"validation_loss": np.full(2, np.nan)}, {}, {}).best == 0


def test_flags_change_the_preset():
    given = Train(preset="nanogpt", learning_rate=2e-3, batch=8, dropout=0.0).resolved
    base = presets.NANOGPT
    assert given.architecture == dataclasses.replace(base.architecture, dropout=0.0)
    changed = {"learning_rate": 2e-3, "final_rate": pytest.approx(2e-4), "batch": 8}
    assert dataclasses.asdict(given.training) == dataclasses.asdict(base.training) | changed
    assert json.loads(json.dumps(TINY.subject().settings())) == TINY.subject().settings()


# Samples


def test_a_sample_goes_on_from_the_prompt_and_depends_on_its_seed(finished, monkeypatch):
    ask = Sample(checkpoint=str(finished), length=12, prompt="The ")
    first, other = (apoptosis_sample.write_on(dataclasses.replace(ask, draw=d)) for d in (0, 1))
    assert len(first) == len(other) == 12
    assert first != other
    assert set(first + other) <= set(TINY.subject().vocabulary.symbols)


def edited(folder, tmp_path, **settings):
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    content = json.loads((copy / "manifest.json").read_text())
    content["settings"] |= settings
    (copy / "manifest.json").write_text(json.dumps(content))
    return copy


def test_what_cannot_be_sampled_from_is_refused(finished, tmp_path):
    ask = Sample(checkpoint=str(finished), length=1)
    with pytest.raises(run.Refused, match=r"--prompt: the vocabulary of \d+ symbols has no '本'"):
        apoptosis_sample.write_on(dataclasses.replace(ask, prompt="a本"))
    apoptosis_sample.write_on(dataclasses.replace(ask, seed=TINY.seed))
    with pytest.raises(run.Refused, match="--seed=1 was not trained, only 0 was: --draw is"):
        apoptosis_sample.write_on(dataclasses.replace(ask, seed=1))
    with pytest.raises(run.Refused, match="--arm=functional has no meaning for a run of apoptosis"):
        apoptosis_sample.write_on(dataclasses.replace(ask, arm="functional"))
    with pytest.raises(run.Refused, match="is not the manifest of a run"):
        apoptosis_sample.write_on(dataclasses.replace(ask, checkpoint=str(tmp_path)))
    wider = edited(finished, tmp_path / "wider", width=64)
    with pytest.raises(run.Refused, match=r"of another config: block_0.* is \(.*\), not \(.*64"):
        apoptosis_sample.write_on(dataclasses.replace(ask, checkpoint=str(wider)))
    damaged = edited(finished, tmp_path / "damaged")
    for path in (damaged / "checkpoints" / "steps-0000004").rglob("_METADATA"):
        path.write_bytes(b"?")
    with pytest.raises(run.Refused, match=r"steps-0000004 is damaged.*mends it"):
        apoptosis_sample.write_on(dataclasses.replace(ask, checkpoint=str(damaged)))
    shutil.rmtree(damaged / "results")
    with pytest.raises(run.Refused, match="has no checkpoint yet"):
        apoptosis_sample.write_on(dataclasses.replace(ask, checkpoint=str(damaged)))


def test_a_checkpoint_of_another_optimiser_is_refused(trainer, finished):
    stored = last(finished)
    del stored["optimiser"][next(iter(stored["optimiser"]))]
    with pytest.raises(run.Refused, match="of another optimiser"):
        apoptosis_course.restore(trainer, stored)
    stored = last(finished)
    stored["params"]["head"]["kernel"] = np.zeros((2, 2), np.float32)
    with pytest.raises(run.Refused, match=r"another config: params\.head\.kernel is \(2, 2, "):
        apoptosis_course.restore(trainer, stored)


# Refusals


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"preset": "nano"}, "prototype, nanogpt, big, tiny, got 'nano'"),
        ({"compute": "float16"}, "float32, bfloat16, got 'float16'"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"evaluate_every": 0}, "evaluate_every must be at least 1, got 0"),
        ({"dropout": 1.0}, "dropout must lie in"),
        ({"learning_rate": -0.1}, "learning_rate must not be negative, got -0.1"),
        ({"seed": -1}, "seed must lie in"),
    ],
)
def test_what_cannot_be_trained_is_refused(asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        Train(**asked)


def test_a_corpus_too_short_to_be_cut_is_refused():
    short = Corpus("short", "abc" * 100, "0")
    with pytest.raises(run.Refused, match=r"--corpus=short: the validation part must have more"):
        Subject(presets.TINY, short, 0, "float32", 1)


def test_the_command_line_refuses_in_a_sentence(tmp_path):
    (tmp_path / "one.txt").write_text("a" * 1000)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 1000)
    asked = {
        "--preset=nano": "preset must be one of",
        f"--corpus={tmp_path}/one.txt": "at least 2 different characters: 1",
        f"--corpus={tmp_path}/latin.txt": "latin.txt is not UTF-8: byte 3 is 0xe9",
        "--corpus=nowhere": "neither a file nor one of documentation",
        "--export_json=json": "--export_json has no meaning here",
    }
    lines = [commands.Line([flag, f"--out={tmp_path}", "--cache="]) for flag in asked]
    for ended, sentence in zip(
        commands.forked("apoptosis_train", lines), asked.values(), strict=True
    ):
        assert (ended.code, ended.out) == (2, "")
        assert sentence in ended.err
        assert len(ended.err.splitlines()) == 1
    lines = [
        commands.Line(flags) for flags in (["--length=0"], [], ["--checkpoint=x", "--prompt="])
    ]
    for ended in commands.forked("apoptosis_sample", lines):
        assert ended.code == 2
        assert len(ended.err.splitlines()) == 1
    assert sorted(path.name for path in pathlib.Path(tmp_path).iterdir()) == [
        "latin.txt",
        "one.txt",
    ]
