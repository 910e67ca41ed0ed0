"""Plasticity: its measures on paper, the tasks, the gate, the files of images, and the command."""

import dataclasses
import gzip
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apoptosis import plasticity, successive
from experiments import apoptosis_plasticity as study
from experiments import apoptosis_plasticity_analysis as analysis
from experiments import apoptosis_plasticity_arms as arms_of
from experiments import apoptosis_plasticity_data as data
from experiments import apoptosis_plasticity_recipes as recipes
from experiments import apoptosis_plasticity_training as training
from experiments.lab import keys
from experiments.shell import cli, run

TINY = study.Plasticity(
    recipes=("redo",),
    seeds=3,
    tasks=2,
    steps=20,
    batch=4,
    examples=16,
    held_out=20,
    widths=(8,),
    settings=("redo.interval=10",),
)


# Measures


def test_dormant_neurons_on_paper():
    h = jnp.array([[1.0, 0.0, 0.01, -1.0], [3.0, 0.0, 0.01, -1.0]])  # mean |h| 2, 0, 0.01, 1
    assert plasticity.dormant(h) == 0.5  # at or below 0.025 · 0.7525
    assert plasticity.dormant(100 * h) == 0.5
    assert plasticity.dormant(h, 0.0) == 0.25
    assert plasticity.dormant(jnp.zeros((3, 4))) == 1


def test_effective_rank_is_the_exponential_of_the_entropy():
    assert plasticity.effective_rank(jnp.ones(5)) == pytest.approx(5)
    assert plasticity.effective_rank(jnp.array([2.0, 0.0])) == pytest.approx(1)
    assert plasticity.effective_rank(jnp.zeros(4)) == 0
    shares = np.array([0.5, 0.25, 0.25])
    expected = np.exp(-(shares * np.log(shares)).sum())
    both = plasticity.effective_rank(jnp.array([6 * shares, [1.0, 1, 0]]))
    np.testing.assert_allclose(both, [expected, 2], rtol=1e-6)


def test_the_norm_is_of_weights_alone():
    params = {"a": {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.full(2, 9.0)}}
    assert plasticity.weight_norm(params) == pytest.approx(4)


# Tasks


def images(count=12, pixels=6):
    labels = np.arange(count, dtype=np.int32) % 10
    return successive.Images(
        jnp.arange(count * pixels, dtype=jnp.float32).reshape(count, -1), labels
    )


def test_examples_and_held_out_images_are_different_ones():
    world = successive.World(examples=7, held_out=5)
    dealt = successive.deal(jax.random.key(0), world, jax.tree.map(jnp.asarray, images()))
    first = np.concatenate([dealt.train.pixels[:, 0], dealt.held_out.pixels[:, 0]])
    assert sorted(first) == sorted(np.asarray(images().pixels[:, 0]))


def test_a_task_permutes_pixels_or_draws_labels():
    dealt = successive.Task(*[jax.tree.map(jnp.asarray, images())] * 2)
    permuted = successive.draw(jax.random.key(1), dealt, True, 10)
    np.testing.assert_array_equal(np.sort(permuted.train.pixels), dealt.train.pixels)
    np.testing.assert_array_equal(permuted.train.pixels, permuted.held_out.pixels)
    assert (permuted.train.pixels != dealt.train.pixels).any()
    np.testing.assert_array_equal(permuted.train.labels, dealt.train.labels)
    random = successive.draw(jax.random.key(1), dealt, False, 10)
    np.testing.assert_array_equal(random.train.pixels, dealt.train.pixels)
    assert (random.train.labels != dealt.train.labels).any()
    np.testing.assert_array_equal(random.held_out.labels, dealt.held_out.labels)


def test_a_fresh_learner_starts_again_at_each_task():
    world = successive.World(tasks=3, steps=1, batch=2, examples=6, held_out=2)
    network = successive.Network(6, (4,))
    still = recipes.optimiser("sgd", 0.0)
    given = jax.tree.map(jnp.asarray, images())

    def norms(fresh):
        learner = successive.plain(network, still, fresh=fresh)
        live = lambda key: successive.live(key, world, network, learner, given, True).norm
        return jax.jit(live)(jax.random.key(0))

    old, new = norms(False), norms(True)
    assert len(np.unique(old)) == 1
    assert len(np.unique(new)) == 3
    assert old[0] == new[0]


