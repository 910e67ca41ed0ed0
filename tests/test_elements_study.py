"""A population of elements: what is stored is what was trained, and neighbours do not matter."""

import csv
import dataclasses
import json
import os
import shutil

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from elements import datasets, element, learner, network
from experiments import elements_phase2, elements_phase3, elements_study, elements_training
from experiments.elements_phase3 import Phase3
from experiments.elements_population import Arm, Population, groups
from experiments.elements_training import Trainer
from experiments.lab import keys, table
from experiments.shell import cli, run, storage
from tests.test_cli import STUDY as EXAMPLES

RESULTS = ["network", "arm", "symbol", "activation", "hidden_layers", "depth", "width", "skip"]
RESULTS += ["parameters", "dataset", "trial", "seed", "protocol", "epochs"]
METRICS = ["train_accuracy", "test_accuracy", "train_loss", "test_loss"]
RESULTS += [*METRICS, "diverged"]
SUMMARY = ["symbol", "activation", "depth", "width", "skip", "dataset", "n"]
SUMMARY += [f"{m}_accuracy{suffix}" for m in ("train", "test") for suffix in ("", "_low", "_high")]
TINY = {"epochs": 7, "record_every": 3, "samples": 16, "tests": 16}
GRID = Phase3(
    activations=("relu", "tanh"), depths=(1, 2), datasets=("xor", "moons"), trials=3, **TINY
)
MIXED = tuple(map(element.parse, ("rel-1x4", "tan-2x4", "rel-4_8_4", "sin-2x4-skip")))
TOLERANCE = 1e-5  # between programs that compute the same network in another company


@pytest.fixture(scope="module", autouse=True)
def compile_once(tmp_path_factory):
    """Programs of equal shapes are compiled once for all tests here."""

    def keep(folder, shortest):
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", shortest)
        compilation_cache.reset_cache()

    before = [
        getattr(jax.config, f"jax_{name}")
        for name in ("compilation_cache_dir", "persistent_cache_min_compile_time_secs")
    ]
    keep(str(tmp_path_factory.mktemp("cache")), 0.0)
    yield
    keep(*before)


def mixed(elements=MIXED, names=("xor", "linear"), trials=2):
    return Population(tuple(elements), names, trials, **TINY)


def mixed_of(*symbols):
    return mixed(tuple(map(element.parse, symbols)))


def trained(population, devices=None, homogeneous=None):
    """Results (in the order of networks) of a population, without a run folder."""
    trainer = Trainer(population, devices)
    if homogeneous is not None:
        trainer.homogeneous = homogeneous
    layout = trainer.layout()
    outputs = [output for _, output in trainer.train(layout, trainer.tasks(layout))]
    return table.ordered(storage.concatenate([o.tables["results"] for o in outputs]), "network")


def of(rows, **labels):
    """The rows that have all these labels."""
    keep = np.all([rows[name] == label for name, label in labels.items()], axis=0)
    assert keep.any()
    return {name: column[keep] for name, column in rows.items()}


def assert_same_networks(found, expected):
    for name in ("symbol", "dataset", "trial", "diverged"):
        np.testing.assert_array_equal(found[name], expected[name])
    for name in METRICS:
        np.testing.assert_allclose(
            found[name], expected[name], rtol=TOLERANCE, atol=TOLERANCE, err_msg=name
        )


def checkpoints(folder):
    names = sorted(path.stem for path in (folder / "results").glob("*.parquet"))
    return [storage.load_tree(folder / "checkpoints" / name) for name in names]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def folder(out):
    """A whole run of GRID, with its export beside it."""
    options = cli.Options(out=str(out), export_json=str(out / "json"))
    return elements_study.execute(elements_phase3.STUDY, GRID.population, options)


@pytest.fixture(scope="module")
def results(folder):
    return elements_study.results(folder)


@pytest.fixture(scope="module")
def curves(folder):
    return run.read(folder, "curves")


@pytest.fixture(scope="module")
def company():
    """MIXED, three trials of them, trained in one population."""
    return trained(mixed(trials=3))


# What a run leaves


