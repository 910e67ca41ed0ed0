"""A search finds what is planted, resumes to the same table, and is judged on fresh data."""

import dataclasses
import functools
import json
import shutil
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from elements import activations, element
from experiments import (
    elements_campaign,
    elements_entrants,
    elements_evolution,
    elements_evolve,
    elements_search,
)
from experiments.elements_entrants import Entrant
from experiments.elements_evolve import Evolve
from experiments.elements_population import Population
from experiments.elements_training import Trainer
from experiments.lab import keys, table
from experiments.shell import run, storage
from tests.test_elements_study import compile_once  # noqa: F401 (a fixture of all tests here)

TINY = Evolve(
    activations=("relu", "tanh"),
    max_depth=2,
    max_width=5,
    budget=40,
    searches=2,
    population=4,
    generations=4,
    datasets=("xor", "moons"),
    epochs=5,
    samples=8,
    validations=10,
    tests=20,
    finalists=2,
    selection_trials=2,
    playoffs=1,
    playoff_trials=1,
    trials=3,
    rivals=("rel-1x4", "tan-2x3-skip", "rel-1x9"),  # the last is wider than the space allows
)
MIXED = Entrant("evolved", 1, ("sine", "leaky_relu"), (4, 2), True)


# The search, on a fitness that costs nothing: a planted network of three layers of tanh


class Toy:
    """Stands for a `Judge`: the share of a network's features that are the planted one's."""

    def draw(self, key, points):
        return jnp.zeros((1, 1))

    def train(self, bodies, row, epochs, cases):
        tanh = activations.index("tanh")
        right = (bodies.activations == tanh) & (jnp.arange(5) < bodies.depth[:, None])
        score = right.sum(1) / 3 - jnp.abs(bodies.depth - 3) + bodies.skip
        return {"accuracy": score[:, None], "loss": jnp.zeros((len(row), 1))}


@functools.cache
def toy(strategy="genetic", seed=0, generations=48):
    study = Evolve(
        activations=("relu", "tanh", "sine", "elu"),
        max_depth=5,
        strategy=strategy,
        seed=seed,
        population=24,
        searches=2,
        datasets=("xor",),
    )
    search = elements_search.Search(study)
    search.judge = Toy()
    end, records = search.run(search.start(), np.uint32(0), generations)
    return search, jax.tree.map(np.asarray, (end, records))


@pytest.mark.parametrize("strategy", elements_search.STRATEGIES)
def test_a_planted_network_is_found_and_random_search_learns_nothing(strategy):
    _, (_, records) = toy(strategy)
    evolved, random = np.moveaxis(records.fitness, 2, 0)  # [generations, S, P] each
    assert evolved[-8:].max((0, 2)) == pytest.approx([2, 2])  # three layers of tanh, with skips
    assert (evolved[-1].mean(1) > evolved[0].mean(1) + 0.3).all()
    assert (evolved[-1].mean(1) > random[-1].mean(1) + 0.5).all()
    assert abs(evolved[0].mean() - random[0].mean()) < 0.5


def test_the_same_seed_is_the_same_search_and_another_is_another():
    search, (_, first) = toy()
    again = search.run(search.start(), np.uint32(0), 48)[1]
    np.testing.assert_array_equal(again.bodies.widths, first.bodies.widths)
    assert not np.array_equal(toy(seed=1)[1][1].fitness, first.fitness)
    one, other = np.moveaxis(first.bodies.widths, 1, 0)
    assert not np.array_equal(one, other)  # two searches share no draw


def test_chunks_that_were_stored_are_the_same_search_as_the_whole(tmp_path):
    search, (_, whole) = toy()
    campaign = elements_campaign.Campaign(search.study, tmp_path)
    (tmp_path / "checkpoints").mkdir()
    parts = []
    for first in (0, 24):
        output = campaign.evolve(search, first, 24)
        storage.save_tree(tmp_path / "checkpoints" / f"generations-{first:05d}", output.tree)
        parts.append(output.tables["results"])
    found = storage.concatenate(parts)
    for name, column in elements_campaign.genomes(search.study, whole, 0).items():
        np.testing.assert_array_equal(found[name], column, err_msg=name)


# Real networks


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return out, elements_evolve.report(TINY, out)


def contest_of(study):
    return elements_campaign.Campaign(study, None).contest()