def test_every_recipe_builds_and_is_traced_in_its_settings():
    world = successive.World(tasks=1, steps=100, batch=2, examples=6, held_out=2)
    network, given = successive.Network(6, (4, 4)), jax.tree.map(jnp.asarray, images())
    for name, recipe in recipes.RECIPES.items():
        for setting, of in recipe.settings.items():
            low, high = of.searched or (of.default, of.default)
            assert low <= of.default <= high <= of.most, f"{name}.{setting}"
        (arm,) = arms_of.grid(("permuted",), (name,), 0.01, arms_of.settings(()))

        def lived(key, hyper, arm=arm):
            learner = arms_of.learner(arm.species, network, "adam", hyper)
            return successive.live(key, world, network, learner, given, hyper["permuted"] > 0)

        hyper = {name: jnp.float32(value) for name, value in arm.hyper.items()}
        life = jax.eval_shape(jax.vmap(lived, (0, None)), keys_of(2), hyper)
        assert life.accuracy.shape == (2, 1)


def keys_of(count):
    return jax.random.split(jax.random.key(0), count)


# From flags to report


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return study.main(TINY, cli.Options(out=str(out), cache=""))


def test_a_run_ends_in_summary_report_and_findings(folder):
    lines = (folder / "summary.csv").read_text().splitlines()
    assert lines[0].startswith("kind,recipe,n,gate_passed,accuracy_late,accuracy_late_low")
    assert len(lines) == 7
    told = json.loads((folder / "findings.json").read_text())
    assert sum("Is plasticity lost?" in headline for headline, _ in told["findings"]) == 2
    assert (folder / "accuracy.png").stat().st_size > 10_000
    outcome = training.Outcome(TINY.experiment, folder)
    held_out = outcome.curves("held_out")
    assert np.isfinite(held_out[:3]).all()
    assert np.isnan(held_out[3:]).all()


def test_a_life_equals_the_same_learner_alone(folder):
    experiment = TINY.experiment
    outcome = training.Outcome(experiment, folder)
    arm = experiment.arms[2]
    assert arm.recipe == "redo"
    key = keys.trial(keys.root(0), "plasticity", np.uint32(1))
    given = successive.Images(
        jnp.asarray(experiment.data.pixels), jnp.asarray(experiment.data.labels)
    )
    learner = arms_of.learner(arm.species, experiment.network, "adam", arm.hyper)
    alone = jax.jit(
        lambda key: successive.live(key, experiment.world, experiment.network, learner, given, True)
    )(key)
    np.testing.assert_allclose(outcome.curves("loss")[2, 1], alone.loss, rtol=1e-4)
    np.testing.assert_allclose(outcome.curves("norm")[2, 1], alone.norm, rtol=1e-4)


# What is said


class Records:
    """What `training.Outcome` gives, from memory: late accuracies are given, early ones 0.8."""

    def __init__(self, late):
        self.late = np.asarray(late)
        recipes_here = ("backprop", "fresh", "random", "redo")
        arms = arms_of.grid(("permuted",), recipes_here, 0.01, arms_of.settings(()))
        self.experiment = dataclasses.replace(TINY.experiment, arms=(), seeds=20)
        object.__setattr__(self.experiment, "arms", arms)

    def scores(self, column):
        return self.late if column.endswith("late") else np.full_like(self.late, 0.8)

    def curves(self, measure):
        return np.repeat(self.late[..., None], 2, axis=-1)


def made_up(base):
    rng = np.random.default_rng(0)
    noise = lambda size: rng.normal(0, size, 20)
    base = base + noise(0.02)
    return Records([base, 0.8 + noise(0.02), base + noise(0.02), base + 0.1 + noise(0.02)])


def test_the_gate_asks_for_a_fall_and_for_less_than_a_fresh_network():
    lost, kept = analysis.gate(made_up(0.5), "permuted"), analysis.gate(made_up(0.85), "permuted")
    assert lost.passed
    assert lost.fall.value == pytest.approx(0.3, abs=0.03)
    assert not kept.passed
    fallen = made_up(0.5)
    fallen.late[1] = fallen.late[0]  # a fresh network does no better: the tasks became harder
    assert not analysis.gate(fallen, "permuted").passed


