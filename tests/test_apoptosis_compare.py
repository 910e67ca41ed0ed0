"""The study of strategies: members equal solo runs, arms are paired, runs resume, words follow."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from apoptosis import presets, transformer
from experiments import (
    apoptosis_compare,
    apoptosis_compare_arms,
    apoptosis_compare_course,
    apoptosis_compare_findings,
    apoptosis_compare_report,
)
from experiments.apoptosis_compare_experiment import Experiment
from experiments.apoptosis_compare_measures import Found
from experiments.apoptosis_compare_population import Population
from experiments.apoptosis_training import Subject, Trainer
from experiments.shell import checkpoints, corpus, run, storage
from experiments.shell.corpus import Corpus
from tests import commands

ARMS = ("baseline", "standard", "mutation_5.4", "gradual_fade", "growth")
SEEDS, STEPS, INTERVAL = (0, 1), 8, 2


def experiment(arms=ARMS, **changes):
    shape = transformer.Architecture(8, 2, 1, 12, 8, norm="post", dropout=0.1)
    preset = presets.Preset("small", shape, presets.Training(STEPS, 4, 1e-2))
    words = corpus.documentation()[:600]
    subject = Subject(preset, Corpus("words", words, "of no account"), 0, "float32", 4)
    found = apoptosis_compare_arms.find(arms)
    given = {"seeds": len(SEEDS), "interval": INTERVAL, "rate": 0.25, "watch": 4} | changes
    return Experiment(subject, found, **given)


@pytest.fixture(scope="module")
def population():
    return Population(experiment(), 4)


@pytest.fixture(scope="module")
def share(population):
    """All runs share one population's programs; each has its own state."""
    patch = pytest.MonkeyPatch()
    patch.setattr(apoptosis_compare_course, "Population", lambda *_: population)
    patch.setattr(apoptosis_compare_course.timing, "measure", timed)
    yield
    patch.undo()


def timed(population):
    time = apoptosis_compare_course.rows_of.time
    return [time(population, "updates", 1, 8, 0.5, 4, 4)]


def plan(out):
    return apoptosis_compare_course.plan(experiment(), out, apoptosis_compare.NAME, [4, 1])


@pytest.fixture(scope="module")
def finished(tmp_path_factory, share):
    out = tmp_path_factory.mktemp("runs")
    return run.execute(plan(out), out)


@pytest.fixture(scope="module")
def found(finished):
    return Found.read(finished, experiment())


# Training


def test_a_member_of_the_baseline_is_the_solo_run_of_its_seed(found):
    for seed in SEEDS:
        subject = dataclasses.replace(experiment().subject, seed=seed)
        alone = Trainer(subject, jax.local_devices()[:1])
        state, losses, _ = alone.advance(alone.start(), STEPS)
        np.testing.assert_allclose(found.losses[0, seed], losses, rtol=1e-5)
        validation, test = alone.evaluate(state.params)
        assert found.final[0, seed] == pytest.approx(validation.value, rel=1e-5)
        assert found.final_test[0, seed] == pytest.approx(test.value, rel=1e-5)


def test_arms_are_paired_until_their_first_event(found):
    base = found.losses[0]
    assert (np.abs(base[0] - base[1]) > 1e-4).all()
    for arm in range(1, len(ARMS)):
        np.testing.assert_allclose(found.losses[arm][:, :INTERVAL], base[:, :INTERVAL], rtol=1e-5)
        assert (found.losses[arm][:, -1] != base[:, -1]).all()