def test_a_run_leaves_a_report_and_all_its_tables(finished):
    _, folder = finished
    rows = run.read(folder, "results")
    assert len(np.unique(rows["network"])) == len(rows["network"]) == 4 * 2 * 2 * 4
    assert rows["parameters"].max() <= TINY.budget
    assert np.isfinite(rows["fitness"]).all()
    curves = run.read(folder, "curves")
    best = table.cube(curves, "best_accuracy", cohort=range(4), generation=range(4))
    accuracy = table.cube(
        rows, "validation_accuracy", cohort=range(4), generation=range(4), member=range(4)
    )
    np.testing.assert_allclose(best, accuracy.max(-1))
    found = storage.read_json(folder / "findings.json")
    assert {"report.html", "summary.csv"} < {path.name for path in folder.iterdir()}
    assert all((folder / f"{figure['stem']}.png").exists() for figure in found["figures"])
    assert "Does the evolved element beat the best of phase 5 at equal parameters?" in {
        headline for headline, _ in found["findings"]
    }


def test_the_contests_are_between_those_that_did_best_before(finished):
    _, folder = finished
    rows = run.read(folder, "contests")
    stage = lambda name: set(rows["symbol"][rows["stage"] == name])
    assert stage("test") <= stage("playoff") <= stage("selection")
    entrants = {s: len(np.unique(rows["entrant"][rows["stage"] == s])) for s in set(rows["stage"])}
    assert entrants == {"selection": 4 * 2 + 3, "playoff": 5, "test": 5}
    assert np.isin(rows["accuracy"] * TINY.tests, range(TINY.tests + 1)).all()


def test_a_run_that_lost_its_last_chunks_ends_in_the_same_tables(finished, tmp_path):
    _, folder = finished
    again = tmp_path / folder.name
    shutil.copytree(folder, again)
    for lost in ("generations-00002", "playoff", "test"):
        (again / "results" / f"{lost}.parquet").unlink()
    run.execute(elements_campaign.plan(TINY, tmp_path, elements_evolve.NAME), tmp_path)
    for name in elements_campaign.TABLES:
        found, expected = run.read(again, name), run.read(folder, name)
        for column in expected:
            np.testing.assert_array_equal(found[column], expected[column], err_msg=column)


def test_neither_the_search_nor_its_fitness_sees_test_data(finished):
    _, folder = finished
    rows = table.ordered(run.read(folder, "results"), "network")
    other = elements_search.Search(dataclasses.replace(TINY, tests=2, trials=1))
    _, records = other.run(other.start(), np.uint32(0), TINY.chunk)
    records = jax.tree.map(np.asarray, records)
    found = elements_campaign.genomes(TINY, records, 0)
    for name in ("symbol", "fitness"):
        np.testing.assert_array_equal(found[name], rows[name][: len(found[name])])
    # No point of a search is a point of a contest, nor are the trials of two stages the same.
    contest = contest_of(TINY)
    draw = jax.jit(lambda key: contest.judge.draw(key, TINY.tests).test.x)
    root = keys.root(TINY.seed)
    path = [keys.trial(root, f"evolve {stage}", 0) for stage in ("selection", "playoff", "test")]
    path += [keys.stream(other._key(0), "generation", 0, "trial", 0)]
    points = [set(np.asarray(draw(key)).ravel().tolist()) for key in path]
    assert sum(map(len, points)) == len(set.union(*points))


def test_the_judgement_of_plain_elements_is_that_of_an_ordinary_population():
    elements = tuple(map(element.parse, ("rel-1x4", "tan-2x3-skip", "rel-4_2", "tan-1x9")))
    entrants = [elements_entrants.rival(e) for e in elements]
    contest = contest_of(dataclasses.replace(TINY, epochs=40))
    assert contest.judge.slots == [(5, 2), (9, 1)]
    found = contest.run(elements_entrants.bodies(entrants, 2), "test", 3)
    population = Population(
        elements,
        TINY.datasets,
        trials=3,
        epochs=40,
        record_every=40,
        samples=TINY.samples,
        tests=TINY.tests,
        stream="evolve test",
    )
    trainer = Trainer(population)
    layout = trainer.layout()
    outputs = [output for _, output in trainer.train(layout, trainer.tasks(layout))]
    rows = storage.concatenate([o.tables["results"] for o in outputs])
    axes = {"arm": range(4), "trial": range(3), "dataset": TINY.datasets}
    for own, theirs in (("accuracy", "test_accuracy"), ("loss", "test_loss")):
        np.testing.assert_allclose(found[own], table.cube(rows, theirs, **axes), atol=1e-4)
    assert np.ptp(found["loss"]) > 0.01


# Who enters, and what is said of them


@pytest.mark.parametrize("entrant", [MIXED, elements_entrants.rival(element.parse("rel-1x4"))])
def test_an_entrant_is_read_back_from_its_row(entrant):
    assert Entrant.read(entrant.columns()) == entrant
    assert MIXED.symbol == "sin4_lea2-skip"
    assert MIXED.parameters == 4 * 3 + 2 * 5 + 3


