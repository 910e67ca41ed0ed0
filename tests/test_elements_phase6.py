"""Phase 6 says what its records say: times with what is censored, ratios, shares, trends."""

import dataclasses
import json

import numpy as np
import pytest

from elements import element
from experiments import elements_dynamics, elements_phase6, elements_study
from experiments import elements_dynamics_claims as claims
from experiments import elements_dynamics_measures as measures
from experiments.elements_phase6 import Phase6
from experiments.elements_population import Population
from experiments.lab import statistics

EPOCHS = np.arange(0, 101, 10)
POPULATION = Population(
    tuple(element.square(a, depth, 8) for a in ("relu", "tanh") for depth in (1, 2)),
    ("xor", "moons"),
    trials=20,
    epochs=100,
    record_every=10,
    record_gradients=True,
    record_weight_stats=True,
)


def made_up(population=POPULATION, drop=()):
    """The records of networks of which all is known.

    relu is at 95 % from epoch 30 on (20 or 40 in some trials), on either dataset; tanh from 10 on
    on xor, and nowhere on moons. The gradients of tanh fall by 1e-4 from the output to the first
    layer, those of relu are alike and end at a hundredth. Weights of relu double.
    """
    config, draw = population, np.random.default_rng(0)
    arms, epochs = config.elements, config.epochs_recorded
    shape = len(arms), len(config.datasets), config.trials
    relu = np.array([e.activation == "relu" for e in arms])[:, None, None]
    moons = np.array([name == "moons" for name in config.datasets])[:, None]
    when = np.where(relu, 30 + 10 * draw.integers(-1, 2, shape[2]), np.where(moons, np.inf, 10))
    there = epochs >= np.broadcast_to(when, shape)[..., None]
    accuracy = np.where(there, 0.95, 0.5)
    curves = {"test_accuracy": accuracy, "train_accuracy": accuracy}
    curves["train_loss"] = np.where(there, 0.1, 0.7) + 0.001 * draw.normal(size=there.shape)
    tables = [layers_of(i, e, shape, epochs, draw) for i, e in enumerate(arms)]
    layers = {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}
    order = draw.permutation(len(layers["network"]))
    layers = {name: v[order] for name, v in layers.items() if name not in drop}
    return Records(config, curves, layers)


def layers_of(arm, e, shape, epochs, draw):
    first = arm * shape[1] * shape[2]
    axes = np.arange(first, first + shape[1] * shape[2]), epochs, np.arange(1, e.depth + 2)
    network, epoch, layer = (a.ravel() for a in np.meshgrid(*axes, indexing="ij"))
    output, ended = layer == e.depth + 1, epoch == epochs[-1]
    relu = e.activation == "relu"
    slopes = np.where(ended, 0.01, 1.0) if relu else np.where(layer == 1, 1e-4, 1.0)
    hidden = lambda value: np.where(output, np.nan, value)
    return {
        "network": network,
        "epoch": epoch,
        "layer": layer,
        "gradient_norm": slopes * np.exp(0.1 * draw.normal(size=len(layer))),
        "weight_mean": 0.0 * layer,
        "weight_std": 1.0 + 0.0 * layer,
        "weight_norm": np.where(ended & relu, 2.0, 1.0),
        "saturated": hidden(0.5 if relu else 0.0),
        "dead": hidden((0.1 * layer + 0.01 * draw.random(len(layer))) * relu),
        "feature_rank": hidden(4.0 - layer + 0.1 * draw.random(len(layer))),
    }


class Records:
    """What `elements_study.Outcome` gives, from memory."""

    def __init__(self, population, curves, layers):
        self.population, self._curves, self._layers = population, curves, layers
        self.rows = {"diverged": np.zeros(population.size, bool)}

    def curves(self, name):
        return self._curves[name]

    def table(self, name):
        assert name == "layers"
        return self._layers


@pytest.fixture(scope="module")
def watched():
    return measures.Watched(made_up())


@pytest.fixture(scope="module")
def parts():
    return elements_dynamics.analyse(made_up())


def verdict(parts, start):
    (found,) = (f.verdict for f in parts["findings"] if f.headline.startswith(start))
    return found


# Times


