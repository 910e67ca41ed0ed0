"""Composition and transfer: the grid, what is made of known truths, and one whole run."""

import collections
import dataclasses
import json

import jax
import numpy as np
import pytest

from elements import composition, element, learner, network
from experiments import (
    elements_composition,
    elements_ensembles,
    elements_phase8,
    elements_study,
    elements_transfer,
    elements_votes,
)
from experiments.elements_phase8 import Phase8
from experiments.elements_population import Arm
from experiments.lab import statistics

DATASETS = ("xor", "spirals", "moons", "circles")
TINY = Phase8(
    activations=("tanh",),
    depths=(2,),
    datasets=("xor", "moons"),
    bottoms=(1,),
    tops=(1,),
    members=3,
    trials=2,
    epochs=20,
    record_every=20,
    samples=40,
    tests=50,
)


# The grid


def test_the_study_has_all_arms_and_controls_of_every_activation():
    population = Phase8().population
    assert len(set(population.arms)) == len(population.arms) == 4 * 27
    assert population.counts(population.arms[0]) == {
        "train": 400,
        "validation": 100,
        "flipped": 0,
        "test": 1000,
    }
    of = [arm for arm in population.arms if arm.element.activation == "sine"]
    depths = collections.Counter((a.bottom, a.element.depth, a.trained) for a in of if a.frozen)
    stacked = {(b, b + t, trained): 1 for b in (1, 3) for t in (1, 3) for trained in (True, False)}
    assert depths == stacked | {(3, 3, True): 4, (3, 3, False): 1}
    scratch = [a.element.depth for a in of if not (a.bottom or a.member)]
    assert sorted(scratch) == [2, 3, 4, 6]
    transfer = {(a.source, a.frozen) for a in of if a.source}
    assert transfer == {(source, frozen) for source in DATASETS for frozen in (0, 3)}
    assert sorted(a.member for a in of if a.element.depth == 3 and not a.bottom) == [*range(7)]


def test_parts_can_be_run_alone_and_share_what_they_need():
    sizes = {
        part: len(Phase8(activations=("relu",), parts=(part,)).population.arms)
        for part in elements_phase8.PARTS
    }
    assert sizes == {"stacking": 11, "transfer": 10, "ensembles": 7}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"parts": ("stack",)}, "unknown part 'stack'; did you mean 'stacking'"),
        ({"parts": ()}, "--parts names nothing"),
        ({"bottoms": ()}, "--bottoms names nothing"),
        ({"tops": (1, 1)}, "tops names 1 twice"),
        ({"bottoms": (0, 1)}, "bottoms takes numbers of layers from 1 on, got 0"),
        ({"members": 2}, "members of at least 3, got 2"),
        ({"held_back": 0}, "held_back=0 is no point of 500"),
        ({"held_back": 100}, r"held_back is a percentage in \[0, 100\), got 100"),
        ({"activations": ("relu", "relu")}, "activations names 'relu' twice"),
        ({"datasets": ("xor", "xor")}, "datasets names 'xor' twice"),
    ],
)
def test_what_cannot_be_is_refused_in_words(flags, message):
    with pytest.raises(ValueError, match=message):
        Phase8(**flags)


# Made-up truths


def made(study, effect, trials=8, spread=0.002):
    """The arms of a study, of an accuracy 0.7 + `effect(arm, dataset)` + little noise."""
    population = dataclasses.replace(study, trials=trials).population
    means = np.array([[0.7 + effect(a, d) for d in population.datasets] for a in population.arms])
    noise = np.random.default_rng(0).normal(0, spread, (*means.shape, trials))
    return elements_composition.Arms(population, means[..., None] + noise)


def answers(parts):
    return {found.headline: found.verdict for found in parts["findings"]}


def sentence(parts, headline):
    (found,) = (found for found in parts["findings"] if found.headline == headline)
    return found.sentence


def stacked(arm, _):
    if not 0 < arm.bottom < arm.element.depth:
        return 0
    return 0.05 if arm.trained else -0.1


