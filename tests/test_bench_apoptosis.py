"""The bench of the transformer: that its arms do the same work, and that it judges by ratios."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from apoptosis import neurons, presets, recipes, transformer
from experiments import bench_apoptosis, bench_apoptosis_events, bench_apoptosis_torch
from experiments.apoptosis_training import Trainer
from experiments.bench_apoptosis import EVIDENCE, OURS, PART, PLAIN, RECORDED, TORCH, Sample
from experiments.shell import cli, run, storage

# Post-LN, untied and clipped, as the prototype; one layer, to compile less.
SMALL = presets.Preset(
    "tiny",
    transformer.Architecture(8, 2, 1, 16, 8, norm="post"),
    presets.Training(10, 4, 3e-3, weight_decay=0.1, clip=0.1),
)
BENCH = {"preset": "tiny", "recipes": ("growth",), "repeats": 2, "steps": 2}


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "PRESETS", (SMALL,))
        yield bench_apoptosis.BenchApoptosis(**BENCH, torch=False)


@pytest.fixture(scope="module")
def trainer(bench):
    return Trainer(bench.train.subject(), jax.local_devices()[:1])


@pytest.fixture(scope="module")
def ready(bench, trainer):
    steps, told = bench_apoptosis.prepare(bench, trainer)
    assert told == "not asked for"
    return steps, bench_apoptosis.prepare_events(bench, trainer, steps[RECORDED])


def test_watching_changes_nothing_of_what_is_trained(ready):
    steps, _ = ready
    assert len(steps[OURS].losses) == len(steps[EVIDENCE].losses)
    for name in (EVIDENCE, RECORDED, PART):
        np.testing.assert_allclose(steps[name].losses, steps[OURS].losses, rtol=1e-5)
    known = steps[EVIDENCE].known["block_0/mlp"]
    assert (known.age == len(steps[EVIDENCE].losses)).all()
    assert known.outputs.shape == (0, 16)
    part = steps[PART].known["block_0/mlp"]  # of one sequence in four
    assert (part.average("square") != known.average("square")).all()
    np.testing.assert_allclose(part.average("taylor"), known.average("taylor"), rtol=1e-4)
    assert steps[RECORDED].known["block_0/mlp"].outputs.shape == (32, 16)
    assert steps[RECORDED].known["block_0/mlp"].inputs.shape == (32, 8)


def test_the_plain_loop_trains_the_same_network(trainer, ready):
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    plain = ready[0][PLAIN]
    assert count(plain.params) == count(trainer.start().params)
    uniform = np.log(len(trainer.subject.vocabulary))
    assert abs(plain.losses[0] - uniform) < 1  # nn.Dense's own initial head is larger than ours


def test_an_event_renews_whom_it_should(ready):
    _, events = ready
    assert {name: own.born for name, own in events.items()} == {"growth": 1}  # of 16 units
    assert events["growth"].known["block_0/mlp"].outputs.shape == (32, 24)


def test_every_recipe_has_its_event():
    made = bench_apoptosis_events.EVENTS
    assert {own.recipe for own in made.values()} == set(recipes.RECIPES) - {"none"}
    groups = neurons.transformer(1)
    for name, own in made.items():
        transform = bench_apoptosis_events.built(own, groups, lambda key: {})
        assert callable(transform.update), name


def test_the_bench_runs(bench, ready, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench_apoptosis, "prepare", lambda *_: (ready[0], "not asked for"))
    monkeypatch.setattr(bench_apoptosis, "prepare_events", lambda *_: ready[1])
    folder = bench_apoptosis.main(bench, cli.Options(out=str(tmp_path)))
    content = storage.read_json(folder / "bench.json")
    assert set(content["samples"]) == {OURS, EVIDENCE, RECORDED, PART, PLAIN, "growth"}
    assert all(len(taken) == 2 for taken in content["samples"].values())
    assert content["samples"][OURS][0][0] == 2
    assert content["costs"][OURS]["cpu / ours"] == [1, 1, 1]
    assert content["speed"]["tokens_per_second"] > 0
    told = capsys.readouterr().out
    assert "PyTorch loop" in told
    assert "not asked for" in told
    assert "share of the peak" in told
    with pytest.raises(run.Refused, match="no experiment is kept"):
        bench_apoptosis.main(bench, cli.Options(out=str(tmp_path), export_json="json"))


def taken(*seconds):
    return [Sample(1, s, 2 * s) for s in seconds]


def test_costs_are_ratios_within_a_repeat_and_targets_are_judged_by_them():
    samples = {
        OURS: taken(1, 2, 10),
        EVIDENCE: taken(1.02, 2.02, 10.5),
        RECORDED: taken(1.1, 2.2, 10),
        TORCH: taken(2, 4, 5),
        "random": taken(3, 6, 80),
    }
    costs = bench_apoptosis.summarise(samples)
    assert costs["random"]["cpu / ours"] == (3, 3, 8)
    assert np.allclose(costs[EVIDENCE]["wall / ours"], (1.02, 1.01, 1.05))
    found = {what: (said, value) for said, what, value, _ in bench_apoptosis.verdicts(costs, "cpu")}
    assert found[f"{EVIDENCE}, in steps without"][0] == "met"
    assert found[f"{RECORDED}, in steps without"][0] == "missed"
    assert found["ours / PyTorch, CPU-seconds"] == ("met", 0.5)
    assert found["an event of random, in steps"] == ("met", 3)
    elsewhere = {what: said for said, what, *_ in bench_apoptosis.verdicts(costs, "gpu")}
    assert elsewhere["an event of random, in steps"] == "missed"
    assert "ours / PyTorch, CPU-seconds" not in elsewhere


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"recipes": ("prayer",)}, "recipes must be of random, .*, got 'prayer'"),
        ({"preset": "huge"}, "preset must be one of"),
        ({"watch": 5}, "watch must be at most the 4 sequences of a batch, got 5"),
        ({"record": 33}, "record must be at most the 32 tokens of a batch, got 33"),
    ],
    ids=str,
)
def test_what_cannot_be_run_is_refused(bench, flags, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(bench, **flags)


# PyTorch


def test_pytorch_takes_the_step_that_we_take(trainer):
    pytest.importorskip("torch")
    model, params = trainer.model, jax.device_get(trainer.start().params)
    loop = bench_apoptosis_torch.TorchLoop(trainer.subject, params, 2)
    batches = bench_apoptosis_torch.batches(trainer.subject)
    loop.advance()

    @jax.jit
    def step(params, memory, tokens, targets):
        loss = lambda p: transformer.loss(model, jax.random.key(0), p, tokens, targets)
        value, gradient = jax.value_and_grad(loss)(params)
        updates, memory = trainer.optimiser.update(gradient, memory, params)
        return optax.apply_updates(params, updates), memory, value

    memory, losses = trainer.optimiser.init(params), []
    for _ in range(2):
        params, memory, loss = step(params, memory, *next(batches))
        losses.append(float(loss))
    np.testing.assert_allclose(loop.losses, losses, rtol=1e-5)
    ours = bench_apoptosis_torch.flat(jax.device_get(params))
    theirs = [own.detach().cpu().numpy() for own in loop.module.parameters()]
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(own, other, atol=3e-5)  # Adam's ratio of tiny gradients


def test_without_pytorch_it_says_so(monkeypatch):
    monkeypatch.setattr(bench_apoptosis_torch.importlib.util, "find_spec", lambda name: None)
    assert bench_apoptosis_torch.available("cpu") == "PyTorch is not installed"
