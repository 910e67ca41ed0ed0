"""Architectures are judged by themselves, families have the size they claim, fronts are fronts."""

import jax
import numpy as np
import pytest

from elements import element, network
from elements.element import Element
from experiments import (
    elements_architecture,
    elements_architecture_space,
    elements_phase5,
    elements_study,
)
from experiments.elements_phase5 import Phase5
from experiments.shell import storage
from tests.test_elements_phase4 import Made, sentence, verdicts

ISSUED = ["32_8_32", "16_4_16", "8_2_8", "4_8_16", "16_8_4", "4_8_16_8_4"]
ISSUED += ["64", "32", "12_12", "8_8_8", "8_8_8_8_8"]
SMALL = {"datasets": ("xor", "moons"), "trials": 8}
FAMILIES = {200: [elements_phase5.matched(200, depth).widths for depth in range(1, 9)]}


def truth(e: Element) -> float:
    """Of the family of 200: deep is better for relu, shallow for sine, the middle for tanh, and
    leaky_relu does not care; bottlenecks lose 5 points, widening gains 2."""
    bottleneck = e.depth == 3 and e.widths[1] < e.widths[0] == e.widths[2]
    slope = {
        "relu": 0.02 * e.depth,
        "sine": -0.02 * e.depth,
        "tanh": -0.01 * (e.depth - 4.5) ** 2,
        "leaky_relu": 0,
    }[e.activation]
    return 0.75 + slope - 0.05 * bottleneck + 0.02 * (e.widths == (4, 8, 16))


def analyse(study, made=None, families=FAMILIES, **options):
    made = made or Made(study, truth, **options)
    return elements_architecture.analyse(made, families)


@pytest.fixture(scope="module")
def parts():
    return analyse(Phase5(families=(200,), **SMALL))


# The population


@pytest.mark.parametrize("target", [150, 200, 203, 1000])
@pytest.mark.parametrize("depth", [1, 2, 5, 8])
def test_the_matched_width_is_the_closest_of_all(target, depth):
    found = elements_phase5.matched(target, depth)
    every = [element.square("relu", depth, width) for width in range(1, 300)]
    away = [abs(e.parameters - target) for e in every]
    assert found == every[int(np.argmin(away))]  # of two equally close the narrower


def test_two_widths_equally_close_give_the_narrower():
    assert elements_phase5.matched(203, 1).width == 50  # 201 parameters; 51 has 205


@pytest.mark.parametrize(("target", "depth"), [(200, 64), (3, 1), (0, 1), (-5, 2)])
def test_what_cannot_be_matched_is_refused(target, depth):
    with pytest.raises(ValueError, match=str(target)):
        elements_phase5.matched(target, depth)


@pytest.mark.parametrize(
    ("shape", "widths", "skip"),
    [
        ("64", (64,), False),
        ("32_8_32", (32, 8, 32), False),
        ("3x8", (8, 8, 8), False),
        ("64-skip", (64,), True),
        ("8_8-skip", (8, 8), True),
    ],
)
def test_shapes_are_read(shape, widths, skip):
    assert elements_phase5.shaped(shape, "sine") == Element("sine", widths, skip)


@pytest.mark.parametrize("shape", ["", "a", "0", "8_", "8-skipped", "rel-3x8", "8 8", "-8", "²"])
def test_what_is_no_shape_is_refused(shape):
    with pytest.raises(ValueError, match="is not a shape"):
        Phase5(shapes=(shape,))


def test_the_default_holds_what_was_asked_for_and_all_once():
    study = Phase5()
    there = [(e.widths, e.skip) for e in study.architectures]
    assert {(elements_phase5.shaped(s).widths, False) for s in ISSUED} < set(there)
    assert len(there) == len(set(there)) == 28
    for target, spread in ((200, 32), (1000, 40)):
        members = elements_phase5.family_members((target,), range(1, 9))[target]
        assert [e.depth for e in members] == list(range(1, 9))
        assert {(e.widths, False) for e in members} < set(there)
        assert all(abs(e.parameters - target) < spread for e in members)
    assert study.population.size == 4 * 28 * 4 * 20


