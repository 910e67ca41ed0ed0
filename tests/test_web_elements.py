"""What the page says of elements: their pictures are what the trained networks predict."""

import dataclasses
import pathlib
import shutil

import numpy as np
import pytest

from elements import element
from experiments import elements_study, web_elements, web_studies
from experiments.elements_population import Population
from experiments.elements_trained import Trained
from experiments.shell import storage
from experiments.shell.web import api_jobs, backend

SYMBOLS = ("sin-1x4", "tan-2x3")
CONFIG = Population(
    tuple(map(element.parse, SYMBOLS)),
    datasets=("moons", "xor"),
    trials=3,
    epochs=4,
    record_every=2,
    samples=20,
    tests=10,
    snapshots=True,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return elements_study.outcome(CONFIG, out, "elements_lab").folder


@pytest.fixture(scope="module")
def science():
    return web_elements.Elements()


NETWORKS = (6, 7, 8)  # tan-2x3 on moons, whose trials are 0, 1 and 2


def test_a_picture_is_what_the_network_predicts(folder, science):
    picture = science.picture(folder, NETWORKS, 1, 9, False)
    trained = Trained(folder)
    for i, j in ((0, 0), (3, 7), (8, 2)):
        point = np.array([[picture.x[i]], [picture.y[j]]], np.float32)
        logit = trained.logits([7], point)[0, 0]
        assert picture.frames[0, j, i] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)
    trial = trained.trial(7)
    np.testing.assert_array_equal(picture.points, np.asarray(trial.x).T)
    np.testing.assert_array_equal(picture.labels, np.asarray(trial.train.y))


def test_the_mean_picture_is_the_mean_over_trials(folder, science):
    ask = lambda which: science.picture(folder, NETWORKS, which, 9, False)
    single = [ask(which).frames for which in range(3)]
    assert np.ptp(single, axis=0).max() > 0.01
    np.testing.assert_allclose(ask(None).frames, np.mean(single, axis=0), atol=1e-12)
    np.testing.assert_array_equal(ask(0).x, ask(None).x)


def test_a_film_ends_with_the_picture_after_training(folder, science):
    film = science.picture(folder, NETWORKS, 0, 9, True)
    assert list(film.epochs) == [0, 2, 4]
    last = science.picture(folder, NETWORKS, 0, 9, False)
    np.testing.assert_allclose(film.frames[-1], last.frames[0], atol=1e-5)
    assert np.abs(film.frames[0] - film.frames[-1]).max() > 1e-3


def test_what_was_not_kept_is_refused_in_a_sentence(tmp_path, folder, science):
    bare = pathlib.Path(shutil.copytree(folder, tmp_path / "bare"))
    for chunk in filter(pathlib.Path.is_dir, (bare / "checkpoints").iterdir()):
        tree = storage.load_tree(chunk)
        storage.save_tree(chunk, {name: tree[name] for name in ("network", "params")})
    with pytest.raises(backend.Invalid, match="holds no snapshots"):
        science.picture(bare, [0], None, 9, True)
    with pytest.raises(backend.Invalid, match="network must lie in"):
        science.picture(folder, [99], None, 9, False)


def test_a_nan_says_nothing():
    share = web_elements._share(np.array([np.nan, 0.0, np.inf, -1e30]))
    np.testing.assert_allclose(share, [0.5, 0.5, 1, 0], atol=1e-12)


def test_an_element_is_described_with_its_neighbours(science):
    found = science.describe("sin-3x8")
    near = {n["how"]: n["symbol"] for n in found["neighbours"]}
    assert near["one layer less"] == "sin-2x8"
    assert near["one layer more"] == "sin-4x8"
    assert near["with skips"] == "sin-3x8-skip"
    assert near["relu"] == "rel-3x8"
    assert (found["depth"], found["parameters"]) == (3, element.parse("sin-3x8").parameters)
    assert "one layer less" not in {n["how"] for n in science.describe("sin-1x8")["neighbours"]}
    with pytest.raises(backend.Absent, match="not the symbol"):
        science.describe("sin-3y8")


