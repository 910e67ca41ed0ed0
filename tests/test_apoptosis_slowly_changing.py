"""The regression benchmark from flags to report: arms, tuning, resuming, and what it says."""

import csv
import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from apoptosis import regression
from experiments import apoptosis_regression as analysis
from experiments import apoptosis_regression_arms as arms_of
from experiments import apoptosis_regression_recipes as recipes
from experiments import apoptosis_regression_training as training
from experiments import apoptosis_slowly_changing as study
from experiments.apoptosis_regression_arms import Arm
from experiments.lab import keys, placement
from experiments.shell import cli, run
from tests import commands
from tests.tolerance import within_sampling_error

TINY = study.SlowlyChanging(
    recipes=("backprop", "linear", "redo"),
    seeds=5,
    steps=50,
    period=10,
    bin=20,
    settings=("redo.interval=5",),
)
BACKPROP = Arm("backprop", "relu", 0.01)
COLUMNS = "recipe,variant,n,loss_last10,loss_last10_low,loss_last10_high,loss_mean"


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def folder(out):
    return study.main(TINY, options(out))


def options(out, **further):
    return cli.Options(out=str(out), cache="", **further)


def rows_of(folder):
    with (folder / "summary.csv").open() as file:
        return list(csv.DictReader(file))


# From flags to report


def test_the_summary_has_a_row_per_arm_and_the_columns_promised(folder):
    header = (folder / "summary.csv").read_text().splitlines()[0]
    assert header.startswith(COLUMNS)
    rows = rows_of(folder)
    assert [row["recipe"] for row in rows] == list(TINY.recipes)
    outcome = training.Outcome(TINY.experiment, folder)
    for row, losses in zip(rows, outcome.scores("loss_last10"), strict=True):
        assert (row["variant"], row["n"]) == ("A", "5")
        assert math.isclose(float(row["loss_last10"]), losses.mean())
        assert float(row["loss_last10_low"]) < losses.mean() < float(row["loss_last10_high"])


def test_the_report_tells_of_all_arms(folder):
    page = (folder / "report.html").read_text()
    for arm in TINY.experiment.arms:
        assert arm.name in page
    assert (folder / "loss.png").stat().st_size > 10_000
    told = json.loads((folder / "findings.json").read_text())
    assert [headline for headline, _ in told["findings"]] == [
        "Loss over the last bins",
        "Who differs from backpropagation?",
    ]


def test_a_life_equals_the_same_learner_alone(folder):
    outcome, experiment = training.Outcome(TINY.experiment, folder), TINY.experiment
    seed = 3
    key = keys.trial(keys.root(0), "regression", np.uint32(seed))
    learner = regression.backpropagation(regression.Network(), 0.01)
    alone = jax.jit(lambda key: regression.live(key, experiment.world, learner, 50).losses)(key)
    binned = [alone[:2].mean(), alone[2:4].mean(), alone[4]]
    np.testing.assert_allclose(outcome.curves()[0, seed], binned, rtol=1e-5)


def test_arms_share_their_seeds(folder):
    """In the first steps no event has come: redo's losses are those of backpropagation."""
    curves = training.Outcome(TINY.experiment, folder).curves()
    assert curves.shape == (3, 5, 3)
    assert np.isfinite(curves).all()
    assert np.corrcoef(curves[0, :, 0], curves[2, :, 0])[0, 1] > 0.8
    assert len(np.unique(curves[0, :, 0])) == 5


def test_what_was_lost_is_made_again_alike(folder, capsys):
    before = run.read(folder, "results"), run.read(folder, "curves")
    (lost,) = folder.glob("results/0001-*.parquet")
    lost.unlink()
    assert study.main(TINY, options(folder.parent)) == folder
    assert "10 learners are already stored" in capsys.readouterr().err
    for table, name in zip(before, ("results", "curves"), strict=True):
        again = run.read(folder, name)
        for column, values in table.items():
            np.testing.assert_array_equal(again[column], values)


