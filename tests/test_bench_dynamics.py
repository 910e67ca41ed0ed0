"""The cost of watching is a ratio within a repeat, of the same networks."""

import dataclasses

import pytest

from experiments import bench_dynamics, bench_elements
from experiments.elements_phase6 import Phase6
from experiments.shell import cli, run, storage


def samples(**seconds):
    return {
        name: [bench_elements.Sample(1000, s, s) for s in each] for name, each in seconds.items()
    }


def test_the_cost_is_the_ratio_within_each_repeat():
    taken = samples(without=[1, 2, 4], gradients=[1, 2, 4], weights=[1, 2, 4], all=[1.5, 2, 10])
    ratios = bench_dynamics.summarise(taken)
    assert ratios["all"] == (1.5, 1, 2.5)
    assert ratios["gradients"] == (1, 1, 1)
    assert "met: recording all costs at most 1.6" in bench_dynamics.report(taken, ratios)
    taken["all"] = samples(all=[1.7, 3.4, 6.8])["all"]
    assert "missed" in bench_dynamics.report(taken, bench_dynamics.summarise(taken))


def test_the_bench_watches_the_same_networks_in_four_ways():
    ways = bench_dynamics.BenchDynamics(trials=2).populations
    plain = ways[bench_dynamics.PLAIN]
    assert plain == dataclasses.replace(
        Phase6(trials=2).population, record_gradients=False, record_weight_stats=False
    )
    assert len({(w.record_gradients, w.record_weight_stats) for w in ways.values()}) == 4
    assert all(
        dataclasses.replace(w, record_gradients=False, record_weight_stats=False) == plain
        for w in ways.values()
    )
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        bench_dynamics.BenchDynamics(repeats=0)


def test_the_bench_runs(tmp_path, capsys, monkeypatch):
    two = {name: bench_dynamics.RECORDS[name] for name in ("without", "all")}  # to compile less
    monkeypatch.setattr(bench_dynamics, "RECORDS", two)
    bench = bench_dynamics.BenchDynamics(
        ("relu",), (1,), trials=1, epochs=2, record_every=1, repeats=1
    )
    folder = bench_dynamics.main(bench, cli.Options(out=str(tmp_path)))
    content = storage.read_json(folder / "bench.json")
    assert [len(s) for s in content["samples"].values()] == [1] * 2
    assert content["samples"]["all"][0][0] == 4 * 2
    assert "times without" in capsys.readouterr().out
    with pytest.raises(run.Refused, match="no experiment is kept"):
        bench_dynamics.main(bench, cli.Options(out=str(tmp_path), export_json="json"))