def test_results_have_these_columns_and_a_row_per_network(results):
    assert list(results) == RESULTS
    np.testing.assert_array_equal(results["network"], np.arange(GRID.population.size))
    cells = list(zip(results["symbol"], results["dataset"], results["trial"], strict=True))
    assert cells == [
        (e.symbol, dataset, trial)
        for e in GRID.population.elements
        for dataset in GRID.datasets
        for trial in range(GRID.trials)
    ]


def test_a_row_says_which_network_it_is(company):
    for i, symbol in enumerate(company["symbol"]):
        e = element.parse(symbol)
        for name in ("activation", "depth", "width", "skip", "parameters"):
            assert company[name][i] == getattr(e, name)
        assert company["hidden_layers"][i] == "_".join(map(str, e.widths))
    assert set(company["seed"]) == {0}
    assert set(company["protocol"]) == {"gd"}
    assert set(company["epochs"]) == {TINY["epochs"]}


def test_curves_have_a_row_per_recorded_epoch_and_end_in_the_results(results, curves):
    epochs = [0, 3, 6, 7]
    assert list(curves) == ["network", "symbol", "dataset", "trial", "epoch", *METRICS]
    assert len(curves["epoch"]) == GRID.population.size * len(epochs)
    for i in results["network"]:
        curve = of(curves, network=i)
        np.testing.assert_array_equal(curve["epoch"], epochs)
        for name in ("symbol", "dataset", "trial"):
            assert set(curve[name]) == {results[name][i]}
        for name in METRICS:
            assert curve[name][-1] == results[name][i]
    assert (of(curves, epoch=7)["train_loss"] != of(curves, epoch=6)["train_loss"]).all()


def test_stored_parameters_are_those_that_were_measured(folder, results):
    """Each network, cut to its depth, on the data of its trial drawn anew from names alone."""
    sample = jax.jit(lambda key, which: datasets.sample(key, which, TINY["samples"]))
    data = {}
    for name in GRID.datasets:
        for trial in range(GRID.trials):
            which = datasets.index(name)
            key = keys.stream(keys.root(0), "elements", "trial", trial, "data", which)
            data[name, trial] = [sample(one, which) for one in jax.random.split(key)]
    found = []
    for tree in checkpoints(folder):
        for place, number in enumerate(tree["network"]):
            row = {name: column[number] for name, column in results.items()}
            e = element.parse(row["symbol"])
            params = network.unflatten(e.widths, tree["params"][place])
            assert not tree["params"][place][e.parameters :].any()
            points = data[row["dataset"], row["trial"]]
            for prefix, (x, y) in zip(("train", "test"), points, strict=True):
                logits = network.Network(e.widths, e.skip).apply(params, x, e.activation)
                right = np.mean((np.asarray(logits) > 0) == (np.asarray(y) > 0))
                assert right == row[f"{prefix}_accuracy"]
                loss = learner.cross_entropy(logits, learner.all_of(datasets.Points(x, y)))
                np.testing.assert_allclose(loss, row[f"{prefix}_loss"], rtol=TOLERANCE)
            found.append(number)
    assert sorted(found) == list(range(GRID.population.size))


