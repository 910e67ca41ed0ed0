"""Does verification prevent wrong answers, and what does it cost?

Organisms of each task, over seeds, are trained with their verifiers and asked questions of every
stratum. Each check alone, each pair, and all three are held against maximal softmax, sequence
log-probability, self-consistency at equal compute, the correctness head alone, and against
accepting everything. Thresholds of all are certified on calibration questions to the same risk.
"""

import dataclasses
import functools
import pathlib

import numpy as np

from alen import tasks, verify
from experiments import alen_configuration, alen_recipes, alen_train_questions, alen_train_subject
from experiments import alen_verification_analysis as analysis
from experiments import alen_verification_asking as asking
from experiments import alen_verification_experiment as experiments
from experiments import alen_verification_findings as findings
from experiments import alen_verification_tables as tables
from experiments.alen_verification_experiment import Experiment
from experiments.lab import keys, statistics
from experiments.shell import cli, report, run, storage

NAME = "alen_verification"
TITLE = "ALEN: verification"
QUESTION = "Does verification prevent wrong answers, and what does it cost?"
STANDARD, TINY = 30_000, 4_000  # questions of a stratum
APART = 1000  # between the seeds of one root and the next


@dataclasses.dataclass(frozen=True)
class Verification(alen_configuration.Sized):
    tasks: tuple[str, ...] = cli.field(
        ("modular", "lookup"), "tasks, with settings as in lookup:notation=backward:depth=4"
    )
    seeds: int = cli.field(5, "number of organisms of each task")
    steps: int | None = cli.field(None, "training steps; by default as for size and task")
    check_steps: int | None = cli.field(None, "training steps of the verifier; likewise")
    questions: int | None = cli.field(
        None, f"most of a stratum and split; by default {STANDARD}, for tiny organisms {TINY}"
    )
    risk: float = cli.field(0.01, "share of wrong answers among the verified to certify")
    delta: float = cli.field(0.05, "chance that a certified share is exceeded")
    weight_decay: float | None = cli.field(None, "of organism and verifier; likewise")
    compute: str = cli.field("float32", "float32 or bfloat16: what products are taken in")
    seed: int = cli.field(0, "root of all randomness")

    def __post_init__(self):
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise ValueError(f"tasks must be different, at least one, got {self.tasks}")
        for label in self.tasks:
            task(label)
        for name in ("seeds", "questions"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seeds > APART:
            raise ValueError(f"seeds must be at most {APART}, got {self.seeds}")
        for name in ("risk", "delta"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must lie strictly between 0 and 1, got {getattr(self, name)}"
                )
        keys.check(self.seed * APART + self.seeds)

    @property
    def most(self) -> int:
        """Questions of a stratum and split."""
        return self.questions or (TINY if self.size == "tiny" else STANDARD)

    def experiment(self) -> Experiment:
        """What is run. Raises run.Refused for an impossible configuration."""
        return Experiment(
            tuple((label, self._subject(label)) for label in self.tasks), self.most, self.seed
        )

    def _subject(self, label):
        chosen = task(label)
        language = alen_train_questions.language(chosen)
        recipe = alen_recipes.find(self.size, chosen.name)
        configuration = alen_recipes.configured(self, recipe, language)
        try:
            return alen_train_subject.Subject(
                chosen,
                configuration,
                seeds=tuple(APART * self.seed + number for number in range(self.seeds)),
                **recipe.taken(dataclasses.asdict(self)),
                compute=self.compute,
            )
        except ValueError as error:
            raise run.Refused(str(error)) from error


@functools.cache
def task(label: str) -> tasks.Task:
    """The task of a label: a name, and settings behind colons. Raises ValueError."""
    name, *given = label.split(":")
    settings = {}
    fields = {field.name: field.default for field in dataclasses.fields(tasks.find(name))}
    for one in given:
        key, equals, text = one.partition("=")
        if not equals:
            raise ValueError(
                f"a task's setting must look like name=value, got {one!r} in {label!r}"
            )
        settings[key] = _value(label, key, text, fields.get(key))
    return alen_recipes.task(name, **settings)


def _value(label, key, text, default):
    """`text` as a value like `default`; parts of a tuple are set apart by '|'."""
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise ValueError(f"{key} must be true or false, got {text!r} in {label!r}")
        return text == "true"
    if isinstance(default, int | float):
        try:
            return type(default)(text)
        except ValueError as error:
            kind = "whole number" if isinstance(default, int) else "number"
            raise ValueError(f"{key} must be a {kind}, got {text!r} in {label!r}") from error
    return tuple(text.split("|")) if isinstance(default, tuple) else text


def measured(outcome: experiments.Outcome, study: Verification) -> findings.Found:
    """All organisms' numbers, from what is stored."""
    size = outcome.experiment.size
    return {
        label: [
            analysis.measure(
                label, size, seed, outcome.answers(label, seed), study.risk, study.delta
            )
            for seed in outcome.experiment.seeds
        ]
        for label in outcome.experiment.labels
    }


def costs(outcome: experiments.Outcome) -> dict[str, dict[str, float]]:
    """Task → what each way to an answer with a score costs, in greedy answers."""
    found = {}
    for label, subject in outcome.experiment.subjects:
        cost = asking.costs(subject, outcome.parts(label))
        share = {name: getattr(cost, name) / cost.answer for name in verify.CHECKS}
        found[label] = {"greedy answer": 1.0} | share
        found[label] |= {"answer + all three": 1 + sum(share.values())}
        found[label] |= {"self-consistency": float(cost.samples)}
    return found


def publish(outcome: experiments.Outcome, study: Verification) -> None:
    """Writes summary.csv, metrics.csv and the report into the run folder."""
    experiment, folder, found = outcome.experiment, outcome.folder, measured(outcome, study)
    rows = [row for organisms in found.values() for one in organisms for row in one.rows]
    storage.write_csv(folder / "summary.csv", analysis.columns(rows))
    every = (*analysis.COLUMNS, *analysis.FURTHER)
    storage.write_csv(folder / "metrics.csv", analysis.columns(rows, every))
    stored = outcome.tables
    told = findings.findings(found, study.risk)
    told += [_energy(tables.energies(found, stored["candidates"])), _size(study)]
    names = {label: experiments.strata(subject.task) for label, subject in experiment.subjects}
    page = report.Report(
        TITLE,
        QUESTION,
        told,
        tables.drawn(found, stored["candidates"], stored["operators"], names),
        tables.tables(found, costs(outcome)),
        _facts(folder, study),
    )
    report.write(folder, page)


def _energy(found):
    parts = []
    for label, numbers in found.items():
        known = numbers[np.isfinite(numbers)]
        value = findings.shown(statistics.mean(known)) if known.size else "unknown"
        parts.append(f"{label} {value} % ({known.size} of {numbers.size} seeds have both kinds)")
    return (
        "Does the energy know?",
        "A candidate that decodes to the truth has a lower energy than one that does not, of all "
        f"candidates of trained test questions, with a chance of: {'; '.join(parts)}.",
    )


def _size(study):
    asked = f"At most {study.most:,} questions of each stratum and split were asked"
    if study.most < STANDARD:
        return "Size", (
            f"{asked}, fewer than the {STANDARD:,} of the full study; domains listed within that "
            "are enumerated and exact, all other rates are from draws."
        )
    return "Size", f"{asked}; domains listed within that are enumerated and exact."


def _facts(folder, study):
    facts = run.facts(folder)
    facts |= {field.name: str(getattr(study, field.name)) for field in dataclasses.fields(study)}
    return facts | {
        label: ", ".join(f"{k} {v}" for k, v in settings.items())
        for label, settings in run.manifest(folder)["settings"]["subjects"].items()
    }


def main(study: Verification, options: cli.Options) -> pathlib.Path:
    if options.export_json:
        raise run.Refused("--export_json has no meaning here: metrics.csv holds all measures")
    experiment, out = study.experiment(), pathlib.Path(options.out)
    if options.dry_run:
        for label, subject in experiment.subjects:
            print(f"{label}: {study.seeds} organisms of size {study.size}, {subject.steps} steps")
            print(
                f"  up to {study.most} questions of {', '.join(experiments.strata(subject.task))}"
            )
        return out / run.identity(NAME, experiment.settings())
    outcome = experiments.execute(experiment, NAME, out)
    publish(outcome, study)
    return outcome.folder


if __name__ == "__main__":
    cli.main(Verification, main, __doc__)
