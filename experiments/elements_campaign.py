"""From a search to its verdict, in chunks that a kill does not lose: generations, then contests.

The tasks of a run are chunks of generations, each of which goes on from the state that the one
before has stored, and three contests: the *selection* of the searches' finalists and of their
rivals, the *playoff* of the best of them (both on validation data), and the *test*. Every task
reads what it needs from the run folder.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from elements import evolution
from experiments import elements_entrants, elements_search
from experiments.elements_entrants import Entrant
from experiments.elements_search import METHODS
from experiments.shell import run, storage
from experiments.shell.run import Output, Plan, Task

TABLES = ("results", "curves", "contests")
SELECTION, PLAYOFF, TEST = "selection", "playoff", "test"
VALIDATION = (SELECTION, PLAYOFF)


class Campaign:
    """The tasks of a study (`elements_evolve.Evolve`) whose run folder is `folder`."""

    def __init__(self, study, folder: pathlib.Path, devices=None):
        self.study, self.folder, self.devices = study, folder, devices

    def tasks(self, layout: Sequence[int]) -> list[Task]:
        """`layout` is the number of generations in a chunk."""
        study, (length,) = self.study, layout
        camps = len(METHODS) * study.searches
        cases = len(study.datasets) * study.search_trials
        chunk = length * camps * study.population * cases
        chunks = [Task(_name(first), chunk) for first in range(0, study.generations, length)]
        entrants = {
            SELECTION: camps * study.finalists + len(study.opponents),
            PLAYOFF: (camps + 1) * study.playoffs,
            TEST: camps + 1,
        }
        sizes = {s: n * self._trials(s) * len(study.datasets) for s, n in entrants.items()}
        return chunks + [Task(stage, size) for stage, size in sizes.items()]

    def _trials(self, stage):
        study = self.study
        of = {SELECTION: study.selection_trials, PLAYOFF: study.playoff_trials, TEST: study.trials}
        return of[stage]

    def train(
        self, layout: Sequence[int], pending: Sequence[Task]
    ) -> Iterator[tuple[Task, Output]]:
        """Runs the pending tasks in order; what was stored before them is there by then."""
        (length,) = layout
        search = contest = None
        for task in pending:
            if task.name in (SELECTION, PLAYOFF, TEST):
                contest = contest or self.contest()
                yield task, self._compete(contest, task.name)
            else:
                search = search or elements_search.Search(self.study, self.devices)
                yield task, self.evolve(search, int(task.name.split("-")[1]), length)

    def evolve(self, search, first: int, length: int) -> Output:
        """So many generations of a `Search`, on from those that are stored before `first`."""
        state = search.start()
        if first:
            stored = storage.load_tree(self.folder / "checkpoints" / _name(first - length))
            state = state.replace(**stored)
        state, records = jax.tree.map(np.asarray, search.run(state, np.uint32(first), length))
        tree = {f.name: getattr(state, f.name) for f in dataclasses.fields(state)}
        tables = {
            "results": genomes(self.study, records, first),
            "curves": curves(records, first),
            "contests": self._contests("", [], None),
        }
        return Output(tables, tree)

    def contest(self) -> elements_search.Contest:
        """The contest that all entrants of the study fit into."""
        rivals = [elements_entrants.rival(e) for e in self.study.opponents]
        known = [evolution.body(e.kinds, e.widths, e.skip, len(e.widths)) for e in rivals]
        return elements_search.Contest(self.study, known, self.devices)

    def _compete(self, contest, stage) -> Output:
        entrants = self._entrants(stage)
        slots = max(self.study.max_depth, *(len(e.widths) for e in entrants))
        bodies = elements_entrants.bodies(entrants, slots)
        scores = contest.run(bodies, stage, self._trials(stage))
        # The exact share that float32 has rounded.
        tests = self.study.tests
        scores["accuracy"] = np.rint(scores["accuracy"].astype(np.float64) * tests) / tests
        none = {name: column[:0] for name, column in run.read(self.folder, "results").items()}
        flat = {name: column[:0] for name, column in run.read(self.folder, "curves").items()}
        table = self._contests(stage, entrants, scores)
        return Output({"results": none, "curves": flat, "contests": table}, scores)

    def _entrants(self, stage) -> list[Entrant]:
        study = self.study
        if stage == SELECTION:
            rivals = [elements_entrants.rival(e) for e in study.opponents]
            rows = run.read(self.folder, "results")
            return [*elements_entrants.finalists(rows, study.finalists), *rivals]
        rows = run.read(self.folder, "contests")
        known = VALIDATION[: 1 + (stage == TEST)]
        ranked = ranked_by(rows, known)
        return elements_entrants.leading(ranked, study.playoffs if stage == PLAYOFF else 1)

    def _contests(self, stage, entrants, scores) -> dict[str, np.ndarray]:
        """A row per entrant, trial and dataset; none, but its columns, without entrants."""
        shape = (0, 0, 0) if scores is None else scores["accuracy"].shape
        entrant, trial, dataset = (a.ravel() for a in np.indices(shape))
        some = Entrant("", 0, ("relu",), (1,), False)  # for the columns of no rows
        said = [e.columns() for e in entrants] or [some.columns()]
        columns = {name: np.array([c[name] for c in said])[entrant] for name in said[0]}
        scores = scores or {"accuracy": np.empty(0), "loss": np.empty(0, np.float32)}
        return {
            "stage": np.full(len(trial), stage or "none"),
            "entrant": entrant,
            **columns,
            "dataset": np.array(self.study.datasets)[dataset],
            "trial": trial,
            **{name: a.ravel() for name, a in scores.items()},
        }


def _name(first: int) -> str:
    return f"generations-{first:05d}"


def ranked_by(rows, stages: Sequence[str]) -> dict[Entrant, tuple[float, float]]:
    """The standings of those that took part in the last of the stages, over all of them."""
    last = set(elements_entrants.standings(_of(rows, stages[-1:])))
    found = elements_entrants.standings(_of(rows, stages))
    return {entrant: mean for entrant, mean in found.items() if entrant in last}


def _of(rows, stages):
    keep = np.isin(rows["stage"], stages)
    return {name: column[keep] for name, column in rows.items()}


def genomes(study, records: elements_search.Records, first: int) -> dict[str, np.ndarray]:
    """A row per genome evaluated; `records` begin with generation `first`."""
    shape = records.fitness.shape
    generation, search, method, member = (a.ravel() for a in np.indices(shape))
    bodies = jax.tree.map(lambda a: a.reshape(len(method), *a.shape[4:]), records.bodies)
    entrants = [
        elements_entrants.decoded(
            METHODS[method[i]], int(search[i]), jax.tree.map(lambda a, i=i: a[i], bodies)
        )
        for i in range(len(method))
    ]
    said = [entrant.columns() for entrant in entrants]
    return {
        "network": first * int(np.prod(shape[1:])) + np.arange(len(method)),
        "cohort": search * len(METHODS) + method,
        **{name: np.array([c[name] for c in said]) for name in said[0]},
        "generation": first + generation,
        "member": member,
        "fitness": records.fitness.ravel(),
        "validation_accuracy": records.accuracy.ravel(),
        "validation_loss": records.loss.ravel(),
        "seed": np.full(len(method), study.seed),
        "protocol": np.full(len(method), study.protocol),
        "epochs": np.full(len(method), study.epochs),
    }


def curves(records: elements_search.Records, first: int) -> dict[str, np.ndarray]:
    """A row per generation of every cohort (a search and a method)."""
    generation, search, method = (a.ravel() for a in np.indices(records.fitness.shape[:3]))
    return {
        "cohort": search * len(METHODS) + method,
        "method": np.array(METHODS)[method],
        "search": search,
        "generation": first + generation,
        "best_fitness": records.fitness.max(3).ravel(),
        "mean_fitness": records.fitness.mean(3).ravel(),
        "best_accuracy": records.accuracy.max(3).ravel(),
        "mean_accuracy": records.accuracy.mean(3).ravel(),
    }


def plan(study, out: pathlib.Path, name: str) -> Plan:
    """What the shell must know to run the searches and the contests of a study under `out`."""
    folder = out / run.identity(name, study.settings())
    campaign = Campaign(study, folder)
    return Plan(
        name, study.settings(), (study.chunk,), campaign.tasks, campaign.train, "network", TABLES
    )