def test_differences_are_paired_and_only_told_behind_the_gate():
    outcome = made_up(0.5)
    fresh, control, redo = analysis.differences(outcome, "permuted", "backprop")
    assert [d.arm.recipe for d in (fresh, control, redo)] == ["fresh", "random", "redo"]
    assert [d.verdict for d in (fresh, control, redo)] == ["higher", "undecided", "higher"]
    assert redo.difference.value == pytest.approx(0.1, abs=0.02)
    parts = analysis.analyse(outcome, {})
    assert len(parts["tables"]) == 4
    closed = analysis.analyse(made_up(0.85), {})
    assert len(closed["tables"]) == 1
    assert "nothing is concluded here about recipes" in closed["findings"][0][1]


def test_candidates_have_equal_budgets_on_other_seeds():
    asked = dataclasses.replace(TINY, tune=3, tune_seeds=2)
    search = asked.search
    assert (search.seeds, search.stream, len(search.arms)) == (2, "tuning", 18)
    assert set(TINY.experiment.arms) < set(search.arms)


# MNIST


def written(folder, part, content, compressed=False):
    name = data.FILES[part][0] + (".gz" if compressed else "")
    (folder / name).write_bytes(gzip.compress(content) if compressed else content)


def idx(*shape, values=None):
    body = np.arange(np.prod(shape), dtype=np.uint8) % 10 if values is None else values
    return bytes((0, 0, 8, len(shape))) + np.array(shape, ">u4").tobytes() + body.tobytes()


def test_idx_files_are_read_compressed_or_not(tmp_path):
    written(tmp_path, "images", idx(5, 2, 3))
    written(tmp_path, "labels", idx(5), compressed=True)
    found = data.mnist(str(tmp_path))
    assert found.pixels.shape == (5, 6)
    assert abs(found.pixels.mean()) < 1e-6
    assert found.labels.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("images", "labels", "sentence"),
    [
        (None, idx(5), "has no images: it must hold t10k-images-idx3-ubyte"),
        (
            idx(5, 2, 3)[:-1],
            idx(5),
            "truncated or too long: it announces 5 × 2 × 3 bytes, and hold",
        ),
        (idx(5, 2, 3)[:7], idx(5), "truncated or too long"),
        (
            idx(5),
            idx(5),
            "no IDX file of images: it must start with 00000803, and starts with 0000",
        ),
        (idx(5, 2, 3), idx(4), "as many images as labels, got 5 and 4"),
        (idx(5, 2, 3), idx(1, values=np.array([11], np.uint8)), "as many images as labels"),
        (idx(1, 2, 3), idx(1, values=np.array([11], np.uint8)), "labels of 0 to 9, got 11"),
    ],
)
def test_what_is_no_mnist_is_refused(tmp_path, images, labels, sentence):
    if images is not None:
        written(tmp_path, "images", images)
    written(tmp_path, "labels", labels)
    with pytest.raises(run.Refused, match=sentence):
        data.mnist(str(tmp_path))


def test_a_truncated_gzip_is_refused(tmp_path):
    written(tmp_path, "images", idx(5, 2, 3), compressed=True)
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(run.Refused, match="is not a whole gzip file"):
        data.mnist(str(tmp_path))


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"kinds": ("sorted",)}, "kind must be one of permuted, random_labels, got 'sorted'"),
        ({"recipes": ("prayer",)}, "recipe must be one of backprop, .*, got 'prayer'"),
        ({"optimiser": "lion"}, "optimiser must be one of adam, sgd, got 'lion'"),
        ({"tasks": 1}, "tasks must be at least 2"),
        ({"learning_rate": 0.0}, r"learning_rate must lie in \(0, 1\], got 0.0"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"widths": ()}, "widths must be at least one number of at least 1"),
        ({"settings": ("gradual_fade.interval=15",)}, "must be a whole multiple of 10 of at least"),
        ({"settings": ("random.rate=2",)}, r"random.rate must be a number in \[0, 1\], got '2'"),
    ],
)
def test_what_cannot_be_run_is_refused(flags, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(TINY, **flags)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"examples": 1790}, "examples and held_out must be at most the 1797 images together"),
        ({"settings": ("redo.interval=7",)}, "redo.interval must divide the steps of a task, 20"),
        ({"mnist": "/nowhere"}, "--mnist=/nowhere is not a folder"),
    ],
)
def test_what_does_not_go_with_the_images_is_refused(flags, sentence):
    with pytest.raises(run.Refused, match=sentence):
        _ = dataclasses.replace(TINY, **flags).experiment
