"""The laboratory, and its networks read back from disk: they are what was measured."""

import json

import numpy as np
import pytest

from elements import element
from experiments import elements_lab, elements_study
from experiments.elements_lab import Lab
from experiments.elements_trained import Cell, Trained
from experiments.shell import cli

LAB = Lab(
    symbols=("sin-2x4", "rel-4_3-skip"),
    datasets=("moons", "xor"),
    trials=2,
    epochs=6,
    record_every=2,
    samples=20,
    tests=30,
    snapshots=True,
)
RECORDED = [0, 2, 4, 6]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("lab"))
    return elements_lab.main(LAB, cli.Options(out=out))


@pytest.fixture(scope="module")
def trained(folder):
    return Trained(folder)


@pytest.fixture(scope="module")
def rows(folder):
    return elements_study.results(folder)


def right(logits, y):
    return np.mean((np.asarray(logits) > 0) == (np.asarray(y) > 0), axis=-1)


def test_a_folder_tells_its_population(trained):
    assert trained.population.settings() == LAB.population.settings()
    assert trained.cell(0) == Cell(0, 0, 0)
    assert trained.cell(7) == Cell(1, 1, 1)
    assert trained.arm(4).element == element.parse("rel-4_3-skip")


def test_predictions_are_those_that_were_measured(trained, rows):
    for number in rows["network"]:
        trial = trained.trial(number)
        (test,) = trained.logits([number], trial.test.x)
        (train,) = trained.logits([number], trial.x)
        assert right(test, trial.test.y) == rows["test_accuracy"][number]
        assert right(train, trial.train.y) == rows["train_accuracy"][number]


def test_networks_come_in_the_order_in_which_they_are_asked_for(trained):
    x = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    some = trained.logits([6, 0, 3], x)
    for one, number in zip(some, (6, 0, 3), strict=True):
        np.testing.assert_allclose(one, trained.logits([number], x)[0], atol=1e-6)
    assert len(np.unique(some, axis=0)) == 3


def test_snapshots_are_the_curve(folder, trained):
    curves = elements_study.results(folder, "curves")
    for number in (1, 6):
        trial = trained.trial(number)
        over_time = trained.logits_over_time(number, trial.test.x)
        mine = curves["network"] == number
        assert curves["epoch"][mine].tolist() == RECORDED
        np.testing.assert_array_equal(right(over_time, trial.test.y), curves["test_accuracy"][mine])
        np.testing.assert_array_equal(trained.snapshots(number)[-1], trained.params([number])[0])


def test_the_report_compares_the_elements(folder):
    told = json.loads((folder / "findings.json").read_text())
    assert [headline for headline, _ in told["findings"]] == [
        "Held-out accuracy",
        "sin-2x4 against rel-4_3-skip?",
        "Failed networks",
    ]
    assert [figure["stem"] for figure in told["figures"]] == ["table", "curves"]
    assert set(told["verdicts"]) == {"sin-2x4 against rel-4_3-skip?"}


def test_what_is_not_there_is_refused_in_words(trained, tmp_path):
    with pytest.raises(ValueError, match=r"network must lie in \[0, 8\), got 8"):
        trained.arm(8)
    with pytest.raises(ValueError, match="'sin-2y4' is not the symbol of an element"):
        Lab(symbols=("sin-2y4",))
    with pytest.raises(ValueError, match="no arms"):
        Lab(symbols=())
