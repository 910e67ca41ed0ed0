"""The study of fitness: its numbers are the engine's own, and what it says of them."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apoptosis import fitness, presets
from experiments import apoptosis_fitness as study
from experiments import apoptosis_fitness_analysis as analysis
from experiments import apoptosis_fitness_training as training
from experiments.apoptosis_training import Subject
from experiments.shell import cli, run
from experiments.shell.corpus import Corpus

MEASURES = ("taylor", "weight", "random")
TEXT = Corpus("made up", "".join("abcdefgh"[i * i % 8] for i in range(4000)), "0" * 64)
SHAPE = dataclasses.replace(
    presets.TINY.architecture, width=8, heads=2, layers=1, ffn=12, context=8
)
PRESET = dataclasses.replace(presets.TINY, architecture=SHAPE)
SUBJECT = Subject(PRESET, TEXT, 0, "float32", 1)
TINY = training.Experiment(SUBJECT, 3, (2, 5), 4, 0.25, MEASURES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return training.execute(TINY, study.NAME, tmp_path_factory.mktemp("runs"))


def test_a_run_has_a_row_per_seed_moment_group_and_measure(folder):
    rows = run.read(folder, "results")
    assert len(rows["seed"]) == 3 * 2 * 2 * 3
    assert set(rows["kind"]) == {"mlp", "attention"}
    assert set(rows["chance"][rows["kind"] == "mlp"]) == {3 / 12}
    neurons = run.read(folder, "neurons")
    assert len(neurons["neuron"]) == 3 * 2 * (12 + 8)


def test_the_correlations_are_those_of_the_ranks_of_the_rows(folder):
    from scipy import stats

    rows, neurons = run.read(folder, "results"), run.read(folder, "neurons")
    for i in range(len(rows["seed"])):
        own = np.ones(len(neurons["seed"]), bool)
        for name in ("seed", "step", "group"):
            own &= neurons[name] == rows[name][i]
        score, change = neurons[rows["measure"][i]][own], neurons["change"][own]
        expected = stats.spearmanr(score, np.abs(change)).statistic
        assert rows["correlation"][i] == pytest.approx(expected, abs=1e-4)
        assert rows["signed"][i] == pytest.approx(
            stats.spearmanr(score, change).statistic, abs=1e-4
        )
        count = training.lowest(own.sum(), 0.25)
        first, second = (set(np.argsort(a, kind="stable")[:count]) for a in (score, np.abs(change)))
        assert rows["overlap"][i] == pytest.approx(len(first & second) / count)


def test_scores_are_judged_as_against_ablation_does():
    from tests import apoptosis_case as case

    (x, y), params = case.data(), case.initial()
    loss = lambda params: case.loss(params, x, y)[0]
    measures = [fitness.MEASURES[name]() for name in ("taylor", "weight")]

    class Here:
        groups, share, measures = case.GROUPS, 0.2, ("taylor", "weight")

    @jax.jit
    def both(params, known):
        key = jax.random.key(0)
        whole = fitness.against_ablation(key, loss, params, known, measures, case.GROUPS)
        return whole, training.judge(key, Here, params, known, loss)

    whole, found = both(params, case.known())
    for name in case.NAMES:
        expected = [whole[measure.name][name] for measure in measures]
        np.testing.assert_allclose(found[name].correlation, jnp.stack(expected), atol=1e-6)


def test_the_command_writes_the_report_of_a_run(folder, monkeypatch):
    monkeypatch.setattr(study.FitnessStudy, "experiment", lambda _: TINY)
    assert study.main(study.FitnessStudy(), cli.Options(out=str(folder.parent))) == folder
    assert json.loads((folder / "findings.json").read_text())["findings"]
    lines = (folder / "summary.csv").read_text().splitlines()
    assert lines[0].startswith("preset,kind,step,measure,n,correlation,correlation_low")
    assert len(lines) == 1 + 2 * 2 * 3
    page = (folder / "report.html").read_text()
    assert "random" in page
    assert "taylor" in page
    assert (folder / "correlation.png").stat().st_size > 10_000


def made_up(shift):
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.05, (3, 2, 2, 20))
    values[0] += shift
    return analysis.Found(
        MEASURES,
        ("mlp", "attention"),
        (2, 5),
        values,
        values,
        values + 0.25,
        np.array([0.25, 0.25]),
    )


@pytest.mark.parametrize(
    ("shift", "told"),
    [(0.5, "better than the control"), (-0.5, "worse than the control"), (0.0, "undecided")],
)
def test_measures_are_tested_against_the_control(shift, told):
    for column in ("correlation", "overlap"):
        found = {(v.measure, v.kind): v.told for v in analysis.verdicts(made_up(shift), column)}
        assert found["taylor", "mlp"] == told
        assert found["weight", "mlp"] == "undecided"
        assert found["random", "attention"] == "the control"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"measures": ("luck",)}, "measure must be one of taylor, .*, got 'luck'"),
        ({"measures": ()}, "measures must be different names, at least one"),
        ({"moments": (5, 2)}, "moments must rise from at least 1 to at most 500"),
        ({"moments": (501,)}, "moments must rise from at least 1 to at most 500"),
        ({"share": 1.0}, "share must lie strictly between 0 and 1, got 1.0"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"preset": "huge"}, "preset must be one of"),
    ],
)
def test_what_cannot_be_run_is_refused(flags, sentence):
    with pytest.raises(ValueError, match=sentence):
        study.FitnessStudy(**flags)


def test_more_windows_than_there_are_and_json_are_refused(tmp_path):
    with pytest.raises(run.Refused, match="windows must be at most the 50 of the validation part"):
        dataclasses.replace(TINY, windows=51)
    with pytest.raises(run.Refused, match="--export_json has no meaning here"):
        study.main(study.FitnessStudy(), cli.Options(out=str(tmp_path), export_json="x"))
