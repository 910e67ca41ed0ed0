"""Samples from a run of strategies: the network of an arm and a seed, and what is refused."""

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apoptosis import presets, text, transformer, unborn
from experiments import (
    apoptosis_compare,
    apoptosis_compare_arms,
    apoptosis_compare_course,
    apoptosis_sample,
    apoptosis_sample_networks,
)
from experiments.apoptosis_compare_experiment import Experiment
from experiments.apoptosis_sample import Sample
from experiments.apoptosis_training import Subject
from experiments.shell import checkpoints, corpus, run, storage
from experiments.shell.corpus import Corpus
from tests import commands

ARMS, FIRST, SEEDS, BLOCK, STEPS = ("baseline", "growth_2", "standard", "growth_1.1"), 5, 3, 2, 4


def experiment():
    shape = transformer.Architecture(8, 2, 1, 12, 8, norm="post")
    preset = presets.Preset("small", shape, presets.Training(STEPS, 4, 0.05))
    subject = Subject(
        preset, Corpus("words", corpus.documentation()[:600], "0"), FIRST, "float32", 2
    )
    arms = apoptosis_compare_arms.find(ARMS)
    return Experiment(subject, arms, SEEDS, interval=2, rate=0.25, watch=4)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two blocks of two seeds, the last of which is empty, in two pieces each."""
    patch, out = pytest.MonkeyPatch(), tmp_path_factory.mktemp("runs")
    patch.setattr(apoptosis_compare_course.timing, "measure", lambda population: [])
    asked, one = experiment(), jax.local_devices()[:1]
    plan = apoptosis_compare_course.plan(asked, out, apoptosis_compare.NAME, [BLOCK, 1])
    course = apoptosis_compare_course.Course(
        asked, out / run.identity(plan.name, plan.settings), one
    )
    yield run.execute(plan._replace(train=course.train), out)
    patch.undo()


def sample(folder, **asked):
    return apoptosis_sample.write_on(Sample(checkpoint=str(folder), length=6, prompt="a", **asked))


def final(folder, column):
    """`[A, S]`: what the run itself measured after its last step."""
    rows = run.read(folder, "results")
    ended = rows["step"] == STEPS
    order = np.lexsort((rows["seed"][ended], rows["arm"][ended]))
    return rows[column][ended][order].reshape(len(ARMS), SEEDS)


def test_the_network_of_an_arm_and_a_seed_has_the_loss_that_the_run_measured(finished):
    parts = experiment().subject.parts
    inputs, targets, valid = text.windows(parts.validation, 8)

    @functools.partial(jax.jit, static_argnums=0)
    def loss(model, params):
        losses = transformer.losses(model.apply({"params": params}, inputs), targets)
        return jnp.where(valid, losses, 0).sum() / valid.sum()

    found = []
    for arm in ARMS:
        for seed in range(FIRST, FIRST + SEEDS):
            network = apoptosis_sample_networks.load(finished, arm, seed)
            found.append(loss(network.model, network.params))
    expected = final(finished, "validation_loss")
    assert len(np.unique(expected)) == expected.size
    np.testing.assert_allclose(np.reshape(found, expected.shape), expected, rtol=1e-5)


def test_who_is_not_born_yet_has_room_in_the_network_and_gives_nothing(finished):
    groups = experiment().groups
    for arm, born in (("growth_2", 18), ("growth_1.1", 13), ("standard", 12)):
        trained = apoptosis_sample_networks.load(finished, arm, FIRST)
        (gone,) = unborn.find(trained.params, groups).values()
        assert len(gone) == (12 if arm == "standard" else 24)
        assert int((~gone).sum()) == born
        assert trained.model.architecture.ffn == len(gone)


def test_text_is_of_the_network_that_was_asked_for(finished):
    asked = {"arm": "growth_1.1", "seed": 6, "temperature": 5.0}
    told = [sample(finished, **asked | other) for other in ({}, {"draw": 1}, {"draw": 0})]
    assert told[0] == told[2] != told[1]
    assert sample(finished, arm="growth_1.1", temperature=0.0) == sample(
        finished, arm="growth_1.1", seed=FIRST, temperature=0.0
    )
    assert {len(one) for one in told} == {6}
    assert set("".join(told)) <= set(experiment().subject.vocabulary.symbols)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({}, "--arm must be one of baseline, growth_2, standard, growth_1.1"),
        ({"arm": "standrad"}, "unknown arm 'standrad'; did you mean 'standard'?"),
        ({"arm": "functional"}, r"unknown arm 'functional' \(allowed: baseline, growth_2"),
        ({"arm": "growth_1.1", "seed": 8}, "--seed=8 was not trained: the run's seeds are 5 to 7"),
        ({"arm": "growth_1.1", "seed": 4}, "--seed=4 was not trained"),
        ({"arm": "growth_1.1", "seed": -1}, "--seed=-1 was not trained"),
    ],
    ids=str,
)
def test_a_network_that_was_not_trained_is_refused(finished, asked, sentence):
    with pytest.raises(run.Refused, match=sentence):
        sample(finished, **asked)


def copied(folder, tmp_path, settings=(), **changes):
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    content = json.loads((copy / "manifest.json").read_text()) | changes
    content["settings"] |= dict(settings)
    (copy / "manifest.json").write_text(json.dumps(content))
    return copy


def test_what_is_not_finished_or_was_lost_is_refused(finished, tmp_path):
    asked, last = {"arm": "growth_1.1", "seed": 7}, "0000000007-0000002"
    with pytest.raises(run.Refused, match="is not finished: the same command resumes it"):
        sample(copied(finished, tmp_path / "begun", finished=None), **asked)
    lost = copied(finished, tmp_path / "lost")
    (lost / "results" / f"{last}.parquet").unlink()
    with pytest.raises(run.Refused, match=r"has no trained network of seed 7, only .* step 2"):
        sample(lost, **asked)
    sample(lost, arm="growth_1.1", seed=6)
    marked = copied(finished, tmp_path / "marked")
    checkpoints.mark(marked, last, STEPS)
    with pytest.raises(run.Refused, match=r"has no trained network of seed 7, only .* step 4"):
        sample(marked, **asked)
    damaged = copied(finished, tmp_path / "damaged")
    for path in (damaged / "checkpoints" / last).rglob("_METADATA"):
        path.write_bytes(b"?")
    with pytest.raises(run.Refused, match=r"0000002 is damaged.*mends it"):
        sample(damaged, **asked)


def test_what_is_no_such_run_is_refused(finished, tmp_path):
    asked = {"arm": "growth_1.1", "seed": 7}
    other = copied(finished, tmp_path / "other", name="apoptosis_fitness")
    sentence = "is a run of apoptosis_fitness, not of apoptosis_train or apoptosis_compare"
    with pytest.raises(run.Refused, match=sentence):
        sample(other, **asked)
    wider = copied(finished, tmp_path / "wider", {"ffn": 13})
    with pytest.raises(run.Refused, match=r"of another config: .*mlp.* is \(.*12.*, not \(.*13"):
        sample(wider, **asked)
    fewer = copied(finished, tmp_path / "fewer", {"arms": ["baseline", "growth_1.1"]})
    with pytest.raises(run.Refused, match=r"of another config: .* is \(2, .*not \(1, "):
        sample(fewer, **asked)
    path = copied(finished, tmp_path / "diverged") / "checkpoints" / "0000000007-0000002"
    tree = storage.load_tree(path)
    tree["params"][0]["head"]["kernel"][1, 0, 0, 0] = np.nan
    storage.save_tree(path, tree)
    with pytest.raises(run.Refused, match="this network diverged"):
        sample(path.parents[1], arm="standard", seed=7)
    sample(path.parents[1], arm="baseline", seed=7)


def test_the_command_line(finished):
    given = [f"--checkpoint={finished}", "--cache=", "--prompt=a", "--length=4"]
    fine, near, draw = commands.forked(
        "apoptosis_sample",
        [
            commands.Line([*given, "--arm=growth_1.1", "--seed=7", "--temperature=0"]),
            commands.Line([*given, "--arm=grwoth_1.1"]),
            commands.Line([*given, "--draw=-1"]),
        ],
    )
    assert fine.code == 0, fine.err
    written = fine.out.removesuffix(f"\n{finished}\n")
    assert written[0] == "a"
    assert len(written) == 5
    assert (near.code, draw.code) == (2, 2)
    assert near.err.startswith(
        "apoptosis_sample: --arm: unknown arm 'grwoth_1.1'; did you mean 'growth_1.1'"
    )
    assert draw.err == "apoptosis_sample: draw must lie in [0, 2**32), got -1\n"