def test_an_architecture_named_twice_is_trained_once():
    study = Phase5(activations=("relu",), shapes=("12_12", "2x12", "64"), families=(200,))
    assert [e.symbol for e in study.population.elements].count("rel-2x12") == 1
    assert len(study.population.arms) == 2 + 7


def test_the_true_numbers_of_parameters_are_those_of_the_networks(parts):
    (header, rows, _) = parts["tables"]["Every architecture"]
    for row in rows[:28:3]:
        e = element.parse(row[0])
        make = lambda key, e=e: network.Network(e.widths).init(key, np.zeros((2, 1)), "relu")
        leaves = jax.tree.leaves(jax.eval_shape(make, jax.random.key(0)))
        assert row[header.index("parameters")] == str(sum(leaf.size for leaf in leaves))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"activations": ()}, "activations"),
        ({"shapes": (), "families": ()}, "shapes"),
        ({"activations": ("relu", "relu")}, "twice"),
        ({"datasets": ("xorr",)}, "xorr"),
    ],
)
def test_an_empty_or_wrong_space_is_refused(changes, named):
    with pytest.raises(ValueError, match=named):
        Phase5(**changes)


# Answers on made-up tables


def test_deep_or_shallow_is_what_was_put(parts):
    question = "At about 200 parameters, is deep or shallow better for {}?".format
    found = {a: verdicts(parts)[question(a)] for a in Phase5.activations}
    expected = {"relu": "deep", "sine": "shallow", "tanh": "in between", "leaky_relu": "equivalent"}
    assert found == expected
    assert "+2.0 [" in sentence(parts, question("relu"))  # points a layer
    assert "171 to 231 parameters" in sentence(parts, question("relu"))


def test_equivalence_is_of_both_ends_and_not_of_neighbours():
    """0.4 points a layer are nearly 3 points from one layer to eight."""
    study = Phase5(activations=("relu",), shapes=(), families=(200,), **SMALL)
    parts = analyse(study, Made(study, lambda e: 0.8 + 0.004 * e.depth, noise=0.001))
    question = "At about 200 parameters, is deep or shallow better for relu?"
    assert verdicts(parts)[question] == "deep"


def test_pairs_are_judged_as_they_were_put(parts):
    found = verdicts(parts)
    lower = ", ".join(f"{a} lower" for a in Phase5.activations)
    higher = ", ".join(f"{a} higher" for a in Phase5.activations)
    for first, second in (("8_2_8", "3x8"), ("8_2_8", "3x5"), ("16_4_16", "3x9")):
        assert found[f"What does the bottleneck {first} do, against {second}?"] == lower
    assert found["Is widening better than narrowing, 4_8_16 than 16_8_4?"] == higher
    told = found["What does the bottleneck 32_8_32 do, against 32?"]  # and two layers more
    assert told == "relu lower, sine lower, tanh higher, leaky_relu lower"


def test_the_best_architecture_is_the_best_one_with_its_rivals(parts):
    assert verdicts(parts)["Which architecture is best for relu?"] == "8x5"
    told = sentence(parts, "Which architecture is best for relu?")
    assert "of the other 19 architectures it is ahead of 19 and equivalent to 0" in told
    assert "rank 1 [1, 1]" in told
    told = sentence(parts, "Which architecture is best for leaky_relu?")
    assert "The first rank may also be that of" not in told
    assert told.startswith("4_8_16: ")


def test_the_front_is_what_nothing_cheaper_beats():
    """For sine a single layer is best, and a larger one no better: the front ends with 32."""
    study = Phase5(activations=("relu", "sine"), families=(200,), **SMALL)
    parts = analyse(study, noise=0)
    question = "Which architectures are on the Pareto front of {}?".format
    assert verdicts(parts)[question("sine")] == "surely 8_2_8, 3x5, 32"
    assert verdicts(parts)[question("relu")] == "surely 8_2_8, 3x5, 6x5, 7x5, 8x5"
    over_all = verdicts(parts)["Which activations make the Pareto front over all?"]
    assert over_all.startswith("surely relu")