def test_blocks_of_seeds_change_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SEEDS_AT_ONCE", 3)
    cut = dataclasses.replace(TINY, recipes=("redo",))
    outcome = training.execute(cut.experiment, study.NAME, tmp_path)
    assert len(list(outcome.folder.glob("results/*"))) == 2
    whole = training.Outcome(TINY.experiment, folder)
    np.testing.assert_allclose(
        outcome.scores("loss_last10")[0], whole.scores("loss_last10")[2], rtol=1e-4
    )


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere all seeds are one block")
def test_in_blocks_of_any_size_a_seed_has_the_same_bits():
    """A difference in rounding grows: over a million steps it can change a seed's loss."""
    experiment = experiment_of([BACKPROP], world=regression.World(period=50), steps=200, bin=50)
    mesh, hyper = placement.mesh(jax.local_devices()[:1]), training._hyper(BACKPROP)

    def lived(width):
        program = training._compile(experiment, BACKPROP, width, mesh)
        life = program(np.arange(width, dtype=np.uint32), hyper)
        return jax.tree.map(lambda a: np.asarray(a)[:3], life.parameters)

    jax.tree.map(np.testing.assert_array_equal, lived(3), lived(training.SEEDS_AT_ONCE))


def test_tuning_chooses_among_equal_budgets_on_other_seeds(out):
    asked = dataclasses.replace(
        TINY, recipes=("backprop", "l2"), tune=3, tune_seeds=2, tune_steps=20, settings=()
    )
    folder = study.main(asked, options(out))
    search = asked.search
    assert [arm.recipe for arm in search.arms] == ["backprop"] * 3 + ["l2"] * 3
    searched = training.execute(search, f"{study.NAME}_tuning", out)
    scores = searched.scores("loss_last10").mean(1).reshape(2, 3)
    chosen = [scores[0].argmin(), 3 + scores[1].argmin()]
    rates = [float(row["learning_rate"]) for row in rows_of(folder)]
    assert rates == [search.arms[i].learning_rate for i in chosen]
    assert "best of 3 on 2 other seeds" in (folder / "report.html").read_text()
    arms = tuple(search.arms[i] for i in chosen)
    found = training.Outcome(dataclasses.replace(asked.experiment, arms=arms), folder)
    first = searched.curves()[chosen, :, 0], found.curves()[:, :2, 0]  # the same 20 steps
    assert not np.isclose(*first, rtol=1e-3).any()


def test_a_life_as_json(folder, tmp_path):
    study.main(TINY, options(folder.parent, export_json=str(tmp_path)))
    assert len(list(tmp_path.glob("*.json"))) == 15
    life = json.loads((tmp_path / "redo_relu_0.01_4.json").read_text())
    assert life["curve"]["step"] == [20, 40, 50]
    assert len(life["curve"]["loss"]) == 3


# Arms


def test_every_recipe_builds_and_is_traced_in_its_settings():
    for name, recipe in recipes.RECIPES.items():
        for setting, of in recipe.settings.items():
            low, high = of.searched or (of.default, of.default)
            assert low <= of.default <= high <= of.most, f"{name}.{setting}"
        (arm,) = arms_of.grid((name,), ("relu",), (0.01,), arms_of.settings(()))
        world = regression.World(period=arm.interval)

        def lived(key, hyper, arm=arm, world=world):
            return regression.live(key, world, arms_of.learner(*arm.species, hyper), world.period)

        life = jax.eval_shape(jax.vmap(lived, (0, None)), keys_of(2), arm.hyper)
        assert life.losses.shape == (2, 1)


def keys_of(count):
    return jax.random.split(jax.random.key(0), count)


def test_a_linear_learner_is_one_arm_whatever_the_activations():
    arms = arms_of.grid(
        ("backprop", "linear"), ("relu", "tanh"), (0.01, 0.003), arms_of.settings(())
    )
    assert [arm.name for arm in arms] == [
        "backprop relu 0.01",
        "backprop relu 0.003",
        "backprop tanh 0.01",
        "backprop tanh 0.003",
        "linear 0.01",
        "linear 0.003",
    ]