def test_the_summary_has_a_row_per_element_and_dataset_and_over_all(folder, results):
    with (folder / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[: len(SUMMARY)] == SUMMARY
    names = [*GRID.datasets, "all"]
    assert [(row["symbol"], row["dataset"]) for row in rows] == [
        (e.symbol, name) for e in GRID.population.elements for name in names
    ]
    for row in rows:
        e = element.parse(row["symbol"])
        assert row["activation"] == e.activation
        assert [int(row[k]) for k in ("depth", "width", "n")] == [e.depth, e.width, GRID.trials]
        assert row["skip"] == "False"
        cells = of(results, symbol=row["symbol"])
        if row["dataset"] != "all":
            cells = of(cells, dataset=row["dataset"])
        for name in METRICS:
            assert float(row[name]) == pytest.approx(cells[name].astype(float).mean(), rel=1e-9)
            assert float(row[f"{name}_low"]) <= float(row[name]) <= float(row[f"{name}_high"])
        assert int(row["diverged"]) == 0


def test_the_export_has_a_file_per_network_with_its_curve(folder, out, results, curves):
    files = sorted((out / "json").iterdir())
    assert len(files) == GRID.population.size
    for number in (0, 17):
        row = {name: column[number] for name, column in results.items()}
        told = json.loads(
            (out / "json" / "{symbol}_{dataset}_{trial}.json".format(**row)).read_text()
        )
        assert {name: told[name] for name in RESULTS} == row
        curve = of(curves, network=number)
        assert told["curve"] == {n: list(curve[n]) for n in ("epoch", *METRICS)}


def test_the_manifest_holds_all_settings(folder):
    manifest = run.manifest(folder)
    settings = manifest["settings"]
    assert settings.keys() == {f.name for f in dataclasses.fields(Population)}
    assert settings["arms"] == ["rel-1x8", "rel-2x8", "tan-1x8", "tan-2x8"]
    assert settings["learning_rate"] == 0.1  # resolved: another default is another study
    assert manifest["name"] == "elements_phase3"
    page = (folder / "report.html").read_text()
    assert all(str(told) in page for told in (manifest["started"], manifest["device"], "rel-1x8"))


def test_everything_is_made_again_from_disk_alone(folder, out, tmp_path, monkeypatch):
    copy = shutil.copytree(folder, tmp_path / folder.name)
    made = [name for name in os.listdir(copy) if name.endswith((".csv", ".html", ".png"))]
    assert {"summary.csv", "report.html", "table.png"} <= set(made)
    for name in made:
        (copy / name).unlink()
    monkeypatch.setattr(Trainer, "train", None)  # whoever trains, fails
    elements_study.execute(elements_phase3.STUDY, GRID.population, cli.Options(out=str(tmp_path)))
    for name in made:
        assert (copy / name).read_bytes() == (folder / name).read_bytes(), name


def test_results_of_several_chunks_are_in_the_order_of_networks(tmp_path):
    (tmp_path / "results").mkdir()
    for name, networks in (("a", [1, 4]), ("b", [3, 0]), ("c", [2])):
        columns = {"network": np.array(networks), "test_loss": np.array(networks) / 3}
        storage.write_table(tmp_path / "results" / f"{name}.parquet", columns, {})
    found = elements_study.results(tmp_path)
    np.testing.assert_array_equal(found["network"], range(5))
    np.testing.assert_array_equal(found["test_loss"], np.arange(5) / 3)


def test_train_is_the_same_study_for_a_notebook(folder, out, results, monkeypatch):
    monkeypatch.setattr(Trainer, "train", None)
    found = elements_study.train(GRID.population, out, name="elements_phase3")
    for name, column in results.items():
        np.testing.assert_array_equal(found[name], column)


# What a study is


@pytest.mark.parametrize("kind", [elements_phase2.Phase2, Phase3])
def test_every_field_of_a_grid_reaches_its_population(kind):
    population = kind(**EXAMPLES).population
    for f in dataclasses.fields(Population):
        if f.name in {g.name for g in dataclasses.fields(kind)}:
            assert getattr(population, f.name) == EXAMPLES[f.name]
    assert {g.name for g in dataclasses.fields(kind)} <= set(EXAMPLES)
    cells = {(e.activation, e.depth, e.width, int(e.skip)) for e in population.elements}
    assert cells == {
        (a, d, w, s)
        for a in EXAMPLES["activations"]
        for d in EXAMPLES["depths"]
        for w in EXAMPLES["widths"]
        for s in EXAMPLES["skips"]
    }
    assert len(population.elements) == len(cells)


@pytest.mark.parametrize("name", sorted(f.name for f in dataclasses.fields(Population)))
def test_every_setting_counts_for_the_name_of_the_folder(name):
    bare = mixed()
    further = {
        "arms": MIXED[:2],
        "held_back": 20,
        "record_gradients": True,
        "record_weight_stats": True,
        "sigmas": (0.1,),
        "noises": 3,
        "snapshots": True,
        "stream": "tuning",
    }
    other = dataclasses.replace(bare, **{name: (EXAMPLES | further)[name]})
    assert bare.settings() != other.settings()
    assert run.identity("e", bare.settings()) == run.identity("e", mixed().settings())
    assert run.identity("e", bare.settings()) != run.identity("e", other.settings())


def test_elements_that_fit_share_a_program():
    shapes = ("rel-1x4", "tan-3x4", "rel-2x6", "rel-4_8_4", "sin-2x4-skip", "sin-4_8", "tan-4_8_4")
    found = [(g.slots, g.ragged, [shapes[i] for i in g.arms]) for g in groups(mixed_of(*shapes))]
    assert found == [((8, 8, 8), True, list(shapes))]
    wide = ("rel-2x16", "tan-9_12", "rel-1x8", "tan-3x8")
    found = [(g.slots, g.ragged, [wide[i] for i in g.arms]) for g in groups(mixed_of(*wide))]
    assert found == [
        ((16, 16), True, ["rel-2x16", "tan-9_12"]),
        ((8, 8, 8), False, ["rel-1x8", "tan-3x8"]),
    ]


def test_most_numbers_of_trials_share_a_compiled_program():
    def shapes(trials):
        trainer = Trainer(mixed(trials=trials))
        (part,) = trainer.parts((16, 16)).values()
        arguments = trainer._draw(part.trials, 0), trainer._work(part)
        return jax.tree.map(np.shape, arguments)

    assert shapes(5) == shapes(6) == shapes(8)
    assert shapes(8) != shapes(9)


def test_a_compiler_has_room_for_sixty_four_layers():
    slots = (2,) * 64

    def trace(depth):
        params = network.initial(slots, "tanh", np.ones(network.kernel_count(slots), np.float32))
        used = network.Used(depth)
        return network.gradient(
            params, np.ones((2, 3), np.float32), "tanh", False, jax.numpy.cos, used
        )

    shapes = elements_training.compilers().submit(jax.eval_shape, trace, np.int32(64)).result()
    assert len(shapes["params"]) == 65


def test_samples_of_about_a_size_share_a_program():
    sizes = (50, 100, 200, 500, 1000)
    arms = tuple(Arm(MIXED[0], samples=n) for n in sizes)
    found = {g.capacity: [sizes[i] for i in g.arms] for g in groups(mixed(arms))}
    assert found == {200: [50, 100, 200], 1000: [500, 1000]}


@pytest.mark.parametrize("homogeneous", [True, False])
def test_every_network_is_in_one_chunk_whatever_the_devices(homogeneous):
    """Large enough for several chunks a group, and for draws that are made in three parts."""
    population = mixed(names=datasets.NAMES, trials=150)
    tasks = {}
    for count in (1, 3, 4):
        trainer = Trainer(population, jax.devices()[:count])
        trainer.homogeneous = homogeneous
        parts = trainer.parts((16, 16))
        shape = (len(MIXED), len(datasets.NAMES), 150)
        numbers = np.concatenate(
            [
                np.ravel_multi_index((p.arm[m], p.dataset[m], p.trial[m]), shape)
                for p in parts.values()
                for m in [p.chunk.member[p.chunk.valid]]
            ]
        )
        np.testing.assert_array_equal(np.sort(numbers), np.arange(population.size))
        assert len({p.trials for p in parts.values()}) == 3
        tasks[count] = trainer.tasks((16, 16))
    assert tasks[1] == tasks[3] == tasks[4]
    assert sum(task.size for task in tasks[1]) == population.size
    assert len(tasks[1]) > 16


# What the company of others changes: nothing


@pytest.mark.parametrize("e", [MIXED[0], *MIXED[2:]], ids=lambda e: e.symbol)
def test_a_network_equals_its_solo_run_of_fewer_trials(company, e):
    of_both = {name: column[company["trial"] < 2] for name, column in company.items()}
    assert_same_networks(of(of_both, symbol=e.symbol), trained(mixed([e], trials=2)))


def test_one_device_equals_four(results):
    assert len(jax.devices()) == 4
    alone = trained(GRID.population, jax.devices()[:1])
    for name, column in results.items():
        np.testing.assert_array_equal(alone[name], column)


def test_a_program_with_traced_activation_and_depth_equals_one_with_static(results, company):
    """What accelerators run, here on the CPU."""
    assert_same_networks(trained(GRID.population, homogeneous=False), results)
    uneven = trained(mixed(MIXED[2:3], trials=3), homogeneous=False)
    assert_same_networks(uneven, of(company, symbol=MIXED[2].symbol))


def test_order_selection_and_batches_do_not_matter(company, monkeypatch):
    monkeypatch.setattr(elements_training, "DRAWS", 4)  # so the third trial is drawn on its own
    other = trained(mixed(MIXED[2::-1], ("linear", "xor"), trials=3))
    for e in MIXED[:3]:
        for name in ("xor", "linear"):
            found, expected = (of(rows, symbol=e.symbol, dataset=name) for rows in (other, company))
            assert list(found["trial"]) == [0, 1, 2]
            assert_same_networks(found, expected)


def test_seeds_datasets_and_trials_differ(results):
    other = trained(dataclasses.replace(GRID, seed=1).population)
    for e in GRID.population.elements:
        losses = [of(rows, symbol=e.symbol)["test_loss"] for rows in (results, other)]
        assert len(np.unique(losses)) == 2 * len(GRID.datasets) * GRID.trials


def test_elements_and_datasets_of_a_trial_share_its_initial_draws(tmp_path):
    """At learning rate 0 nothing changes, and what is stored is the initialisation."""
    grid = dataclasses.replace(GRID, learning_rate=0.0)
    elements_study.train(grid.population, tmp_path)
    (folder,) = tmp_path.iterdir()
    results, curves = elements_study.results(folder), run.read(folder, "curves")
    for number in results["network"]:
        losses = of(curves, network=number)["train_loss"]
        np.testing.assert_allclose(losses, losses[0], rtol=TOLERANCE)
    (tree,) = checkpoints(folder)
    flat = tree["params"][np.argsort(tree["network"])]
    shape = len(grid.population.arms), len(grid.datasets), grid.trials, -1
    relu, relu2, tanh, _ = (
        network.unflatten(e.widths, rows)["params"]["hidden_0"]["kernel"]
        for e, rows in zip(grid.population.elements, flat.reshape(shape), strict=True)
    )
    np.testing.assert_array_equal(relu[0], relu[1])  # the dataset
    np.testing.assert_array_equal(relu, relu2)  # the depth
    spread = np.sqrt(2 / 2) / np.sqrt(2 / (2 + 8))  # of He's initialisation over Glorot's
    np.testing.assert_allclose(relu, tanh * spread, rtol=TOLERANCE)
    assert not np.isclose(relu[0, 0], relu[0, 1]).any()  # the trial


# What diverges


@pytest.fixture(scope="module")
def wild(tmp_path_factory):
    """A whole run of the same grid at a rate at which networks of rectifiers blow up."""
    grid = dataclasses.replace(GRID, learning_rate=1e6, epochs=40, record_every=17)
    out = tmp_path_factory.mktemp("wild")
    options = cli.Options(out=str(out), export_json=str(out / "json"))
    return elements_study.execute(elements_phase3.STUDY, grid.population, options)


def test_a_network_that_diverges_says_so_and_harms_no_neighbour(wild):
    """Some trials of one block diverge; the others are as in a population without them."""
    results = elements_study.results(wild)
    finite = np.all([np.isfinite(results[name]) for name in METRICS], axis=0)
    np.testing.assert_array_equal(results["diverged"], ~finite)
    assert not of(results, activation="tanh")["diverged"].any()
    block = of(results, symbol="rel-1x8")
    assert 0 < block["diverged"].sum() < len(block["diverged"])
    grid = Phase3(
        activations=("relu",),
        depths=(1,),
        datasets=("xor",),
        trials=2,
        **TINY | {"learning_rate": 1e6, "epochs": 40, "record_every": 17},
    )
    calm = {name: column[:2] for name, column in of(block, dataset="xor").items()}
    assert not calm["diverged"].any()
    assert_same_networks(calm, trained(grid.population))


def test_a_diverged_study_ends_with_tables_that_say_so(wild):
    results = elements_study.results(wild)
    lost = results["diverged"]
    with (wild / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        cells = of(results, symbol=row["symbol"])
        if row["dataset"] != "all":
            cells = of(cells, dataset=row["dataset"])
        assert int(row["diverged"]) == cells["diverged"].sum()
        assert (row["train_loss"] == "") == (not np.isfinite(cells["train_loss"]).all())
        assert 0 <= float(row["test_accuracy"]) <= 1
    assert f"{lost.sum()} of 24 networks diverged" in (wild / "report.html").read_text()
    told = [json.loads(path.read_text()) for path in (wild.parent / "json").iterdir()]
    assert sum(one["diverged"] for one in told) == lost.sum()
    assert {one["diverged"] for one in told if one["train_loss"] is None} == {True}
    assert lost.any()
