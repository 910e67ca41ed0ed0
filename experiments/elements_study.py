"""What every study of elements does: train what is missing, read it back, summarise, report."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from experiments import elements_output, elements_training, elements_tuning
from experiments.elements_findings import Finding
from experiments.elements_population import Population
from experiments.elements_trained import Trained
from experiments.elements_training import Trainer
from experiments.lab import statistics, table
from experiments.shell import cli, run, storage

ALL = "all"  # the name of the row over all datasets


class Outcome:
    """A finished run: its population, its tables (ordered by network), its trained networks."""

    def __init__(self, population: Population, folder: pathlib.Path):
        self.population, self.folder = population, folder

    @functools.cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """One row per network, in the order of the grid."""
        return self.table("results")

    @functools.cached_property
    def trained(self) -> Trained:
        return Trained(self.folder)

    def table(self, name: str) -> dict[str, np.ndarray]:
        return results(self.folder, name)

    def cube(self, column: str) -> np.ndarray:
        """`[A, S, T]`: a column of the results over arms, datasets and trials."""
        return cube(self.population, self.rows, column)

    def curves(self, column: str) -> np.ndarray:
        """`[A, S, T, R]`: a column of the curves, over the recorded epochs as well."""
        config = self.population
        shape = len(config.arms), len(config.datasets), config.trials, -1
        return self._curves[column].reshape(shape).astype(np.float64)

    @functools.cached_property
    def _curves(self):
        return self.table("curves")


class Study(NamedTuple):
    """A question, and `analyse(outcome) -> dict` of its report's parts: `findings` (a list of
    `elements_findings.Finding`), `figures` and `tables` as in `report.Report`."""

    name: str
    title: str
    question: str
    analyse: Callable[[Outcome], dict]


def train(population: Population, out: str | pathlib.Path = "runs", name="elements") -> dict:
    """Trains a population (or resumes it) and gives back its results: columns by name.

    For `pandas.DataFrame` or `polars.DataFrame`; the run folder is kept under `out`.
    """
    return outcome(population, pathlib.Path(out), name).rows


def results(folder: pathlib.Path, name="results") -> dict[str, np.ndarray]:
    """The rows of a table of a run folder, in the order of the networks."""
    return table.ordered(run.read(folder, name), "network")


def outcome(
    population: Population, out: pathlib.Path, name: str, trainer: Trainer | None = None
) -> Outcome:
    """The finished run of a population, trained as far as it is not yet stored under `out`."""
    if elements_tuning.needed(population):
        population, trainer = elements_tuning.tuned(population, out), None
    plan = elements_training.plan(population, name, trainer)
    return Outcome(population, run.execute(plan, out))


def execute(study: Study, population: Population, options: cli.Options) -> pathlib.Path:
    """Runs a study as its options say; returns its run folder."""
    out = pathlib.Path(options.out)
    if options.dry_run:
        return _announce(study, population, out)
    if options.export_json:
        run.require_writable(
            pathlib.Path(options.export_json), f"--export_json={options.export_json}"
        )
    found = report(study, population, out)
    if options.export_json:
        labels = ("symbol", *found.population.factors, "dataset", "trial")
        run.export_json(found.folder, pathlib.Path(options.export_json), "network", labels)
    return found.folder


def report(study: Study, population: Population, out: pathlib.Path) -> Outcome:
    """Trains, summarises and reports into the run folder."""
    found = outcome(population, out, study.name)
    publish(study, population, found, out)
    return found


def publish(study: Study, asked: Population, found: Outcome, out: pathlib.Path) -> None:
    """Summarises and reports what came of the population `asked` for into its run folder."""
    storage.write_csv(found.folder / "summary.csv", summary(found.population, found.rows))
    parts = study.analyse(found)
    if elements_tuning.needed(asked):
        plain = dataclasses.replace(asked, protocol="gd")
        _compare(parts, storage.read_json(_reported(study, plain, out) / "findings.json"))
    write(found.folder, study, parts)


def _reported(study, population, out) -> pathlib.Path:
    """The folder of a population's report, which is only made where there is none."""
    plan = elements_training.plan(population, study.name)
    folder = out / run.identity(plan.name, plan.settings)
    there = (folder / "findings.json").exists()
    return folder if there else report(study, population, out).folder