def test_events_happen_at_their_steps_in_their_numbers(found, finished):
    place = found.names.index
    for name in ("standard", "mutation_5.4"):
        assert [steps.tolist() for steps in found.happened[place(name)]] == [[2, 4, 6, 8]] * 2
        assert found.total("died")[place(name)].tolist() == [12, 12]
    assert found.count[place("baseline")].tolist() == [0, 0]
    # Fading takes at least one update, and births of growth end at 1.5 times 12.
    assert found.total("born")[place("gradual_fade")].tolist() == [12, 12]
    assert found.total("born")[place("growth")].tolist() == [6, 6]
    assert found.total("died")[place("growth")].tolist() == [0, 0]
    assert np.isnan(found.change[place("baseline")]).all()
    assert (found.change[place("growth")] < 1e-5).all()
    loud, calm = found.change[place("mutation_5.4")], found.change[place("standard")]
    assert (loud > calm).all()
    assert (calm > 1e-5).all()
    lineage = run.read(finished, "lineage")
    own = lineage["arm"] == place("standard")
    assert own.sum() == 24
    assert (lineage["parent"][own] >= 0).all()
    assert np.isfinite(lineage["fitness"][own]).all()
    fresh = lineage["parent"][lineage["arm"] == place("growth")]
    assert (fresh == -1).all()


def test_ages_are_those_since_birth(found):
    rows = found.neurons
    living = [np.sum((rows["arm"] == a) & (rows["seed"] == 0)) for a in range(len(ARMS))]
    assert living == [12, 12, 12, 12, 18]
    assert set(rows["age"][rows["arm"] == 0]) == {STEPS}
    assert set(rows["age"][rows["arm"] == 1]) <= {0, 2, 4, 6, 8}
    assert found.ages[0].tolist() == [1, 1]
    assert (found.ages[1] > 1).all()


# Runs


def test_a_run_that_lost_its_last_pieces_ends_in_the_same_bits(finished, tmp_path, share):
    again = tmp_path / finished.name
    shutil.copytree(finished, again)
    names = sorted(path.stem for path in (again / "results").glob("0*"))
    assert names == ["0000000000-0000000", "0000000000-0000004"]
    # Of the first piece only a mark was left: it is trained again to go on from.
    assert checkpoints.whole(again, names[0]) is None
    (again / "results" / f"{names[1]}.parquet").unlink()
    run.execute(plan(tmp_path), tmp_path)
    same(again, finished)
    assert [checkpoints.whole(again, name) is None for name in names] == [True, False]


def test_a_run_killed_before_it_thins_ends_in_the_same_bits(finished, tmp_path, share, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "mark", killed)
        with pytest.raises(KeyboardInterrupt):
            run.execute(plan(tmp_path), tmp_path)
    again = tmp_path / finished.name
    names = sorted(path.stem for path in (again / "results").glob("0*"))
    assert [checkpoints.whole(again, name) is None for name in names] == [False, False]
    run.execute(plan(tmp_path), tmp_path)
    same(again, finished)
    assert [checkpoints.whole(again, name) is None for name in names] == [True, False]


def killed(*_):
    raise KeyboardInterrupt


def test_a_piece_goes_on_from_the_checkpoint_of_the_one_before(tmp_path, finished, share):
    course = apoptosis_compare_course.Course(experiment(), tmp_path)
    first, second, _ = course.tasks([4, 1])
    ((_, output),) = course.train([4, 1], [first])
    (tmp_path / "checkpoints").mkdir()
    storage.save_tree(tmp_path / "checkpoints" / first.name, output.tree)
    course = apoptosis_compare_course.Course(experiment(), tmp_path)
    _, output = next(course.train([4, 1], [second]))
    whole = run.read(finished, "curves")
    late = whole["step"] > 4
    np.testing.assert_array_equal(output.tables["curves"]["loss"], whole["loss"][late])
    moments = [
        leaf
        for path, leaf in storage.load_tree(tmp_path / "checkpoints" / first.name).items()
        if ".nu." in path
    ]
    assert moments
    assert all(leaf.any() for leaf in moments)


def test_a_checkpoint_of_another_config_is_refused(population, share):
    state = jax.tree.map(np.asarray, population.start(np.arange(4)))
    content = apoptosis_compare_course.content(state)
    seeds = np.arange(4)
    apoptosis_compare_course.restore(population, content, seeds)
    name = next(iter(content))
    wrong = content | {name: content[name][..., :1]}
    with pytest.raises(run.Refused, match="another config"):
        apoptosis_compare_course.restore(population, wrong, seeds)