def test_candidates_fill_the_budget_of_every_family_alike():
    given = arms_of.grid(
        ("backprop", "continual_backprop"), ("relu", "tanh"), (0.01, 0.001), arms_of.settings(())
    )
    found = arms_of.candidates(given, 9)
    families = [(arm.recipe, arm.activation) for arm in found]
    assert {families.count(family) for family in families} == {9}
    assert len(families) == 36
    assert set(given) < set(found)
    assert len(set(found)) == len(found)
    low, high = arms_of.LEARNING_RATES
    own = [arm for arm in found if arm.recipe == "continual_backprop"]
    settings = [dict(arm.settings) for arm in own]
    assert all(low <= arm.learning_rate <= high for arm in own)
    assert all(1e-6 <= each["rate"] <= 1e-3 for each in settings)
    assert {(each["maturity"], each["interval"]) for each in settings} == {(100, 10)}
    with pytest.raises(ValueError, match="tune must be at least 2, the number of learning rates"):
        arms_of.candidates(given, 1)


class Records:
    """What `training.Outcome` gives, from memory."""

    def __init__(self, experiment, losses):
        self.experiment, self._losses = experiment, np.asarray(losses)

    def scores(self, column):
        return self._losses

    def curves(self):
        return np.repeat(self._losses[..., None], self.experiment.bins, axis=-1)


def experiment_of(arms, **settings):
    fields = {"world": regression.World(), "seeds": 20, "steps": 1_000_000, "bin": 20_000}
    return training.Experiment(tuple(arms), **fields | settings)


def test_the_best_arm_has_the_lowest_loss_and_never_a_divergence():
    rates = (0.1, 0.01, 0.001)
    arms = [Arm("backprop", "relu", rate) for rate in rates] + [Arm("linear", "none", 0.01)]
    losses = [[0.1, np.nan], [0.7, 0.9], [0.8, 0.9], [np.inf, np.inf]]
    assert training.best(Records(experiment_of(arms), losses)) == (arms[1], arms[3])


def test_bins_of_tasks_by_hand():
    experiment = experiment_of([BACKPROP], world=regression.World(period=10), steps=45, bin=20)
    tasks = np.array([[1.0, 3.0, 5.0, 7.0, 9.0]])
    np.testing.assert_allclose(training.binned(experiment, tasks), [[2.0, 6.0, 9.0]])
    np.testing.assert_array_equal(experiment.ends, [20, 40, 45])
    longer = dataclasses.replace(experiment, bin=30)
    np.testing.assert_allclose(training.binned(longer, tasks), [[3.0, (70 + 45) / 15]])


# What is said


def made_up(**settings):
    """relu at 1.25, linear learners at 0.70 and a recipe 0.1 below backpropagation."""
    rng = np.random.default_rng(0)
    common = rng.normal(1.25, 0.05, 20)
    common += 1.25 - common.mean()
    linear = [Arm("linear", "none", rate) for rate in (0.01, 0.003)]
    losses = [common, common - 0.55, common - 0.55, common - 0.1 + rng.normal(0, 0.01, 20)]
    arms = [BACKPROP, *linear, Arm("redo", "relu", 0.01)]
    return Records(experiment_of(arms, **settings), losses)


def test_differences_are_paired_and_against_backpropagation():
    outcome = made_up()
    linear, _, redo = analysis.differences(outcome.experiment, outcome.scores(""))
    assert (linear.arm.recipe, redo.arm.recipe) == ("linear", "redo")
    assert {linear.baseline, redo.baseline} == {BACKPROP}
    assert within_sampling_error(redo.difference.value, -0.1, 0.01 / 20**0.5)
    assert redo.difference.high - redo.difference.low < 0.02  # unpaired: 0.06
    assert redo.verdict == "lower"
    assert redo.p < 0.001


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        (Arm("redo", "relu", 0.003), 1),
        (Arm("redo", "tanh", 0.5), 2),
        (Arm("redo", "relu", 0.5), None),
        (Arm("linear", "none", 0.5), None),
        (BACKPROP, None),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_the_baseline_of_an_arm(arm, expected):
    own = BACKPROP, Arm("backprop", "relu", 0.003), Arm("backprop", "tanh", 0.01)
    assert analysis.baseline((*own, arm), arm) == expected