def test_accuracy_per_parameter_is_above_chance_for_a_hundred_parameters():
    study = Phase5(activations=("relu",), shapes=("8_2_8", "8_8_8"), families=(), **SMALL)
    space = elements_architecture_space.Space(Made(study, lambda e: 0.8, noise=0), {})
    np.testing.assert_allclose(space.frugality.mean(-1), [[100 * 0.3 / 75, 100 * 0.3 / 177]])
    assert space.names == ["8_2_8", "3x8"]


def test_architectures_of_one_depth_and_width_are_never_pooled():
    """[8,2,8] and [8,8,8] agree in depth and in largest width, and in nothing else."""
    study = Phase5(activations=("relu",), shapes=("8_2_8", "8_8_8"), families=(), **SMALL)
    value = {(8, 2, 8): 0.6, (8, 8, 8): 0.9}
    parts = analyse(study, Made(study, lambda e: value[e.widths], noise=0), {})
    (header, rows, _) = parts["tables"]["Every architecture"]
    told = {row[0]: row[header.index("all")] for row in rows}
    assert told == {"rel-8_2_8": "60.0 [60.0, 60.0]", "rel-3x8": "90.0 [90.0, 90.0]"}


def test_more_parameters_bring_what_was_put():
    rise = lambda e: 0.5 + (0.03 * np.log2(e.parameters) if e.activation == "relu" else 0.2)
    shapes = ("8_2_8", "8_8_8", "32_8_32", "64")
    study = Phase5(activations=("relu", "tanh"), shapes=shapes, families=(), **SMALL)
    parts = analyse(study, Made(study, rise))
    question = "Do more parameters bring more accuracy?"
    assert verdicts(parts)[question] == "relu higher, tanh equivalent"
    assert "relu +3.0 [" in sentence(parts, question)


@pytest.mark.parametrize(
    "changes",
    [
        {"trials": 1},
        {"activations": ("tanh",), "shapes": ("8_2_8",), "families": ()},
        {"shapes": ("4_8_16", "16_8_4"), "families": (), "trials": 2},
        {"families": (200,), "family_depths": (1,), "shapes": ("8_8_8-skip",)},
        {"families": (200,), "family_depths": (1, 3), "shapes": (), "datasets": ("xor",)},
    ],
)
def test_any_part_of_the_space_can_be_reported(changes):
    study = Phase5(**{**SMALL, "activations": ("relu", "tanh")} | changes)
    made = elements_phase5.study(study.families, study.family_depths).analyse(Made(study, truth))
    found = verdicts(made)
    several = study.trials > 1 and len(study.architectures) > 1
    assert any("is best" in headline for headline in found) == several
    families = bool(study.families) and len(study.family_depths) > 1 and study.trials > 1
    assert any("deep or shallow" in headline for headline in found) == families
    assert "table" in made["figures"]
    assert not any("nan" in told.sentence for told in made["findings"])


# The whole of it


def test_a_small_run_leaves_a_whole_report(tmp_path):
    study = Phase5(
        activations=("tanh",),
        shapes=("4_2_4", "6"),
        families=(40,),
        family_depths=(1, 2),
        datasets=("xor", "moons"),
        **{"trials": 3, "epochs": 20, "record_every": 20, "samples": 16, "tests": 20},
    )
    own = elements_phase5.study(study.families, study.family_depths)
    found = elements_study.report(own, study.population, tmp_path)
    told = storage.read_json(found.folder / "findings.json")
    assert "At about 40 parameters, is deep or shallow better for tanh?" in told["verdicts"]
    stems = {figure["stem"] for figure in told["figures"]}
    expected = {"table", "front", "family_40"}
    expected |= {f"{kind}_{a}" for kind in ("front", "ranking") for a in study.activations}
    assert stems == expected
    assert all((found.folder / f"{stem}.png").stat().st_size > 0 for stem in stems)
    assert "About 40 parameters" in (found.folder / "report.html").read_text()
