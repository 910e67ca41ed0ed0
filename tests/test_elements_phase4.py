"""Depth limits are found where they were put, skips get what they deserve, and it runs whole."""

import jax
import numpy as np
import pytest

from elements import learner, network
from experiments import elements_depth, elements_depth_grid, elements_phase4, elements_study
from experiments.elements_phase4 import Phase4
from experiments.shell import storage

DEPTHS = np.array(Phase4.depths)
DATASETS = ("xor", "moons")
TRIALS = 8


class Made:
    """An outcome of which the accuracies are made up: `truth(element) -> share`."""

    def __init__(self, study, truth, diverged=lambda element: 0.0, noise=0.004):
        self.population = study.population
        elements = self.population.elements
        shape = (len(elements), len(study.datasets), study.trials)
        drawn = np.random.default_rng(3).normal(0, noise, shape)
        accuracy = np.array([truth(e) for e in elements])[:, None, None] + drawn
        failed = np.zeros(shape)
        for failing, e in zip(failed, elements, strict=True):
            failing[:, : round(diverged(e) * study.trials)] = 1
        self.columns = {"test_accuracy": np.where(failed, 0.0, accuracy), "diverged": failed}
        self.rows = {"diverged": failed.ravel()}

    def cube(self, column):
        return self.columns[column]


def truth(e):
    """sigmoid falls to chance after 4 layers, unless it has skips; skips cost relu 3 points and
    bring tanh nothing; sine loses 4 points from 8 layers on."""
    return {
        "sigmoid": 0.5 + 0.3 * (e.depth <= 4 or e.skip),
        "relu": 0.9 - 0.03 * (e.skip and e.depth > 1),
        "tanh": 0.85,
        "sine": 0.88 - 0.04 * (e.depth >= 8),
    }[e.activation]


def grid(**changes):
    return Phase4(**{"datasets": DATASETS, "trials": TRIALS} | changes)


def verdicts(parts):
    return {found.headline: found.verdict for found in parts["findings"]}


def sentence(parts, headline):
    (found,) = (f for f in parts["findings"] if f.headline == headline)
    return found.sentence


@pytest.fixture(scope="module")
def parts():
    return elements_depth.analyse(
        Made(grid(activations=("sigmoid", "relu", "tanh", "sine")), truth)
    )


# Answers on made-up tables


def test_the_depth_of_chance_is_where_it_was_put(parts):
    question = "At what depth is {} indistinguishable from chance?".format
    assert verdicts(parts)[question("sigmoid")] == "plain from 5 on, skip never"
    assert verdicts(parts)[question("relu")] == "plain never, skip never"
    told = sentence(parts, question("sigmoid"))
    assert "shown to be within a point of it at 5, 6, 7, 8, 10" in told
    assert "xor from 5 on, moons from 5 on" in told


def test_a_dataset_lost_alone_is_named_alone():
    made = Made(grid(activations=("sigmoid",), skips=(0,)), lambda e: 0.8)
    made.columns["test_accuracy"][DEPTHS >= 7, 1] -= 0.3
    told = sentence(elements_depth.analyse(made), elements_depth.analyse(made)["findings"][0][0])
    assert "plain never; by dataset: xor never, moons from 7 on" in told.lower()


def test_degrading_starts_where_it_was_put(parts):
    question = "Does {} degrade beyond 5 hidden layers?".format
    assert verdicts(parts)[question("sine")] == "plain loses from 8 on, skip loses from 8 on"
    throughout = "plain is equivalent throughout, skip is equivalent throughout"
    assert verdicts(parts)[question("tanh")] == throughout


def test_skips_rescue_what_is_lost_and_only_that(parts):
    question = "Do skips rescue {}?".format
    assert verdicts(parts)[question("sigmoid")] == "yes, at 5, 6, 7, 8, 10"
    assert verdicts(parts)[question("relu")] == "nothing to rescue"


