"""The bench of ALEN: that its programs do what is timed, and that it judges as the targets say."""

import dataclasses

import jax
import numpy as np
import pytest

from alen import presets
from experiments import bench_alen, bench_alen_work
from experiments.bench_alen import ANSWER, MANY, ONE, TRAINING, VERIFIED
from experiments.bench_elements import Spread
from experiments.shell import cli, run, storage

SIZES = presets.PRESETS
SHAPE = presets.Architecture(8, 2, 8, 2, 1, 8, 8, 128)
BENCH = {"sizes": ("tiny",), "batch": 4, "questions": 4, "repeats": 2, "seconds": 1e-6}


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "PRESETS", (presets.Preset("tiny", SHAPE, 1e-3, 4),))
        patch.setattr(bench_alen, "matmul_rate", lambda: 1.0)
        yield bench_alen.BenchAlen(**BENCH)


@pytest.fixture(scope="module")
def ready(bench):
    ready, absent = bench_alen.prepare(bench, bench.subject("tiny"))
    assert absent == {}
    return ready


def test_the_bench_runs(bench, ready, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench_alen, "prepare", lambda *_: (ready, {"another": "does not fit"}))
    folder = bench_alen.main(bench, cli.Options(out=str(tmp_path)))
    content = storage.read_json(folder / "bench.json")
    assert set(content["sizes"]["tiny"]) == {TRAINING, *bench_alen.KINDS}
    own = content["sizes"]["tiny"][TRAINING]
    rate, length = own["examples_per_second"][0], 9 + 2
    assert own["tokens_per_second"][0] == pytest.approx(rate * length)
    assert own["share_of_peak"][0] > 0
    assert all(len(taken) == 2 for taken in content["samples"]["tiny"].values())
    assert content["sizes"]["tiny"][f"{VERIFIED}, {ONE}"]["batch"] == 1
    assert own["gigabytes"] > 0
    told = capsys.readouterr().out
    assert "does not fit" in told
    assert "none" in told  # there are no targets for tiny
    with pytest.raises(run.Refused, match="no experiment is kept"):
        bench_alen.main(bench, cli.Options(out=str(tmp_path), export_json="json"))


def test_as_many_steps_as_asked_for_are_taken(ready):
    assert ready[TRAINING].work.run(3) == 3
    assert ready[f"{ANSWER}, {MANY}"].work.run(2) == 2


def test_half_the_batch_is_tried_where_memory_does_not_suffice():
    tried = []

    def make(batch):
        tried.append(batch)
        if batch > 3:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return bench_alen_work.Work(lambda calls: calls, batch, 0, 1)

    assert bench_alen_work.fitting(make, 16).batch == 2
    assert tried == [16, 8, 4, 2]

    def never(batch):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    assert bench_alen_work.fitting(never, 4) == "does not fit into memory"

    def broken(batch):
        raise jax.errors.JaxRuntimeError("INTERNAL: broken")

    with pytest.raises(jax.errors.JaxRuntimeError, match="broken"):
        bench_alen_work.fitting(broken, 4)


def result(rate, seconds, tokens=0.0):
    one = lambda value: Spread(value, value, value)
    return {
        TRAINING: {"examples_per_second": one(rate), "tokens_per_second": one(tokens)},
        f"{VERIFIED}, {ONE}": {"wall": one(seconds)},
        f"{VERIFIED}, {MANY}": {"examples_per_second": one(rate)},
    }


def test_targets_are_judged_by_platform():
    small = {"small": result(310, 0.021), "tiny": result(1, 1)}
    said = [verdict[0] for verdict in bench_alen.verdicts(small, "cpu")]
    assert said == ["met", "missed"]
    found = bench_alen.verdicts({"large": result(2_000, 1, 3.9e5)}, "gpu")
    assert [(v[0], v[3]) for v in found] == [("missed", "≥ 400,000"), ("met", "≥ 2,000")]
    assert np.isclose(found[0][2], 3.9e5)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
        ({"seconds": 0.0}, "seconds must be positive"),
        ({"sizes": ("huge",)}, "size must be one of"),
        ({"task": "modularr"}, "did you mean 'modular'"),
        ({"compute": "int8"}, "compute must be one of"),
    ],
    ids=str,
)
def test_what_cannot_be_run_is_refused(bench, flags, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(bench, **flags)


def test_defaults_follow_the_platform(monkeypatch):
    monkeypatch.setattr(presets, "PRESETS", SIZES)
    bare = bench_alen.BenchAlen()
    assert bare.resolved("cpu").sizes == ("tiny", "small")
    assert bare.resolved("gpu").sizes == presets.NAMES
    assert bare.resolved("gpu").compute == "bfloat16"
