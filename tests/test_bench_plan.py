"""The plan's bench charges the NumPy loop for what ours trains: donors too, on as many points."""

import numpy as np
import pytest

from elements import element
from experiments import bench_plan
from experiments.bench_plan import BenchPlan
from experiments.elements_population import Arm, Population

DEEP = element.parse("tan-3x4")
POPULATION = Population(
    (Arm(DEEP), Arm(DEEP, bottom=2, frozen=2), Arm(DEEP, bottom=2, frozen=2, trained=False)),
    ("moons", "xor"),
    trials=2,
    epochs=3,
    record_every=3,
    samples=20,
    held_back=20,
    tests=4,
)


@pytest.mark.parametrize(("arm", "widths"), [(0, [3]), (1, [2, 3]), (2, [3])])
def test_a_trained_donor_is_a_life_of_its_own(arm, widths):
    assert [e.depth for e in bench_plan.lives(POPULATION.arms[arm])] == widths


def test_the_loop_sees_the_points_that_are_learnt_from():
    made = bench_plan.loops(POPULATION, 3, 2)
    assert [[one.advance() for one in life] for life in made] == [[2], [2, 2], [2]]
    before = made[0][0].params()
    assert before["params"]["hidden_2"]["kernel"].shape == (4, 4)


def test_both_are_charged_per_thousand_networks():
    bench = BenchPlan(phases=(3,), trials=1, arms=3, loop_epochs=1, repeats=2)
    found = bench_plan.measure(bench, POPULATION)
    assert found["networks"] == POPULATION.size
    assert found["programs"] == 1
    assert len(found["ours"]) == len(found["loop"]) == 2
    assert min(*found["ours"], *found["loop"]) > 0
    cells = bench_plan.row("phase 8", found | {"ours": [1.0, 2.0], "loop": [20.0, 20.0]})
    assert cells[:3] == ["phase 8", "12", "1"]
    assert cells[-4:] == ["1.5", "20", "15", "10–20"]


def test_an_even_spread_of_arms_is_sampled():
    arms = tuple(Arm(DEEP, member=m) for m in range(10))
    config = Population(arms, ("xor",), trials=1, samples=20, tests=4)
    assert len(bench_plan.loops(config, 4, 1)) == 4
    assert len(bench_plan.loops(config, 99, 1)) == 10


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        BenchPlan(repeats=0)
    assert np.sum([p.size for p in BenchPlan(trials=1).populations.values()]) == 1600