def test_a_rescue_needs_the_skip_to_be_above_chance():
    """Better than a plain network far below chance is not enough."""
    made = Made(grid(activations=("sigmoid",)), lambda e: 0.5 if e.skip else 0.4)
    assert verdicts(elements_depth.analyse(made))["Do skips rescue sigmoid?"] == "no"


def test_skips_cost_and_bring_what_was_put(parts):
    question = "What do skips do to deep {}?".format
    found = {name: verdicts(parts)[question(name)] for name in ("sigmoid", "relu", "tanh")}
    assert found == {"sigmoid": "gain", "relu": "cost", "tanh": "equivalent"}
    assert "over 6, 7, 8, 10 hidden layers -3." in sentence(parts, question("relu"))


def test_the_critical_depth_is_bracketed_by_the_depths_around_the_fall(parts):
    question = "What is the critical depth of {}?".format
    assert verdicts(parts)[question("sigmoid")] == "plain within, skip beyond"
    assert verdicts(parts)[question("relu")] == "plain beyond, skip beyond"
    found = elements_depth_grid.Depths(Made(grid(activations=("sigmoid",)), truth)).falls
    value, low, high = (a[0, 0] for a in found.critical[:3])
    assert low <= 4 < value < 5 <= high


def test_divergence_is_told_apart_from_loss_of_signal():
    lost = lambda e: 0.5 * (e.skip and e.depth == 10)
    parts = elements_depth.analyse(Made(grid(activations=("relu",)), truth, lost))
    found = verdicts(parts)
    assert found["At what depth does relu diverge?"] == "plain never, skip at 10 only"
    question = "At what depth is relu indistinguishable from chance?"
    assert found[question] == "plain never, skip at 10 only"
    assert "some of the networks at 10 diverged" in sentence(parts, question)
    assert sentence(parts, "Failed networks").startswith(f"{TRIALS} of ")


# What is compared with what


@pytest.mark.parametrize(
    ("depths", "expected"),
    [(Phase4.depths, 5), ((1, 2, 3, 4), 3), ((6, 7, 8, 10), 6), ((1, 2, 5), None), ((9,), None)],
)
def test_the_reference_depth_follows_from_the_depths_alone(depths, expected):
    """5, else the shallowest from 3 on; the deepest cannot be one."""
    found = elements_depth_grid.Depths(Made(grid(depths=depths), truth))
    assert (None if found.reference is None else found.depths[found.reference]) == expected


def test_a_single_hidden_layer_is_not_compared_with_itself(parts):
    """A skip joins nothing there: the networks are the same."""
    (_, rows, _) = parts["tables"]["Skip − plain"]
    assert [row[0] for row in rows if row[0].startswith("sine")] == [
        f"sine, {d}" for d in DEPTHS[1:]
    ]


def test_depths_may_be_named_in_any_order():
    there = elements_depth.analyse(Made(grid(activations=("sigmoid",)), truth, noise=0))
    back = grid(activations=("sigmoid",), depths=Phase4.depths[::-1], skips=(1, 0))
    assert verdicts(elements_depth.analyse(Made(back, truth, noise=0))) == verdicts(there)


def test_widths_are_kept_apart():
    found = verdicts(
        elements_depth.analyse(Made(grid(activations=("relu",), widths=(4, 8)), truth))
    )
    assert found["What do skips do to deep relu ×4?"] == "cost"
    assert "What do skips do to deep relu ×8?" in found