def test_finalists_are_the_best_different_networks_of_each_search():
    networks = [MIXED, MIXED, MIXED._replace(widths=(3, 2)), MIXED._replace(skip=False)]
    networks += [e._replace(search=0) for e in networks[:1]]
    said = [e.columns() for e in networks]
    rows = {name: np.array([c[name] for c in said]) for name in said[0]}
    rows |= {"network": np.arange(5), "fitness": np.array([0.9, 0.8, 0.7, 0.85, 0.1])}
    found = elements_entrants.finalists(rows, 2)
    assert found == [networks[4], networks[0], networks[3]]


def contests(*entered):
    """Tables of contests in which (entrant, accuracy [T]) took part, on one dataset."""
    parts = []
    for stage in ("selection", "playoff", "test"):
        for number, (entrant, accuracy) in enumerate(entered):
            columns = {n: np.full(len(accuracy), v) for n, v in entrant.columns().items()}
            own = {"stage": stage, "entrant": number, "dataset": "xor", "loss": 0.5}
            columns |= {n: np.full(len(accuracy), v) for n, v in own.items()}
            parts.append(columns | {"trial": np.arange(len(accuracy)), "accuracy": accuracy})
    return {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}


def test_the_playoff_adds_to_the_selection():
    other = MIXED._replace(widths=(3, 2))
    rows = contests((MIXED, np.full(4, 0.8)), (other, np.full(4, 0.7)))
    playoff = (rows["stage"] == "playoff") & (rows["entrant"] == 1)
    rows["accuracy"][playoff] = 0.95
    rows["accuracy"][rows["stage"] == "test"] = np.nan
    order = lambda *stages: list(elements_campaign.ranked_by(rows, stages))
    assert order("selection") == [MIXED, other]
    assert order("selection", "playoff") == [other, MIXED]
    found = elements_campaign.ranked_by(rows, ("selection", "playoff"))
    assert found[other] == pytest.approx((0.825, 0.5))
    gone = {n: c[(rows["stage"] == "selection") | playoff] for n, c in rows.items()}
    assert list(elements_campaign.ranked_by(gone, ("selection", "playoff"))) == [other]
    assert elements_entrants.leading([MIXED, other], 1) == [MIXED]


@pytest.mark.parametrize(
    ("ahead", "spread", "verdict"),
    [
        (0.05, 0.01, "better"),
        (-0.05, 0.01, "worse"),
        (0.001, 0.004, "equivalent within 1 point"),
        (0.01, 0.1, "undecided"),
    ],
)
def test_the_verdict_is_that_of_the_paired_test(ahead, spread, verdict):
    noise = np.random.default_rng(0).normal(size=(2, 20))
    rival = 0.8 + 0.1 * noise[0]  # what trials differ by cancels out
    away = noise[1] - noise[1].mean()
    plain = elements_entrants.rival(element.parse("rel-1x4"))
    rows = contests(
        (MIXED._replace(search=0), rival + ahead + spread * away),
        (MIXED._replace(method="random", search=0, widths=(2, 2)), rival),
        (plain, rival),
    )
    study = types.SimpleNamespace(datasets=("xor",), trials=20, searches=1, generations=1)
    found = elements_evolution.Found(study, rows, {})
    assert [e.method for e in found.winners] == ["evolved", "random", "phase 5"]
    first = elements_evolution.analyse(found)["findings"][0]
    assert first.verdict == verdict
    assert "sin4_lea2-skip (25 parameters) against rel-1x4 (17)" in first.sentence


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"population": 3}, "population must be at least 4, got 3"),
        ({"strategy": "annealing"}, "genetic, differential, cma, got 'annealing'"),
        ({"protocol": "tuned"}, "takes gd or adam here"),
        ({"budget": 20}, "budget must be at least 63"),
        ({"budget": 70}, "no rival has at most 74 parameters"),
        ({"datasets": ("moon",)}, "mean 'moons'"),
        ({"learning_rate": -1.0}, "learning_rate must not be negative"),
        ({"rivals": ("rel-0x4",)}, "at least 1"),
    ],
)
def test_what_cannot_be_searched_is_refused(asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        Evolve(**asked)


def test_rivals_are_those_of_phase_5_within_the_budget():
    study = Evolve()
    assert max(e.parameters for e in study.opponents) <= 1050
    assert {"sin-1x64", "lea-1x250", "tan-8x11"} < {e.symbol for e in study.opponents}
    assert json.loads(json.dumps(study.settings())) == study.settings()
