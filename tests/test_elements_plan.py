"""The plan is its phases, each as by itself; what is tuned is chosen on trials of its own."""

import dataclasses
import json

import numpy as np
import pytest

from elements import element
from experiments import elements_phase3, elements_plan, elements_study, elements_tuning
from experiments.elements_plan import PHASES, Plan
from experiments.elements_population import Arm, Population, Recipe
from experiments.shell import cli

TINY = Population(
    tuple(map(element.parse, ("tan-1x4", "rel-1x4"))),
    ("xor", "moons"),
    trials=2,
    epochs=4,
    record_every=2,
    samples=16,
    tests=16,
)


def test_the_plan_is_every_phase_of_its_default_size():
    studies = Plan().studies()
    assert [phase for phase, *_ in studies] == list(PHASES)
    for phase, study, population in studies:
        assert study.name == f"elements_phase{phase}"
        assert population.trials == 20
        assert population.protocol == "gd"
    assert sum(population.size for *_, population in studies) >= 14_500
    few = Plan(phases=(4,), trials=3, epochs=7, seed=5, protocols=("gd", "tuned")).studies()
    assert [(p.trials, p.epochs, p.seed, p.protocol) for *_, p in few] == [
        (3, 7, 5, "gd"),
        (3, 7, 5, "tuned"),
    ]


def test_few_programs_serve_the_whole_plan():
    programs = [elements_plan.elements_training.groups(p) for *_, p in Plan().studies()]
    assert sum(map(len, programs)) <= 12


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"phases": (2,)}, "phases takes numbers among 3, 4, 5, 6, 7, 8, got 2"),
        ({"phases": ()}, "the plan is empty"),
        ({"protocols": ("tund",)}, "did you mean 'tuned'"),
        ({"trials": 0}, "trials must be at least 1, got 0"),
    ],
)
def test_nonsense_is_refused_in_words(flags, message):
    with pytest.raises(ValueError, match=message):
        Plan(**flags)


def test_a_dry_run_counts_the_networks(capsys, tmp_path):
    folder = elements_plan.main(Plan(trials=1), cli.Options(out=str(tmp_path), dry_run=True))
    *phases, total = capsys.readouterr().out.splitlines()
    assert phases[0] == "phase 3, robustness: 120 networks, 500 epochs of gd, 1 programs"
    assert len(phases) == len(PHASES)
    assert total == "1,600 networks in all"
    assert not folder.exists()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A tiny phase under gd and tuned, run as by the plan: its folders by protocol."""
    out = tmp_path_factory.mktemp("plan")
    tuned = dataclasses.replace(TINY, protocol="tuned")
    studies = [(3, elements_phase3.STUDY, TINY), (3, elements_phase3.STUDY, tuned)]
    done = elements_plan.train(studies, out)
    return {name.split(", ")[-1]: folder for name, _, folder in done}


def test_a_phase_of_the_plan_is_the_study_itself(both, tmp_path):
    alone = elements_study.report(elements_phase3.STUDY, TINY, tmp_path)
    assert alone.folder.name == both["gd"].name
    for name in ("summary.csv", "findings.json"):
        assert (alone.folder / name).read_bytes() == (both["gd"] / name).read_bytes()


def test_a_tuned_study_says_which_answers_survive(both):
    told = {p: json.loads((folder / "findings.json").read_text()) for p, folder in both.items()}
    (headline, sentence), *_ = told["tuned"]["findings"]
    verdicts = {p: content["verdicts"] for p, content in told.items()}
    same = sum(verdicts["gd"][q] == verdicts["tuned"][q] for q in verdicts["gd"])
    assert headline == "Does it survive tuning?"
    assert sentence.startswith(f"{same} of {len(verdicts['gd'])} headline answers are the same")
    assert "Which answers survive tuning" in (both["tuned"] / "report.html").read_text()
    rows = elements_study.results(both["tuned"])
    for symbol in ("tan-1x4", "rel-1x4"):
        mine = rows["symbol"] == symbol
        recipe = Recipe(*(rows[n][mine][0] for n in ("optimiser", "learning_rate", "gain")))
        assert recipe in elements_tuning.CANDIDATES
        assert len(np.unique(rows["learning_rate"][mine])) == 1


def test_the_search_sees_no_trial_of_the_study():
    space = elements_tuning.search(dataclasses.replace(TINY, protocol="tuned"))
    assert space.stream != TINY.stream
    assert len(space.arms) == 2 * len(elements_tuning.CANDIDATES)
    assert space.size == 2 * len(elements_tuning.CANDIDATES) * 2 * elements_tuning.TRIALS


def test_the_best_recipe_is_the_most_accurate_that_did_not_diverge():
    recipes = [Recipe("gd", rate) for rate in (0.1, 0.2, 0.3, 0.4)]
    arms = tuple(Arm(element.parse("rel-1x4"), recipe=recipe) for recipe in recipes)
    space = Population(arms, ("xor",), trials=2, protocol="tuned")
    rows = {
        "arm": np.repeat(range(4), 2),
        "dataset": np.array(["xor"] * 8),
        "trial": np.tile(range(2), 4),
        "test_accuracy": np.array([0.8, 0.9, 0.9, 0.9, 0.9, 0.9, 1.0, 1.0]),
        "test_loss": np.array([0.1, 0.1, 0.3, 0.3, 0.2, 0.2, 0.1, np.inf]),
        "diverged": np.array([0, 0, 0, 0, 0, 0, 0, 1], bool),
    }
    assert elements_tuning.best(space, rows) == {"rel-1x4": recipes[2]}


def test_a_learning_rate_and_tuning_contradict_each_other(tmp_path):
    given = dataclasses.replace(TINY, protocol="tuned", learning_rate=0.1)
    with pytest.raises(ValueError, match=r"chooses the learning rate itself, got 0\.1"):
        elements_tuning.tuned(given, tmp_path)