def test_a_goal_is_reached_at_the_first_record_at_or_above_it():
    curve = np.array([[0.5, 0.9, 0.8, 0.95], [0.5, 0.6, 0.89, 0.89], [0.95, 0.2, 0.2, 0.2]])
    times = measures.first(curve, 0.9, np.array([0, 5, 10, 12]))
    np.testing.assert_array_equal(times.epochs, [5, 12, 0])
    np.testing.assert_array_equal(times.reached, [True, False, True])


def test_a_share_of_points_is_at_the_goal_whatever_its_rounding():
    share = np.float64(0.7) + np.float64(0.2)  # 0.8999999999999999
    assert measures.first(np.array([0.5, share]), 0.9, np.array([0, 1])).reached


def test_its_own_level_is_ninety_per_cent_of_the_way_from_chance():
    outcome = made_up()
    curve = np.full((4, 2, 20, len(EPOCHS)), 0.5)
    curve[0] = np.linspace(0.5, 1, 11).clip(max=0.9)  # final 0.9: 0.86 is reached at epoch 80
    curve[1, ..., 0] = 1.0  # a constant one starts (by luck) where it never comes back to
    curve[2] = 0.54  # four points above chance are not enough
    curve[3, ..., 5:] = 0.4  # below chance
    outcome._curves["train_accuracy"] = curve
    times = measures.Watched(outcome).settled()
    assert np.all(times.epochs[0] == 80)
    assert times.reached[0].all()
    assert not times.reached[1:].any()
    assert np.all(times.epochs[1:] == 100)


def test_who_never_gets_there_counts_in_full(watched, parts):
    times = watched.goal()
    tanh = times.reached[2:]
    assert tanh[:, 0].all()
    assert not tanh[:, 1].any()
    headline = "Which activation is first at 90 % held-out accuracy?"
    assert verdict(parts, headline) == "relu"  # 30 against (10 + 100) / 2
    (sentence,) = (f.sentence for f in parts["findings"] if f.headline == headline)
    assert "tanh 55 [55, 55] (reached by 50.0 [50.0, 50.0] %)" in sentence
    _, rows, caption = parts["tables"]["Time to 90 % held-out accuracy, by activation"]
    assert [row[-1] for row in rows] == [f"{times.epochs[:2].mean():.0f}", "10"]
    assert "turns 1 of 1 pairs round" in caption  # 10 against 30 for those that got there


# Steadiness