def test_stacking_is_told_against_both_controls():
    study = Phase8(activations=("relu", "tanh"), parts=("stacking",))
    parts = elements_composition.stacking(made(study, stacked))
    assert set(answers(parts).values()) == {"yes"}
    assert "+15." in sentence(parts, "Does a frozen trained bottom beat a random frozen one?")
    assert "+5." in sentence(parts, "Does a frozen trained bottom beat training from scratch?")
    (table,) = parts["tables"].values()
    assert len(table[1]) == 8
    parts = elements_composition.stacking(made(study, lambda arm, d: -abs(stacked(arm, d))))
    assert list(answers(parts).values()) == ["yes", "no, lower"]
    parts = elements_composition.stacking(made(study, lambda *_: 0))
    assert set(answers(parts).values()) == {"no, equivalent"}


def transferred(arm, target):
    """Harm where frozen, none where fine-tuned, but from moons to circles; help at home."""
    if not arm.bottom:
        return 0
    if not arm.trained:
        return -0.2
    if arm.source == target:
        return 0.03
    if (arm.source, target) == ("moons", "circles"):
        return 0.1
    return -0.1 if arm.frozen else 0


def test_transfer_is_told_by_pair_direction_and_control():
    parts = elements_transfer.transfer(made(Phase8(parts=("transfer",)), transferred))
    frozen, tuned = elements_transfer.MODES.values()
    assert answers(parts) == {
        f"Does transfer help, {frozen}?": "no, lower",
        f"Does transfer help, {tuned}?": "no, equivalent",  # one pair of twelve: 0.8 points
        f"Which pairs gain and which lose, {frozen}?": "positive and negative",
        f"Which pairs gain and which lose, {tuned}?": "positive",
        f"Is transfer the same in both directions, {frozen}?": "no",
        f"Is transfer the same in both directions, {tuned}?": "no",
        "Is a bottom from another dataset better than a random one?": "yes",
        "Is fine-tuning better than freezing?": "yes",
        "Does the positive control of transfer hold?": "holds",
        "Does other data help more than as many further epochs on the target's own?": "no, lower",
    }
    told = sentence(parts, f"Which pairs gain and which lose, {frozen}?")
    assert "1 higher, 11 lower" in told
    assert "Positive transfer: 1 (moons → circles +10." in told
    told = sentence(parts, f"Is transfer the same in both directions, {frozen}?")
    assert "in 1 of 6 pairs" in told
    assert "moons → circles over circles → moons by +20." in told
    (table,) = parts["tables"].values()
    rows = [row for row in table[1] if row[:2] == ["all", "frozen"]]
    assert [row[2] for row in rows if row[-1] == "higher"] == [
        "moons → circles",
        *(f"{name} → {name}" for name in DATASETS),
    ]
    assert len(table[1]) == 5 * 2 * 16


def test_the_positive_control_can_fail():
    arms = made(Phase8(parts=("transfer",)), lambda arm, _: -0.1 * bool(arm.bottom))
    assert (
        answers(elements_transfer.transfer(arms))["Does the positive control of transfer hold?"]
        == "not shown"
    )


@pytest.mark.parametrize("study", [Phase8(datasets=("xor",)), Phase8(activations=("sine",))])
def test_one_trial_of_one_of_an_axis_says_only_what_can_be_said(study):
    arms = made(study, lambda *_: 0, trials=1)
    parts = elements_transfer.transfer(arms)
    one = len(study.datasets) == 1
    assert len(parts["findings"]) == (1 if one else 10)
    assert set(answers(parts).values()) <= {"undecided", "none shown", "not shown"}
    assert len(elements_composition.stacking(arms)["findings"]) == 2
    assert len(elements_composition.table(arms)["All arms"][1]) == len(arms.all)