def _compare(parts: dict, plain: Mapping) -> None:
    """Adds to the parts of a tuned study which of its verdicts were those of plain `gd` too."""
    before, now = plain["verdicts"], _verdicts(parts)
    was = {q: before.get(q, "not asked") for q in now}
    rows = [[q, was[q], now[q], "yes" if was[q] == now[q] else "no"] for q in now]
    changed = [
        f"{q} {old} under gd, {new} when tuned" for q, old, new, same in rows if same == "no"
    ]
    told = f"{len(rows) - len(changed)} of {len(rows)} headline answers are the same as under gd"
    told += f"; these change: {'; '.join(changed)}." if changed else "."
    parts["findings"].insert(0, Finding("Does it survive tuning?", told))
    header = ["question", "gd", "tuned", "survives"]
    caption = (
        "Under gd all elements share one learning rate and gain; tuned, each has its own "
        "optimiser, learning rate and initial gain, chosen on trials of their own."
    )
    parts["tables"] = {"Which answers survive tuning": (header, rows, caption), **parts["tables"]}


def _verdicts(parts) -> dict[str, str]:
    return {found.headline: found.verdict for found in parts["findings"] if found.verdict}


def _announce(study, population, out):
    if elements_tuning.needed(population):
        space = elements_tuning.search(population)
        print(f"first a search of {space.size:,} networks for the recipes, then:")
    plan = elements_training.plan(population, study.name)
    folder = out / run.identity(plan.name, plan.settings)
    tasks = plan.tasks(plan.layout)
    arms = "arms" if population.factors else "elements"
    print(
        f"{len(population.arms)} {arms} × {len(population.datasets)} datasets × "
        f"{population.trials} trials = {population.size:,} networks, {population.epochs} epochs of "
        f"{population.protocol} at learning rate {population.rate:g}, in {len(tasks)} chunks"
    )
    for name, value in population.settings().items():
        print(f"  {name}: {_said(value)}")
    return folder


def write(folder: pathlib.Path, study: Study, parts: dict) -> None:
    """Writes the report of a finished run, and its findings as JSON, into its folder."""
    from experiments.shell import report

    settings = run.manifest(folder)["settings"]
    facts = {**{name: _said(value) for name, value in settings.items()}, **run.facts(folder)}
    told = [finding[:2] for finding in parts["findings"]]
    page = report.Report(study.title, study.question, facts=facts, **parts | {"findings": told})
    report.write(folder, page, _verdicts(parts))


def _said(value):
    if isinstance(value, dict):  # an arm with its factors
        return " ".join([value["symbol"], *(f"{k}={v}" for k, v in value.items() if k != "symbol")])
    return ", ".join(map(_said, value)) if isinstance(value, list) else str(value)


def cube(population: Population, rows: Mapping, column: str) -> np.ndarray:
    """`[A, S, T]`: a column of the results over arms, datasets and trials."""
    return table.cube(
        rows,
        column,
        arm=range(len(population.arms)),
        dataset=population.datasets,
        trial=range(population.trials),
    )


def summary(population: Population, rows: Mapping) -> dict[str, np.ndarray]:
    """A row per arm × dataset and, as dataset `all`, per arm; 95 % intervals."""
    elements, names = population.elements, (*population.datasets, ALL)
    repeat = lambda values: np.repeat(np.array(values), len(names))
    columns = {
        name: repeat([getattr(e, name) for e in elements])
        for name in ("symbol", "activation", "depth", "width", "skip")
    }
    columns["dataset"] = np.tile(np.array(names), len(elements))
    columns["n"] = np.full(len(elements) * len(names), population.trials)
    further = [n for n in rows if n.endswith(("_accuracy", "_loss"))]
    for metric in dict.fromkeys((*elements_output.FIRST, *further)):
        samples = cube(population, rows, metric)
        samples = np.concatenate([samples, samples.mean(1, keepdims=True)], axis=1)
        estimate = statistics.mean(samples)
        for suffix in ("", "_low", "_high"):
            columns[metric + suffix] = getattr(estimate, suffix[1:] or "value").ravel()
    diverged = cube(population, rows, "diverged").sum(-1)
    diverged = np.concatenate([diverged, diverged.sum(1, keepdims=True)], axis=1)
    columns["diverged"] = diverged.ravel().astype(int)
    columns["parameters"] = repeat([e.parameters for e in elements])
    columns["hidden_layers"] = repeat(["_".join(map(str, e.widths)) for e in elements])
    return columns | {n: repeat(v) for n, v in elements_output.factors(population).items()}
