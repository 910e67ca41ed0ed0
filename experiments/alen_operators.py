"""Do parallel operators and steps of reasoning help, when they cost the same?

One operator against several, in one step and in more, their hidden width set so that either the
floating-point operations of training or the parameters are equal. Of the candidates that the
operators propose: what the energy selects, against the best of them and a random one; and argmin
against soft selection.
"""

import dataclasses
import pathlib

from alen import blocks
from experiments import alen_configuration, alen_recipes, alen_train_questions, alen_verification
from experiments import alen_operators_analysis as analysis
from experiments import alen_operators_arms as arms
from experiments.alen_operators_arms import Experiment
from experiments.alen_train_subject import Subject
from experiments.lab import keys
from experiments.shell import cli, report, run, storage

NAME = "alen_operators"
TITLE = "ALEN: operators and steps"
QUESTION = "Do parallel operators and steps of reasoning help, when they cost the same?"
APART = 1000  # between the seeds of one root and the next


@dataclasses.dataclass(frozen=True)
class OperatorStudy(alen_configuration.Sized):
    task: str = cli.field("modular:prime=29:share=0.65", "task, settings behind colons")
    match: tuple[str, ...] = cli.field(arms.MATCHES, "what is held equal: flops, parameters")
    operators: tuple[int, ...] = cli.field((1, 4, 8, 12), "numbers of operators, the least first")
    steps: tuple[int, ...] = cli.field((1, 3, 10), "steps of reasoning, the least first")
    seeds: int = cli.field(6, "organisms of each arm, at least 5")
    training_steps: int = cli.field(800, "few, that arms may differ (0: as for size and task)")
    weight_decay: float | None = cli.field(None, "of the organism; likewise")
    pool: int | None = cli.field(None, "training questions that are held at a time; likewise")
    questions: int = cli.field(4000, "most test questions of a stratum")
    compute: str = cli.field("float32", "float32 or bfloat16: what products are taken in")
    seed: int = cli.field(0, "root of all randomness")

    def __post_init__(self):
        alen_verification.task(self.task)
        for name in self.match:
            if name not in arms.MATCHES:
                raise ValueError(f"match must be of {', '.join(arms.MATCHES)}, got {name!r}")
        if not self.match or len(set(self.match)) != len(self.match):
            raise ValueError(f"match must be different names, at least one, got {self.match}")
        for name, most in (("operators", None), ("steps", arms.MOST_STEPS)):
            values = getattr(self, name)
            if not values or list(values) != sorted(set(values)) or values[0] < 1:
                raise ValueError(f"{name} must rise from at least 1, got {values}")
            if most is not None and values[-1] > most:
                raise ValueError(f"{name} must be at most {most}, got {values}")
        if self.seeds < 5 or self.seeds > APART:
            raise ValueError(f"seeds must be from 5 to {APART}, got {self.seeds}")
        for name, least in (("training_steps", 0), ("pool", 1), ("questions", 1)):
            if getattr(self, name) is not None and getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        blocks.dtype_of(self.compute)
        keys.check(self.seed * APART + self.seeds)

    def experiment(self) -> Experiment:
        """What is run. Raises run.Refused for what cannot be built or matched."""
        task = alen_verification.task(self.task)
        recipe = alen_recipes.find(self.size, task.name)
        language = alen_train_questions.language(task)
        configuration = alen_recipes.configured(self, recipe, language)
        told = recipe.taken({**dataclasses.asdict(self), "steps": self.training_steps or None})
        # The reference: the size's operators, and steps as given, or from the middle of the arms'.
        middle = self.reasoning_steps or self.steps[len(self.steps) // 2]
        shape = dataclasses.replace(configuration.architecture, steps=middle)
        try:
            subject = Subject(
                task,
                dataclasses.replace(configuration, architecture=shape),
                seeds=tuple(APART * self.seed + number for number in range(self.seeds)),
                **{**told, "evaluate_every": told["steps"]},
                unanswerable=0.0,
                perturbed=0.0,
                surfaces=0,
                compute=self.compute,
            )
            found = tuple(
                arms.matched(match, shape, operators, steps)
                for match in self.match
                for operators in self.operators
                for steps in self.steps
            )
        except ValueError as error:
            raise run.Refused(str(error)) from error
        return Experiment(subject, found, self.questions)


def publish(experiment: Experiment, study: OperatorStudy, folder: pathlib.Path) -> None:
    """Writes summary.csv, the report and its findings into a run folder."""
    found = analysis.Found(experiment, run.read(folder, "results"))
    storage.write_csv(folder / "summary.csv", analysis.summary(found))
    tests = analysis.tested(found)
    facts = run.facts(folder)
    facts |= {field.name: str(getattr(study, field.name)) for field in dataclasses.fields(study)}
    said = analysis.findings(found, tests)
    page = report.Report(
        TITLE, QUESTION, said, analysis.drawn(found, tests), analysis.tables(found, tests), facts
    )
    report.write(folder, page)


def main(study: OperatorStudy, options: cli.Options) -> pathlib.Path:
    if options.export_json:
        raise run.Refused("--export_json has no meaning here: summary.csv holds all measures")
    experiment, out = study.experiment(), pathlib.Path(options.out)
    if options.dry_run:
        for arm in experiment.arms:
            print(
                f"equal {arm.match}: {arm.operators} operators × {arm.hidden} in {arm.steps} "
                f"steps, {arm.parameters:,} parameters, {arm.flops:,.0f} operations an example"
            )
        return out / run.identity(NAME, experiment.settings())
    folder = arms.execute(experiment, NAME, out)
    publish(experiment, study, folder)
    return folder


if __name__ == "__main__":
    cli.main(OperatorStudy, main, __doc__)