def judged(vote=0.0, mean=0.0, weighted=0.0, chosen=0.0, larger=0.0, trials=8):
    """Ensembles that gain so much over a mean member of 0.8."""
    noise = np.random.default_rng(1).normal(0, 0.001, (3, 2, 2, 3, trials))
    sizes = larger * np.arange(2)[:, None, None, None]
    gains = np.array([vote, mean, weighted])[:, None, None, None, None]
    member = np.full((2, 2, 3, trials), 0.8)
    together = member + gains + sizes + noise
    disagreement = 0.2 + together[0] - member
    rest = ["relu", "sine"], ["xor", "moons", "circles"], [3, 5]
    return elements_votes.Ensembles(*rest, together, member, member + chosen, disagreement)


QUESTIONS = (
    "Do ensembles beat their mean member?",
    "Do ensembles beat the member chosen on validation data?",
    "Does weighting beat voting?",
    "Are larger ensembles better?",
    "Do ensembles gain more where members disagree more?",
)


@pytest.mark.parametrize(
    ("truth", "expected"),
    [
        ({}, ["no, equivalent"] * 4),
        ({"vote": 0.05}, ["partly", "partly", "no, lower", "no, equivalent"]),
        (
            {"vote": 0.05, "mean": 0.05, "weighted": 0.1, "chosen": 0.2, "larger": 0.04},
            ["yes", "no, lower", "yes", "yes"],
        ),
    ],
)
def test_ensembles_are_told_against_the_mean_and_the_chosen_member(truth, expected):
    found = answers(elements_ensembles.ensembles(judged(**truth)))
    assert [found[question] for question in QUESTIONS] == [*expected, "yes"]


def test_correlation_is_pearsons_and_nought_where_nothing_varies():
    x, y = np.random.default_rng(2).normal(size=(2, 4, 9))
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(elements_ensembles.correlation(x, y), expected, rtol=1e-12)
    assert elements_ensembles.correlation(x, np.ones((4, 9))).tolist() == [0] * 4


def test_the_chosen_member_is_best_on_validation_data():
    accuracy = np.array([[0.8, 0.9, 0.9, 0.5], [0.9, 0.9, 0.9, 0.5], [0.7, 0.9, 0.6, 0.5]])
    loss = np.array([[0.1, 0.3, np.nan, 0.2], [0.9, 0.2, 0.4, 0.2], [0.0, 0.4, 0.1, 0.2]])
    assert elements_votes.chosen(accuracy, loss).tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["higher", "higher"], "yes"),
        (["higher", "undecided"], "partly"),
        (["higher", "lower"], "higher and lower"),
        (["lower", "undecided"], "no, lower"),
        (["equivalent", "equivalent"], "no, equivalent"),
        (["equivalent", "undecided"], "undecided"),
    ],
)
def test_an_answer_is_what_all_tests_say(verdicts, expected):
    nothing = statistics.Estimate(0, 0, 0, 1)
    tests = [elements_composition.elements_paired.Test(nothing, 1, 1, v) for v in verdicts]
    assert elements_composition.answer(tests) == expected


# A whole run


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """A run of TINY, with the donor of its stacks as a network of its own beside it."""
    population = TINY.population
    donor = Arm(element.square("tanh", 1, 8), member=1)
    population = dataclasses.replace(population, arms=(*population.arms, donor))
    out = tmp_path_factory.mktemp("phase8")
    return elements_study.report(elements_phase8.STUDY, population, out)


def networks(outcome, **factors):
    """Numbers `[S T]` of the networks of a tanh arm."""
    one = element.square("tanh", factors.pop("depth", 2), 8)
    place = outcome.population.arms.index(Arm(one, **factors))
    cells = outcome.population.size // len(outcome.population.arms)
    return place * cells + np.arange(cells)


def layers(outcome, numbers):
    """Parameters of the hidden layers and the output, each `[M, …]`, of networks of one shape."""
    widths = outcome.trained.arm(int(numbers[0])).element.widths
    output, *hidden = network.in_order(
        network.unflatten(widths, outcome.trained.params(list(numbers)))
    )
    flat = lambda own: np.concatenate([np.reshape(a, (len(numbers), -1)) for a in own.values()], 1)
    return [*map(flat, hidden), flat(output)]