def test_a_steady_fall_is_unsteady_only_with_its_trend(watched):
    outcome = made_up()
    loss = np.broadcast_to(1 - EPOCHS / 100, (4, 2, 20, len(EPOCHS))).copy()
    loss[1] = np.where(EPOCHS // 10 % 2, 0.3, 0.5)
    outcome._curves["train_loss"] = loss
    raw, about = measures.Watched(outcome).unsteadiness()
    np.testing.assert_allclose(raw[0], np.std([0.2, 0.1, 0.0]))
    np.testing.assert_allclose(about[0], 0, atol=1e-12)
    np.testing.assert_allclose(raw[1], np.std([0.5, 0.3, 0.5]))
    np.testing.assert_allclose(about[1], raw[1])  # no trend in it


# Layers


def test_layers_are_found_in_any_order(watched):
    ranks = watched.layers["feature_rank"]
    assert ranks.shape == (4, 2, 20, 11, 3)
    assert np.isnan(ranks[0, ..., 1:]).all()  # a network of one hidden layer: its output, nothing
    assert np.isnan(ranks[1, ..., 2]).all()
    np.testing.assert_array_equal(
        np.floor(ranks[1, ..., :2]), np.broadcast_to([3, 2], ranks[1, ..., :2].shape)
    )
    assert np.isnan(watched.layers["gradient_norm"][0, ..., 2]).all()
    assert np.isfinite(watched.layers["gradient_norm"][1]).all()


@pytest.mark.parametrize(("row", "times"), [(slice(1, None), 0), ([0, *range(4400)], 2)])
def test_a_layer_that_is_missing_or_there_twice_is_refused(row, times):
    rows = {name: column[row] for name, column in made_up().table("layers").items()}
    with pytest.raises(ValueError, match=f"is there {times} times"):
        measures.layered(POPULATION, rows)


def test_ratios_are_cut_and_what_is_not_finite_has_exploded():
    found = measures.ratio([1, 0, 0, 1, np.inf, np.nan, 1e-4], [10, 1, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(found.decades, [-1, -9, 0, 9, 9, 9, -4])
    np.testing.assert_array_equal(found.vanishing, [0, 1, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(found.exploding, [0, 0, 0, 1, 1, 1, 0])


def test_first_and_last_layer_are_those_of_the_arm(watched):
    np.testing.assert_allclose(watched.across(-1).decades[:2], 0, atol=0.3)
    np.testing.assert_allclose(watched.across(0).decades[2:], -4, atol=0.3)


def test_the_gradient_over_time_is_the_last_fifth_over_the_first():
    outcome = made_up()
    rows = outcome.table("layers")
    # Means of three records each: 1e4 and 1.
    rows["gradient_norm"] = np.select([rows["epoch"] == 0, rows["epoch"] == 100], [3e4, 3.0])
    decades = measures.Watched(outcome).over_time().decades
    np.testing.assert_allclose(decades, -4, rtol=1e-6)


def test_what_units_do_is_the_mean_over_hidden_layers(watched):
    np.testing.assert_allclose(watched.units("saturated")[:2], 0.5)
    dead = watched.units("dead")
    np.testing.assert_allclose(dead[0], 0.105, atol=0.006)  # 0.1 in the first
    np.testing.assert_allclose(dead[1], 0.155, atol=0.006)  # 0.1 and 0.2
    np.testing.assert_allclose(watched.rank()[0], 3.05, atol=0.06)
    np.testing.assert_allclose(watched.rank()[1], 2.05, atol=0.06)  # of the last hidden layer


def test_weights_grow_by_the_norm_of_all_of_them(watched):
    np.testing.assert_allclose(watched.growth()[:2], 2)
    np.testing.assert_allclose(watched.growth()[2:], 1)


# What is said


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("Which activation is first at what it learns?", "relu"),
        ("Does depth slow learning down?", "relu 0, tanh 0"),
        (
            "Do gradients vanish or explode between the layers at the start",
            "vanishing: tanh at depth 1, 2; exploding: none",
        ),
        (
            "Do gradients vanish or explode between the layers at the end",
            "vanishing: tanh at depth 1, 2; exploding: none",
        ),
        ("Do gradients vanish or explode in the course", "vanishing: none; exploding: none"),
        ("Which activation hands most of its gradient down", "relu"),
        ("Whose weights grow most?", "relu"),
        ("Which activation saturates most?", "relu"),
        ("Which activation loses most units?", "relu"),
        ("Does depth add directions", "relu −, tanh −"),
        ("Does depth cost units?", "relu +, tanh 0"),
        ("Whose last hidden layer", "none ahead"),
    ],
)
def test_the_verdict_is_what_was_put_in(parts, start, expected):
    assert verdict(parts, start) == expected


def test_faults_are_told_by_depth():
    outcome = made_up()
    rows = outcome.table("layers")
    trial, arm = rows["network"] % 20, rows["network"] // 40
    # Every tanh of two layers, and one trial in ten of those of one.
    faded = (rows["layer"] == 1) & ((arm == 3) | (arm == 2) & (trial < 2))
    rows["gradient_norm"] = np.where(faded, 1e-4, 1.0)
    parts = elements_dynamics.analyse(outcome)
    start = "Do gradients vanish or explode between the layers at the start"
    assert verdict(parts, start) == "vanishing: tanh at depth 2; exploding: none"
    (sentence,) = (f.sentence for f in parts["findings"] if f.headline.startswith(start))
    assert "tanh 10.0 [" in sentence
    assert "] at depth 1, 100.0 [100.0, 100.0] at depth 2." in sentence


def test_a_fault_is_an_activations_own_in_more_than_one_network_in_twenty(watched):
    decades, trial = np.zeros((4, 50, 20)), np.arange(20)
    for arm, few in ((2, 2), (3, 5)):  # 4 % of tanh at depth 1, 10 % at depth 2, give or take 2
        count = few + trial % 3 - 1
        decades[arm] = np.where(np.arange(50)[:, None] < count, 4, 0)
    (found,) = claims.faults(watched, "Do they?", measures.Ratio(decades), "it is so")
    assert found.verdict == "vanishing: none; exploding: tanh at depth 2"


def test_an_activation_that_never_gets_there_has_no_trend_in_time():
    outcome = made_up()
    outcome._curves["test_accuracy"][2:] = 0.6
    parts = elements_dynamics.analyse(outcome)
    assert verdict(parts, "Does depth slow learning down?") == "relu 0, tanh never"
    _, rows, _ = parts["tables"]["Time to 90 % held-out accuracy, by activation"]
    assert rows[1] == ["tanh", "0.0 [0.0, 0.0]", ">100 [>100, >100]", "100 [100, 100]", "–"]


def test_there_is_a_row_for_every_element_and_pair(parts):
    for title in ("Learning, by element", "Layers, by element"):
        header, rows, _ = parts["tables"][title]
        assert [row[0] for row in rows] == [e.symbol for e in POPULATION.elements]
        assert {len(row) for row in rows} == {len(header)}
    assert len(parts["tables"]["All pairs of activations"][1]) == 9
    assert next(iter(parts["figures"])) == "survival"
    assert set(parts["figures"]) >= {"accuracy", "loss", "settled", "gradients", "gradient_ratio"}
    assert set(parts["figures"]) >= {"units", "feature_rank"}


def test_shares_stay_between_nought_and_a_hundred():
    assert claims.share(statistics.Estimate(0.975, 0.91, 1.03, 6)) == "97.5 [91.0, 100.0]"


@pytest.mark.parametrize(
    "change",
    [
        {"arms": POPULATION.arms[:1]},
        {"arms": POPULATION.arms[::2]},
        {"datasets": ("moons",), "trials": 1},
        {"trials": 2, "epochs": 10},
        {"record_gradients": False},
        {"record_weight_stats": False},
        {"record_gradients": False, "record_weight_stats": False},
    ],
    ids=[
        "one element",
        "one depth",
        "one trial",
        "two records",
        "no gradients",
        "no weights",
        "neither",
    ],
)
def test_any_part_of_the_study_has_a_report(change):
    population = dataclasses.replace(POPULATION, **change)
    drop = () if population.record_gradients else ("gradient_norm",)
    if not population.record_weight_stats:
        drop += ("weight_mean", "weight_std", "weight_norm", "saturated", "dead", "feature_rank")
    parts = elements_dynamics.analyse(made_up(population, drop))
    told = " ".join(f.headline for f in parts["findings"])
    several = len({e.activation for e in population.elements}) > 1
    assert ("gradients" in told) == population.record_gradients
    assert ("weights grow" in told) == (population.record_weight_stats and several)
    assert ("gradients" in parts["figures"]) == population.record_gradients
    assert "nan" not in " ".join(f.sentence for f in parts["findings"]) or population.trials == 1


# The study as a whole


def test_a_run_records_its_layers_and_reports(tmp_path):
    study = Phase6(
        activations=("relu", "sigmoid"),
        depths=(1, 2),
        datasets=("xor", "moons"),
        trials=2,
        epochs=20,
        record_every=5,
        samples=32,
        tests=32,
    )
    outcome = elements_study.report(elements_phase6.STUDY, study.population, tmp_path)
    layers = outcome.table("layers")
    assert len(layers["network"]) == 2 * 2 * 2 * 5 * (2 + 3)
    output = np.isnan(layers["feature_rank"])
    assert output.sum() == 16 * 5
    assert set(layers) == {
        "network",
        "epoch",
        "layer",
        *measures.LAYERED,
        "weight_mean",
        "weight_std",
    }
    assert np.isfinite(layers["gradient_norm"]).all()
    content = json.loads((outcome.folder / "findings.json").read_text())
    assert len(content["verdicts"]) >= 12
    for stem in ("survival", "gradients", "units", "feature_rank"):
        assert (outcome.folder / f"{stem}.png").stat().st_size > 10_000


def test_by_default_all_is_recorded_every_tenth_of_a_thousand_epochs():
    config = Phase6().population
    assert (config.epochs, config.record_every, config.size) == (1000, 10, 2400)
    assert config.record_gradients
    assert config.record_weight_stats