def test_published_values_stand_beside_ours_where_the_setting_is_theirs():
    outcome = made_up()
    mine, linear = analysis.references(outcome.experiment, outcome.scores(""))
    assert mine[:2] == (BACKPROP, 1.25)
    assert (linear.arm.learning_rate, linear[1]) == (0.01, 0.90)  # not the one at 0.003
    assert math.isclose(linear[3], outcome.scores("")[1].std(ddof=1) / 20**0.5)
    parts = analysis.analyse(outcome, {})
    _, rows, _ = parts["tables"]["Against the published values"]
    assert [row[-1] for row in rows] == ["yes", "no"]
    (told,) = (text for headline, text in parts["findings"] if "published" in headline)
    assert told.startswith("1 of 2 published values lie within our standard error")
    for settings in ({"steps": 500_000}, {"world": regression.World("B")}):
        other = made_up(**settings)
        assert analysis.references(other.experiment, other.scores("")) == []


def test_a_divergence_is_told_and_makes_its_arm_unknown():
    outcome = made_up()
    outcome._losses[3, 7] = np.nan
    parts = analysis.analyse(outcome, {})
    assert ("Divergence", "1 of 80 lives diverged; they make their arm's mean unknown.") in parts[
        "findings"
    ]
    assert "redo relu 0.01 nan [nan, nan]" in parts["findings"][0][1]
    _, rows, _ = parts["tables"]["Against backpropagation"]
    assert [row[-1] for row in rows] == ["lower", "lower", "undecided"]


# Bad input


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"variant": "C"}, "variant must be one of A, B, got 'C'"),
        ({"recipes": ("prayer",)}, "recipe must be one of backprop, .*, got 'prayer'"),
        ({"recipes": ()}, "recipes must be different names, at least one"),
        ({"activation": ("relu", "relu")}, "activation must be different names"),
        ({"activation": ("cubic",)}, "activation must be one of relu, .*, got 'cubic'"),
        ({"learning_rate": (0.01, 0.0)}, r"learning_rate must lie in \(0, 1\], got"),
        ({"learning_rate": ()}, "learning_rate must be different numbers, at least one"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"seed": -1}, "seed must lie in"),
        ({"bin": 15}, "bin must be a multiple of the period, 10, got 15"),
        ({"tune": -1}, "tune must be at least 0, got -1"),
        ({"tune": 2, "tune_seeds": 0}, "tune_seeds must be at least 1, got 0"),
        ({"settings": ("redo.interval=3",)}, "redo.interval must divide the period, 10, got 3"),
        ({"settings": ("redo.interval=0",)}, "redo.interval must be a whole number of at least 1"),
        ({"settings": ("redo.interval=2.5",)}, "redo.interval must be a whole number of at least"),
        ({"settings": ("random.rate=2",)}, r"random.rate must be a number in \[0, 1\], got '2'"),
        ({"settings": ("redo.threshold=x",)}, "redo.threshold must be a number of at least 0"),
        ({"settings": ("redo.threshold=inf",)}, "redo.threshold must be a number of at least 0"),
        ({"settings": ("redo.speed=1",)}, "settings must be recipe.setting=value, with one of"),
        ({"settings": ("speed",)}, "settings must be recipe.setting=value, .* got 'speed'"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_run_is_refused(flags, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(TINY, **flags)


def test_the_command_line(tmp_path):
    flags = ["--recipes=backprop,redo", "--seeds=4", f"--out={tmp_path}", "--dry_run"]
    fine, bad, worse = commands.forked(
        "apoptosis_slowly_changing",
        [
            commands.Line([*flags, "--variant=B", "--settings=redo.threshold=0.1"]),
            commands.Line([*flags, "--settings=redo.interval=3"]),
            commands.Line([*flags, "--variant=C"]),
        ],
    )
    assert fine.code == 0
    assert "redo relu 0.01 (threshold 0.1, interval 1000)" in fine.out
    assert "2 arms × 4 seeds, 1,000,000 steps, variant B" in fine.out
    assert fine.out.splitlines()[-1].startswith(f"{tmp_path}/apoptosis_slowly_changing-")
    assert not list(tmp_path.iterdir())
    assert (bad.code, worse.code) == (2, 2)
    assert bad.err == (
        "apoptosis_slowly_changing: redo.interval must divide the period, 10000, got 3\n"
    )
    assert worse.err.endswith("variant must be one of A, B, got 'C'\n")