def test_frozen_bottoms_are_those_of_donors_that_were_trained_alone(outcome):
    donor = layers(outcome, networks(outcome, depth=1, member=1))
    bottom = layers(outcome, networks(outcome, bottom=1, frozen=1))
    np.testing.assert_allclose(bottom[0], donor[0], rtol=1e-4, atol=1e-6)
    # From xor to both targets: the donor of either is the network of xor itself.
    donor = layers(outcome, networks(outcome, member=1)[:2])
    taken = layers(outcome, networks(outcome, bottom=2, frozen=2, source="xor"))
    for k in range(2):
        np.testing.assert_allclose(taken[k], np.tile(donor[k], (2, 1)), rtol=1e-4, atol=1e-6)
        tuned = layers(outcome, networks(outcome, bottom=2, source="xor"))[k]
        assert np.abs(tuned - taken[k]).max(1).min() > 1e-3
    assert np.abs(taken[2][:2] - donor[2]).max(1).min() > 1e-3  # the output is the target's own


def test_random_bottoms_are_initial_weights(outcome):
    numbers = networks(outcome, bottom=1, frozen=1, trained=False)
    for number, found in zip(numbers, layers(outcome, numbers)[0], strict=True):
        draws = outcome.trained.trial(int(networks(outcome, member=1)[number - numbers[0]]))
        kernel, bias = jax.tree.leaves(network.initial((8, 8), "tanh", draws.normals))[:2][::-1]
        np.testing.assert_allclose(found, [*np.ravel(kernel), *np.ravel(bias)], rtol=1e-6)


def test_ensembles_are_judged_by_their_members_answers_on_test_points(outcome):
    found = elements_votes.judge(outcome)
    assert (found.sizes, found.together.shape) == ([3], (3, 1, 1, 2, 2))
    numbers = np.stack([networks(outcome, member=m) for m in range(3)])
    accuracy = outcome.rows["validation_accuracy"][numbers]
    for cell in range(4):
        test = outcome.trained.trial(int(numbers[0, cell])).test
        logits = outcome.trained.logits(list(numbers[:, cell]), test.x)
        own = [learner.accuracy(one, learner.all_of(test)) for one in logits]
        np.testing.assert_allclose(outcome.rows["test_accuracy"][numbers[:, cell]], own, atol=1e-6)
        s, t = divmod(cell, 2)
        margins = (
            composition.vote(logits),
            composition.mean(logits),
            composition.weighted(logits, accuracy[:, cell], 8),
        )
        expected = [np.mean((margin > 0) == (test.y > 0)) for margin in margins]
        np.testing.assert_allclose(found.together[:, 0, 0, s, t], expected, atol=1e-9)
        assert found.member[0, 0, s, t] == pytest.approx(np.mean(own), abs=1e-6)
        differ = composition.disagreement(logits)
        assert found.disagreement[0, 0, s, t] == pytest.approx(float(differ), abs=1e-6)


def test_the_data_of_all_trials_are_those_of_each(outcome):
    numbers = networks(outcome, member=2)
    together = outcome.trained.trials(outcome.trained.cell(int(numbers[0])).arm)
    for s, t in np.ndindex(2, 2):
        alone = outcome.trained.trial(int(numbers[2 * s + t]))
        at = lambda a, s=s, t=t: a[s, t]
        jax.tree.map(np.testing.assert_array_equal, jax.tree.map(at, together), alone)


def test_the_report_answers_every_question(outcome):
    found = json.loads((outcome.folder / "findings.json").read_text())
    headlines = [headline for headline, _ in found["findings"]]
    assert set(QUESTIONS[:3]) < set(headlines)
    assert len(headlines) == len(set(headlines)) == 2 + 10 + 3 + 1
    assert set(found["verdicts"]) == set(headlines) - {"Failed networks"}
    for figure in found["figures"]:
        assert (outcome.folder / f"{figure['stem']}.png").stat().st_size > 5000
    page = (outcome.folder / "report.html").read_text()
    for table in ("All arms", "Transfer: all pairs", "Stacking: every", "Ensembles"):
        assert table in page