def rows(*symbols):
    found = []
    for e in map(element.parse, symbols):
        hidden = "_".join(map(str, e.widths))
        found.append(dataclasses.asdict(e) | {"symbol": e.symbol, "hidden_layers": hidden})
    return found


def test_one_width_makes_a_table_by_depth(science):
    _, title, places = science.places(rows("sin-2x8", "sin-1x8", "rel-2x8"))
    assert title == "hidden layers"
    assert [(p.row, p.column) for p in places] == [("sine", "2"), ("sine", "1"), ("relu", "2")]
    assert places[1].column_order < places[0].column_order


def test_shapes_and_skips_are_columns_of_their_own(science):
    symbols = ("sin-32_8_32", "sin-3x8-skip", "sin-3x8", "sin-2x16", "sin-8x2")
    _, _, places = science.places(rows(*symbols))
    ordered = [p.column for p in sorted(places, key=lambda p: p.column_order)]
    assert ordered == ["8×2", "3×8", "2×16", "3×8 skip", "32·8·32"]


def test_the_studies_are_those_of_the_list_with_bounded_flags(science):
    found = {study.name: study for study in science.studies()}
    assert set(found) <= set(web_studies.TITLES)
    flags = {flag.name: flag for flag in found["elements_phase3"].flags}
    assert flags["depths"].many
    assert (flags["depths"].kind, flags["depths"].most) == ("integer", 10)
    assert flags["protocol"].choices[:2] == ("gd", "adam")
    assert "out" not in flags
    for study in found.values():
        for flag in study.flags:
            if flag.kind in ("integer", "number"):
                assert flag.most is not None, (study.name, flag.name)


REFUSED = {
    "networks": ({"trials": "200", "widths": "2,4,8"}, "too many for the page"),
    "work": ({"trials": "100", "epochs": "5000"}, "too much for the page"),
    "values": ({"datasets": ",".join(["xor"] * 65)}, "at most 64 values"),
    "the study's own": ({"datasets": "xor,xor"}, "names 'xor' twice"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_study_that_is_too_large_is_refused(science, case):
    flags, said = REFUSED[case]
    with pytest.raises(backend.Invalid, match=said):
        science.check("elements_phase3", flags)


def test_a_study_says_how_many_networks_it_has(science):
    assert science.check("elements_phase3", {"trials": "2", "depths": "1,2"}) == 6 * 2 * 4 * 2


@pytest.mark.parametrize(
    ("flag", "text"), [("depths", "1,11"), ("depths", "1.5"), ("learning_rate", "inf")]
)
def test_values_are_held_to_their_bounds(science, flag, text):
    study = next(s for s in science.studies() if s.name == "elements_phase3")
    known = next(f for f in study.flags if f.name == flag)
    with pytest.raises(backend.Invalid, match=flag):
        api_jobs.check(known, text)


@pytest.mark.parametrize("symbol", ["sin-11x8", "sin-3x65", "sin-8_8_65"])
def test_the_lab_trains_no_giants(science, symbol):
    with pytest.raises(backend.Invalid, match=f"{symbol} is too large"):
        science.check("elements_lab", {"symbols": f"sin-3x8,{symbol}"})
    assert science.check("elements_lab", {"symbols": "sin-10x64", "trials": "2"}) == 2


def test_every_study_of_the_list_may_be_started_as_it_is(science):
    sizes = {study.name: science.check(study.name, {}) for study in science.studies()}
    assert all(size is not None for size in sizes.values()), sizes
    assert sizes["elements_plan"] > sizes["elements_phase3"] == 2400
    with pytest.raises(backend.Invalid):  # by the steps that are usual for it
        science.check("alen_train", {"size": "small", "task": "addition", "seeds": "200"})
