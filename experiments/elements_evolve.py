"""Search in the space of elements: an activation for every layer, depth, widths, skips.

Independent searches evolve populations of genomes wholly on the device (evosax), beside a random
search of as many evaluations; fitness is accuracy on validation data of fresh trials. Champions
are chosen on further validation trials, and so is the best element of phase 5 within the same
budget of parameters; all are then trained anew and judged on test data that nothing has seen.
"""

import dataclasses
import functools
import pathlib

from elements import datasets, element, evolution, learner
from elements.element import Element
from experiments import (
    elements_campaign,
    elements_evolution,
    elements_phase5,
    elements_search,
    elements_study,
)
from experiments.lab import keys
from experiments.shell import cli, run, storage

ALLOWANCE = 1.05  # phase 5 matches numbers of parameters about as closely; rivals may have more
CHUNK = 2  # generations between two checkpoints, at most


@dataclasses.dataclass(frozen=True)
class Evolve:
    """Searches, the space they search, and the contests of what they find."""

    activations: tuple[str, ...] = cli.field(
        evolution.Space.activations, "activations that a layer may have, by name"
    )
    max_depth: int = cli.field(10, "most hidden layers")
    max_width: int = cli.field(64, "most units of a hidden layer (the fewest are 2)")
    budget: int = cli.field(1000, "most parameters of a network")
    strategy: str = cli.field("genetic", "genetic, differential or cma: who proposes genomes")
    searches: int = cli.field(3, "independent searches, and as many random ones")
    population: int = cli.field(16, "genomes of a generation")
    generations: int = cli.field(10, "generations of a search")
    search_trials: int = cli.field(1, "trials that a genome's fitness is the mean over")
    validations: int = cli.field(400, "validation points of a trial within a search")
    finalists: int = cli.field(4, "best genomes of each search that enter the selection")
    selection_trials: int = cli.field(3, "trials of the selection, on validation data")
    playoffs: int = cli.field(3, "best of each search, and of phase 5, that enter the playoff")
    playoff_trials: int = cli.field(6, "trials of the playoff, on validation data")
    rivals: tuple[str, ...] = cli.field((), "elements to beat, by symbol; by default phase 5's")
    datasets: tuple[str, ...] = cli.field(
        ("xor", "spirals", "moons", "circles"), "datasets, by name"
    )
    trials: int = cli.field(20, "trials of the judgement, on test data")
    epochs: int = cli.field(300, "full-batch steps of training, the same everywhere")
    protocol: str = cli.field("gd", "gd (gradient descent) or adam")
    learning_rate: float | None = cli.field(None, "learning rate; by default the protocol's own")
    samples: int = cli.field(200, "training points")
    tests: int = cli.field(1000, "held-out points of a trial of selection, playoff and judgement")
    noise: float | None = cli.field(None, "noise of the data; by default each dataset's own")
    grid: int = cli.field(4, "cells per side of the checkerboard")
    margin: float = cli.field(1.0, "distance of either blob of `linear` from the origin")
    seed: int = cli.field(0, "seed of all random numbers")

    def __post_init__(self):
        least = {"population": 4, "samples": 2, "tests": 2, "validations": 2}
        counts = ("searches", "generations", "search_trials", "finalists", "selection_trials")
        counts += ("playoffs", "playoff_trials", "trials", "epochs", "grid")
        for name, low in (dict.fromkeys(counts, 1) | least).items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        for name in ("noise", "learning_rate"):
            if getattr(self, name) is not None and not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.datasets:
            raise ValueError("the grid is empty: --datasets names nothing")
        for name in self.datasets:
            datasets.find(name)
        if self.strategy not in elements_search.STRATEGIES:
            known = ", ".join(elements_search.STRATEGIES)
            raise ValueError(f"strategy must be one of {known}, got {self.strategy!r}")
        if learner.protocol(self.protocol).name == learner.TUNED:
            raise ValueError("--protocol takes gd or adam here: a genome has no recipe of its own")
        keys.check(self.seed)
        _ = self.space, self.opponents

    @property
    def space(self) -> evolution.Space:
        return evolution.Space(
            self.max_depth, self.max_width, self.budget, activations=self.activations
        )

    @property
    def rate(self) -> float:
        """The learning rate in force."""
        given = self.learning_rate
        return learner.protocol(self.protocol).learning_rate if given is None else given

    @functools.cached_property
    def opponents(self) -> tuple[Element, ...]:
        """The elements to beat: those named, or phase 5's, as far as the budget reaches."""
        named = tuple(map(element.parse, self.rivals))
        known = named or elements_phase5.Phase5().population.elements
        within = tuple(e for e in known if e.parameters <= ALLOWANCE * self.budget)
        if not within:
            raise ValueError(
                f"no rival has at most {ALLOWANCE * self.budget:.0f} parameters, 5 % more than "
                f"--budget={self.budget}: name smaller ones by --rivals"
            )
        return within

    def settings(self) -> dict:
        """The resolved study as JSON values."""
        content = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        content |= {name: list(content[name]) for name in ("activations", "datasets")}
        content["rivals"] = [e.symbol for e in self.opponents]
        return content | {"learning_rate": self.rate}

    @property
    def chunk(self) -> int:
        """Generations between two checkpoints: all chunks are of one size, and one program."""
        return max(n for n in range(1, CHUNK + 1) if self.generations % n == 0)


NAME = "elements_evolve"
TITLE = "The periodic table of small networks: search in the space of elements"
QUESTION = (
    "Does evolution find, within the same budget of parameters, an element that does better on "
    "held-out data than the best architecture of phase 5, and than random search at equal "
    "evaluations?"
)


def main(study: Evolve, options: cli.Options) -> pathlib.Path:
    out = pathlib.Path(options.out)
    plan = elements_campaign.plan(study, out, NAME)
    if options.dry_run:
        return _announce(study, plan, out)
    if options.export_json:
        run.require_writable(
            pathlib.Path(options.export_json), f"--export_json={options.export_json}"
        )
    folder = report(study, out)
    if options.export_json:
        run.export_json(folder, pathlib.Path(options.export_json), "cohort", ("network",))
    return folder


def report(study: Evolve, out: pathlib.Path) -> pathlib.Path:
    """Runs what is missing under `out` and writes the report; returns the run folder."""
    folder = run.execute(elements_campaign.plan(study, out, NAME), out)
    found = elements_evolution.Found.read(study, folder)
    storage.write_csv(folder / "summary.csv", elements_evolution.summary(found))
    asked = elements_study.Study(NAME, TITLE, QUESTION, elements_evolution.analyse)
    elements_study.write(folder, asked, elements_evolution.analyse(found))
    return folder


def _announce(study, plan, out):
    folder = out / run.identity(plan.name, plan.settings)
    total = sum(task.size for task in plan.tasks(plan.layout))
    print(
        f"{study.searches} evolved and {study.searches} random searches × {study.generations} "
        f"generations × {study.population} genomes, then three contests with "
        f"{len(study.opponents)} rivals: {total:,} networks, {study.epochs} epochs of "
        f"{study.protocol} at learning rate {study.rate:g}"
    )
    for name, value in study.settings().items():
        print(f"  {name}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    return folder


if __name__ == "__main__":
    cli.main(Evolve, main, __doc__)