def same(one, other):
    for table in apoptosis_compare_course.TABLES:
        if table == "times":
            continue
        left, right = run.read(one, table), run.read(other, table)
        for name in left:
            np.testing.assert_array_equal(left[name], right[name], err_msg=f"{table} {name}")


def test_a_report_is_made_from_disk_alone(finished, capsys, monkeypatch):
    monkeypatch.setattr(apoptosis_compare_course.Course, "train", None)
    apoptosis_compare_report.publish(finished, experiment(), 0.01)
    page = (finished / "report.html").read_bytes()
    out = capsys.readouterr().out
    for words in ("loss < 1.6 (stretch < 1.5)", "more than 10 events", "red flags", "loss > 2"):
        assert words in out
    header, *rows = (finished / "summary.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == list(ARMS)
    assert {"validation_loss_low", "spike", "variance", "died", "verdict"} <= set(header.split(","))
    content = json.loads((finished / "findings.json").read_text())
    said = dict(content["findings"])
    assert "2 seeds cannot show" in said["Who differs from the baseline?"]
    for figure in content["figures"]:
        assert (finished / f"{figure['stem']}.png").stat().st_size > 5000
    apoptosis_compare_report.publish(finished, experiment(), 0.01)
    assert (finished / "report.html").read_bytes() == page


# What is said


def planted(shifts, seeds=10, steps=400):
    """A run in which the arms' losses lie so much higher than the baseline's, with an event at
    step 100 that raises the loss of `mutation_5.4` by 1.45 for ten steps."""
    arms = ("baseline", "functional", "layer_level", "standard", "mutation_5.4", "random")
    made = experiment(arms, seeds=seeds)
    generator = np.random.default_rng(0)
    shape = len(arms), seeds
    shift = np.array([shifts.get(name, 0.0) for name in arms])[:, None]
    level = 1.5 + generator.normal(0, 0.05, seeds) + generator.normal(0, 0.0005, shape) + shift
    losses = np.repeat(level[..., None], steps, -1)
    losses[arms.index("mutation_5.4"), :, 100:110] += 1.45
    cells = [(a, s) for a in range(1, len(arms)) for s in range(seeds)]
    arm, seed = np.array(cells).T
    one = np.ones(len(arm))
    events = {"arm": arm, "seed": seed, "step": 100 * one.astype(int)}
    events |= {"died": 5 * one, "born": 5 * one, "change": 0.1 * one}
    places = [(a, s, n) for a, s in np.ndindex(shape) for n in range(4)]
    arm, seed, neuron = np.array(places).T
    young = np.where((arm > 0) & (neuron < 2), 300, steps)
    neurons = {"arm": arm, "seed": seed, "group": 0 * arm, "neuron": neuron, "age": young}
    neurons["taylor"] = 1.0 + neuron
    times = {"kind": ["training", "updates"], "arm": [-1, 3], "steps": [400, 100]}
    times |= {"updates": [0, 4], "networks": [60, 10], "seconds": [48.0, 0.8]}
    times |= {"device": ["cpu"] * 2, "devices": [1, 1]}
    times = {name: np.array(column) for name, column in times.items()}
    curve = np.stack([level + 1, level], -1)
    return Found(made, np.array([0, steps]), curve, curve, losses, events, neurons, times)


def said(found):
    return {f.headline: f for f in apoptosis_compare_findings.analyse(found, 0.01)}


def test_planted_effects_are_found_and_named():
    found = planted({"functional": -0.02, "layer_level": 0.05, "standard": 0.004, "random": 0.02})
    answers = said(found)
    preserved = answers["Does functional preservation beat the baseline?"]
    assert preserved.verdict == "functional: lower"
    assert "lower than the baseline's" in preserved.sentence
    assert "−0.0012 nats (1.4776 against 1.4788" in preserved.sentence
    layers = answers["Does layer-level apoptosis fail?"]
    assert layers.verdict == "worse than the baseline"
    assert "to the baseline: +0.0503" in layers.sentence
    assert answers["Who beats the random control?"].verdict == "3 of 4"
    counts = answers["Who differs from the baseline?"].verdict
    assert counts == "lower 1, higher 3, not worse 1, undecided 0"
    assert "standard" in answers["Who differs from the baseline?"].sentence
    assert answers["Is the spike noise?"].verdict == "in 1 of 1 pairs"


def test_without_effects_nothing_is_found():
    answers = said(planted({}))
    assert answers["Does functional preservation beat the baseline?"].verdict == (
        "functional: not worse"
    )
    assert answers["Who beats the random control?"].verdict == "0 of 4"
    few = said(planted({"functional": -0.02}, seeds=3))
    sentence = few["Does functional preservation beat the baseline?"].sentence
    assert "neither told apart" in sentence
    assert "3 seeds cannot show a difference among 5 arms" in sentence


def test_spikes_ages_variance_and_costs_are_those_planted():
    found = planted({"standard": 0.5})
    place = found.names.index
    np.testing.assert_allclose(found.spikes[place("mutation_5.4")], 1.45, atol=0.01)
    np.testing.assert_allclose(found.spikes[place("standard")], 0.5, atol=0.01)
    assert np.isnan(found.spikes[found.baseline]).all()
    np.testing.assert_allclose(found.ages[1:], 2)
    np.testing.assert_allclose(found.young[1:], 0.5)
    np.testing.assert_allclose(found.variance, 0, atol=1e-12)
    np.testing.assert_allclose(found.area - found.final, 0.5)
    # A step of a network takes 2 ms, an update 20 ms, a hundred steps' updates 80 ms.
    assert found.step_seconds == pytest.approx(0.002)
    assert found.overhead(3) == pytest.approx((10, 0.4))
    assert np.isnan(found.overhead(1)).all()


def test_red_flags_are_raised():
    found = planted({"standard": 0.6})
    found.losses[1, 0, 200] = np.nan
    found.losses[4, :, -20:] += 2
    events = {name: column[found.events["arm"] != 5] for name, column in found.events.items()}
    _, rows, _ = apoptosis_compare_report.criteria(dataclasses.replace(found, events=events))
    flags = {row[0]: row[-1] for row in rows}
    assert flags["functional"] == "NaN"
    assert flags["standard"] == "loss > 2"
    assert flags["mutation_5.4"] == "variance > 0.2"
    assert flags["random"] == "0 events"
    assert flags["baseline"] == "none"


REFUSED = {
    "--arms=baseline,magic": "got 'magic'",
    "--arms=standard": "must include 'baseline'",
    "--arms=baseline,standard,standard": "must differ",
    "--arms=baseline,growth_9": "a limit in [1, 4]",
    "--interval=0": "interval must be at least 1",
    "--interval=999": "interval must lie in [1, 240]",
    "--seeds=0": "seeds must be at least 1",
    "--rate=1.5": "rate must lie in [0, 1]",
    "--which=heads": "which must be of mlp, attention, all",
    "--which=attention": "growth has no room",
    "--watch=0": "watch must lie in [1, 16]",
    "--margin=0": "margin must lie in",
    "--preset=huge": "preset must be one of",
    "--corpus=nowhere.txt": "neither a file nor one of",
    "--characters=100": "too short",
    "--export_json=x": "no meaning here",
}


def test_what_cannot_be_run_is_refused_in_a_sentence(tmp_path):
    lines = [commands.Line([flag, f"--out={tmp_path}", "--cache="]) for flag in REFUSED]
    lines.append(commands.Line(["--dry_run", f"--out={tmp_path}", "--cache="]))
    *ended, announced = commands.forked("apoptosis_compare", lines)
    for words, one in zip(REFUSED.values(), ended, strict=True):
        assert one.code == 2, one.err
        assert words in one.err
        assert len(one.err.strip().splitlines()) == 1, one.err
    assert announced.code == 0
    assert "22 arms × 2 seeds, 240 steps, events every 20" in announced.out