@pytest.mark.parametrize(
    "changes",
    [
        {"trials": 1},
        {"depths": (1,)},
        {"depths": (7,), "skips": (1,)},
        {"depths": (1, 6), "activations": ("relu",), "datasets": ("xor",), "trials": 2},
        {"skips": (0,), "trials": 3},
    ],
)
def test_any_part_of_the_grid_can_be_reported(changes):
    study = grid(**changes)
    parts = elements_depth.analyse(Made(study, truth))
    several = study.trials > 1
    found = verdicts(parts)
    assert any("indistinguishable" in headline for headline in found) == several
    both = len(study.skips) == 2 and max(study.depths) > 1
    assert any("rescue" in headline for headline in found) == (several and both)
    assert any("critical" in headline for headline in found) == (several and len(study.depths) > 2)
    assert parts["findings"][-1].headline == "Failed networks"
    assert not any("nan" in told.sentence for told in parts["findings"])


# Mechanisms


def test_a_skip_carries_signal_and_gradient_through_silent_layers():
    """Three silent layers: with skips the first one still learns, plain it cannot."""
    widths, x = (2,) * 3, np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    normals = np.ones(network.kernel_count(widths), np.float32)
    params = jax.tree.map(np.array, network.initial(widths, "tanh", normals))
    for name in [n for n in params["params"] if n != "output"]:
        params["params"][name]["kernel"] *= 0
    slope = jax.numpy.ones_like

    @jax.jit
    def both(params):
        return [
            (network.gradient(params, x, "tanh", s, slope), network.logits(params, x, "tanh", s))
            for s in (False, True)
        ]

    (plain, dead), (skip, alive) = both(params)
    assert not np.any(plain["params"]["hidden_0"]["kernel"])
    assert np.all(skip["params"]["hidden_0"]["kernel"])
    np.testing.assert_array_equal(dead, 0)
    np.testing.assert_allclose(alive, params["params"]["output"]["kernel"][0] @ x, rtol=1e-6)


def test_a_right_network_scores_one_and_a_constant_one_its_share():
    y = np.array([0, 0, 0, 1, 1])
    share = learner.Share(y, np.full(5, 0.2, np.float32))
    right, constant = np.where(y == 1, 3.0, -3.0), np.full(5, -1.0)
    assert learner.accuracy(right, share) == pytest.approx(1)
    assert learner.accuracy(constant, share) == pytest.approx(0.6)
    assert learner.accuracy(np.full(5, np.nan), share) == 0


# The whole of it


def test_the_default_grid_holds_the_question_and_what_brackets_it():
    population = Phase4().population
    assert {6, 7, 8, 10} < {e.depth for e in population.elements}
    assert population.size == 4 * 9 * 2 * 4 * 20
    assert {e.symbol for e in population.elements} >= {"sig-10x8", "sig-10x8-skip"}


def test_a_small_run_leaves_a_whole_report(tmp_path):
    study = Phase4(
        activations=("sigmoid",),
        depths=(1, 2, 3),
        datasets=("xor", "moons"),
        **{"trials": 3, "epochs": 20, "record_every": 20, "samples": 16, "tests": 20},
    )
    found = elements_study.report(elements_phase4.STUDY, study.population, tmp_path)
    told = storage.read_json(found.folder / "findings.json")
    assert set(told["verdicts"]) >= {
        "Do skips rescue sigmoid?",
        "What is the critical depth of sigmoid?",
    }
    stems = {figure["stem"] for figure in told["figures"]}
    assert stems == {"table", "depth", "skip", "datasets_plain", "datasets_skip", "critical"}
    assert all((found.folder / f"{stem}.png").stat().st_size > 0 for stem in stems)
    np.testing.assert_array_equal(  # plain and skip are one and the same at one hidden layer
        found.cube("test_accuracy")[0], found.cube("test_accuracy")[3]
    )
    page = (found.folder / "report.html").read_text()
    assert all(title in page for title in ("Every cell", "Skip − plain", "Critical depths"))


def test_the_critical_figure_shows_bounds_as_arrows(parts):
    (axes,) = parts["figures"]["critical"][0].axes
    marks = [line.get_marker() for line in axes.lines]
    assert marks[0] == "o"
    assert marks[1] == ">"
    assert "beyond 10 layers" in [text.get_text() for text in axes.texts]
