"""What every study of elements does: train what is missing, read it back, summarise, report."""

import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from experiments.elements_population import Population
from experiments.elements_training import Trainer
from experiments.lab import statistics, table
from experiments.shell import cli, run, storage

ALL = "all"  # the name of the row over all datasets


class Study(NamedTuple):
    """A question, and `analyse(population, results, curves) -> dict` of the report's parts."""

    name: str
    title: str
    question: str
    analyse: Callable[[Population, Mapping, Mapping], dict]


def train(population: Population, out: str | pathlib.Path = "runs", name="elements") -> dict:
    """Trains a population (or resumes it) and gives back its results: columns by name.

    For `pandas.DataFrame` or `polars.DataFrame`; the run folder is kept under `out`.
    """
    return results(run.execute(_plan(population, name), pathlib.Path(out)))


def results(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """The rows of a run folder, one per network, in the order of the grid."""
    return table.ordered(run.read(folder, "results"), "network")


def execute(study: Study, population: Population, options: cli.Options) -> pathlib.Path:
    """Runs a study as its options say; returns its run folder."""
    plan, out = _plan(population, study.name), pathlib.Path(options.out)
    if options.dry_run:
        return _announce(plan, population, out)
    if options.export_json:
        run.require_writable(
            pathlib.Path(options.export_json), f"--export_json={options.export_json}"
        )
    folder = run.execute(plan, out)
    rows = results(folder)
    curves = table.ordered(run.read(folder, "curves"), "network")
    storage.write_csv(folder / "summary.csv", summary(population, rows))
    _report(folder, study, study.analyse(population, rows, curves))
    if options.export_json:
        run.export_json(
            folder, pathlib.Path(options.export_json), "network", ("symbol", "dataset", "trial")
        )
    return folder


def _plan(population, name) -> run.Plan:
    trainer = Trainer(population)
    return run.Plan(
        name, population.settings(), trainer.layout(), trainer.tasks, trainer.train, "network"
    )


def _announce(plan, population, out):
    folder = out / run.identity(plan.name, plan.settings)
    tasks = plan.tasks(plan.layout)
    print(
        f"{len(population.elements)} elements × {len(population.datasets)} datasets × "
        f"{population.trials} trials = {population.size:,} networks, {population.epochs} epochs of "
        f"{population.protocol} at learning rate {population.rate:g}, in {len(tasks)} chunks"
    )
    for name, value in population.settings().items():
        print(f"  {name}: {' '.join(map(str, value)) if isinstance(value, list) else value}")
    return folder


def _report(folder, study, parts):
    from experiments.shell import report

    manifest = run.manifest(folder)
    facts = {
        **{name: _said(value) for name, value in manifest["settings"].items()},
        **{name: manifest[name] for name in ("device", "python", "commit", "started", "finished")},
        "seconds": f"{manifest['seconds']:.1f}",
        "versions": ", ".join(f"{name} {v}" for name, v in manifest["versions"].items()),
    }
    report.write(folder, report.Report(study.title, study.question, facts=facts, **parts))


def _said(value):
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def accuracies(population: Population, rows: Mapping, column: str) -> np.ndarray:
    """`[E, S, T]`: a column of the results over elements, datasets and trials."""
    return table.cube(
        rows,
        column,
        symbol=[e.symbol for e in population.elements],
        dataset=population.datasets,
        trial=range(population.trials),
    )


def summary(population: Population, rows: Mapping) -> dict[str, np.ndarray]:
    """A row per element × dataset and, as dataset `all`, per element; 95 % intervals."""
    elements, names = population.elements, (*population.datasets, ALL)
    repeat = lambda values: np.repeat(np.array(values), len(names))
    columns = {
        name: repeat([getattr(e, name) for e in elements])
        for name in ("symbol", "activation", "depth", "width", "skip")
    }
    columns["dataset"] = np.tile(np.array(names), len(elements))
    columns["n"] = np.full(len(elements) * len(names), population.trials)
    for metric in ("train_accuracy", "test_accuracy", "train_loss", "test_loss"):
        samples = accuracies(population, rows, metric)
        samples = np.concatenate([samples, samples.mean(1, keepdims=True)], axis=1)
        estimate = statistics.mean(samples)
        for suffix in ("", "_low", "_high"):
            columns[metric + suffix] = getattr(estimate, suffix[1:] or "value").ravel()
    diverged = accuracies(population, rows, "diverged").sum(-1)
    diverged = np.concatenate([diverged, diverged.sum(1, keepdims=True)], axis=1)
    columns["diverged"] = diverged.ravel().astype(int)
    columns["parameters"] = repeat([e.parameters for e in elements])
    return columns
