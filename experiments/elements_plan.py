"""The whole plan of the periodic table: phases 3 to 8, one after the other, and what they found.

Every phase is the study of its own name, with its own run folder, and resumes like it. Setting a
number here sets it for all phases; by default each keeps its own.
"""

import concurrent.futures
import dataclasses
import importlib
import pathlib
import sys
import time

from elements import learner
from experiments import elements_study, elements_training, elements_tuning
from experiments.shell import cli, report, run, storage

PHASES = {
    3: "robustness",
    4: "depth limits",
    5: "architectures",
    6: "learning dynamics",
    7: "generalisation",
    8: "composition and transfer",
}
QUESTION = (
    "What can small networks learn, as far as their activation, depth, width, skips, data and "
    "company decide it?"
)


@dataclasses.dataclass(frozen=True)
class Plan:
    phases: tuple[int, ...] = cli.field(tuple(PHASES), "phases to run, in order")
    protocols: tuple[str, ...] = cli.field(("gd",), "protocols under which each phase is run")
    trials: int | None = cli.field(None, "data draws and initialisations of every phase")
    epochs: int | None = cli.field(None, "full-batch steps of training of every phase")
    seed: int = cli.field(0, "seed of all random numbers")

    def __post_init__(self):
        if not self.phases or not self.protocols:
            raise ValueError("the plan is empty: --phases and --protocols must name something")
        for phase in self.phases:
            if phase not in PHASES:
                allowed = ", ".join(map(str, PHASES))
                raise ValueError(f"phases takes numbers among {allowed}, got {phase}")
        for name in self.protocols:
            learner.protocol(name)
        _ = self.studies()  # refuses what some phase cannot train

    def studies(self) -> list[tuple[int, elements_study.Study, object]]:
        """(phase, study, population) of every phase under every protocol."""
        given = {"trials": self.trials, "epochs": self.epochs}
        given = {name: value for name, value in given.items() if value is not None}
        found = []
        for phase in self.phases:
            module = importlib.import_module(f"experiments.elements_phase{phase}")
            for protocol in self.protocols:
                grid = getattr(module, f"Phase{phase}")(protocol=protocol, seed=self.seed, **given)
                found.append((phase, module.STUDY, grid.population))
        return found


def main(plan: Plan, options: cli.Options) -> pathlib.Path:
    if options.export_json:
        raise run.Refused("--export_json is a flag of the single phases")
    studies = plan.studies()
    folder = pathlib.Path(options.out) / run.identity("elements_plan", dataclasses.asdict(plan))
    if options.dry_run:
        for phase, _, population in studies:
            programs = len(elements_training.groups(population))
            print(
                f"phase {phase}, {PHASES[phase]}: {population.size:,} networks, "
                f"{population.epochs} epochs of {population.protocol}, {programs} programs"
            )
        print(f"{sum(population.size for *_, population in studies):,} networks in all")
        return folder
    run.require_writable(folder, f"--out={options.out}")
    out, start = pathlib.Path(options.out), time.perf_counter()
    done = train(studies, out)
    findings = []
    for name, _, folder_of in done:
        told = storage.read_json(folder_of / "findings.json")["findings"]
        findings += [(f"{name}: {headline}", sentence) for headline, sentence in told]
    rows = [[name, f"{size:,}", folder_of.name] for name, size, folder_of in done]
    caption = "Each has a report of its own in its run folder."
    tables = {"Phases": (["phase", "networks", "run folder"], rows, caption)}
    facts = {"seed": plan.seed, "networks": f"{sum(size for _, size, _ in done):,}"}
    facts |= {"seconds": f"{time.perf_counter() - start:.1f}"}
    facts |= {"CPU-seconds of this process": f"{time.process_time():.1f}"}
    title = "The periodic table of small networks: the whole plan"
    report.write(folder, report.Report(title, QUESTION, findings, {}, tables, facts))
    return folder


def train(studies, out: pathlib.Path) -> list[tuple[str, int, pathlib.Path]]:
    """(name, networks, run folder) of every phase.

    While one phase trains, the next are compiled and the one before is reported.
    """
    trainers = [_begun(study, population, out) for _, study, population in studies]
    done, reports = [], []
    with concurrent.futures.ThreadPoolExecutor(1) as reporter:
        for (phase, study, population), trainer in zip(studies, trainers, strict=True):
            name = f"Phase {phase}, {PHASES[phase]}, {population.protocol}"
            print(name, file=sys.stderr)
            found = elements_study.outcome(population, out, study.name, trainer)
            reports.append(reporter.submit(elements_study.publish, study, population, found, out))
            done.append((name, found.population.size, found.folder))
        for each in reports:
            each.result()
    return done


def _begun(study, population, out) -> elements_training.Trainer | None:
    """A trainer that compiles already, where all is known and the run is not there yet."""
    folder = out / run.identity(study.name, population.settings())
    if elements_tuning.needed(population) or (folder / "report.html").exists():
        return None
    trainer = elements_training.Trainer(population)
    trainer.programs(list(trainer.parts(trainer.layout()).values()))
    return trainer


if __name__ == "__main__":
    cli.main(Plan, main, __doc__)
