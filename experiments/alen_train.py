"""Training ALEN: an organism that answers, a verifier that checks, and thresholds with a bound.

A size (tiny, small, medium, large, xl) on a task (modular, addition, lookup, arithmetic, logic,
chains, facts, scan, or a file of lines `question -> answer`). First the organism learns, then the
verifier on what it answers; at last thresholds are certified on calibration questions, and both are
measured on test questions. An interrupted run goes on from its last checkpoint. --describe prints
the parameters of all sizes. Ask the result with alen_ask.
"""

import dataclasses
import pathlib

from alen import tasks
from experiments import (
    alen_configuration,
    alen_recipes,
    alen_train_course,
    alen_train_found,
    alen_train_questions,
)
from experiments.alen_training import Subject
from experiments.lab import keys
from experiments.shell import cli, report, run, storage

NAME = "alen_train"
TITLE = "ALEN: answers, and how often a verified one is wrong"
QUESTION = (
    "How often are answers to unseen questions right, how many of them are verified, and how often "
    "is a verified one wrong?"
)
TASK_FLAGS = ("prime", "share", "operations", "commute", "digits", "reverse", "notation", "depth")
TASK_FLAGS += ("longest", "tables", "division", "edges", "people", "unknown", "kinds", "split_by")
TASK_FLAGS += ("kept", "tokens", "vocabulary")


@dataclasses.dataclass(frozen=True)
class Train(alen_configuration.Sized):
    """A size and a task, and what of them is changed."""

    task: str = cli.field("modular", ", ".join(tasks.NAMES))
    prime: int | None = cli.field(None, "modular: the modulus")
    share: float | None = cli.field(None, "modular: share of the inputs that is trained on")
    operations: tuple[str, ...] = cli.field((), "modular: some of + - *")
    commute: bool | None = cli.field(None, "modular: a + b and b + a are one input")
    digits: int | None = cli.field(None, "addition: of the numbers")
    reverse: bool | None = cli.field(None, "addition: answers from the lowest digit on")
    notation: str | None = cli.field(None, "lookup: forward or backward")
    depth: int | None = cli.field(None, "lookup, arithmetic: deepest that is trained on")
    longest: int | None = cli.field(None, "lookup, chains: longest that is tested on")
    tables: int | None = cli.field(None, "lookup: number of the set of tables")
    division: bool | None = cli.field(None, "arithmetic: with division")
    edges: int | None = cli.field(None, "chains: relations that are trained on")
    people: int | None = cli.field(None, "facts: whom something is known of")
    unknown: int | None = cli.field(None, "facts: whom nothing is known of")
    kinds: tuple[str, ...] = cli.field((), "logic: kinds of questions")
    split_by: str | None = cli.field(None, "scan: how commands are split")
    kept: float | None = cli.field(None, "scan: share of the commands to train on")
    file: str = cli.field("", "file: path of lines `question -> answer`")
    tokens: str | None = cli.field(None, "file: bytes or pairs")
    vocabulary: int | None = cli.field(None, "file: most tokens of byte pairs")
    steps: int | None = cli.field(None, "steps of the organism; by default as for size and task")
    check_steps: int | None = cli.field(None, "steps of the verifier; likewise")
    evaluate_every: int | None = cli.field(None, "steps between two measurements; likewise")
    weight_decay: float | None = cli.field(None, "of AdamW; likewise")
    check_rate: float | None = cli.field(None, "the verifier's learning rate; likewise")
    check_decay: float | None = cli.field(None, "the verifier's weight decay; likewise")
    warmup: int = cli.field(50, "steps in which the rate rises")
    pool: int | None = cli.field(None, "training questions that are held at a time; likewise")
    renew: int = cli.field(4, "measurements after which others are drawn, where there are more")
    unanswerable: float = cli.field(0.1, "share of questions that have no answer")
    perturbed: float = cli.field(0.3, "share of training questions in another wording")
    held_out: int = cli.field(4096, "most questions of a kind that are asked in the end")
    alpha: float = cli.field(0.05, "bound on the share of wrong answers among the verified")
    delta: float = cli.field(0.05, "chance with which the bound may fail")
    compute: str = cli.field("float32", "float32 or bfloat16: what products are taken in")
    seeds: int = cli.field(1, "organisms trained side by side")
    seed: int = cli.field(0, "seed of the first; the others follow")
    describe: bool = cli.field(False, "print the parameters of all sizes, and stop")

    def __post_init__(self):
        if self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}")
        keys.check(self.seed + self.seeds - 1)
        keys.check(self.seed)

    def ask(self) -> tasks.Task:
        """The task of these flags; refuses flags that it does not know."""
        given = {name: getattr(self, name) for name in TASK_FLAGS}
        given = {name: value for name, value in given.items() if value not in (None, ())}
        if self.file:
            given["lines"] = _lines(self.file)
        elif self.task == "file":
            raise run.Refused("--task=file needs --file, the path of lines `question -> answer`")
        try:
            return alen_recipes.task(self.task, **given)
        except ValueError as error:
            raise run.Refused(str(error).replace("lines' of", "file' of")) from error

    def subject(self) -> Subject:
        """What is trained on what. Raises run.Refused."""
        task = self.ask()
        language = alen_train_questions.language(task)
        recipe = alen_recipes.find(self.size, task.name)
        configuration = alen_recipes.configured(self, recipe, language)
        same = ("warmup", "renew", "unanswerable", "perturbed", "held_out", "compute")
        same += ("alpha", "delta")
        try:
            return Subject(
                task,
                configuration,
                seeds=tuple(range(self.seed, self.seed + self.seeds)),
                **recipe.taken(dataclasses.asdict(self)),
                **{name: getattr(self, name) for name in same},
            )
        except ValueError as error:
            raise run.Refused(str(error)) from error


def _lines(path):
    try:
        return tuple(pathlib.Path(path).read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise run.Refused(f"--file={path} cannot be read: {reason}") from error


def main(study: Train, options: cli.Options) -> pathlib.Path:
    if options.export_json:
        raise run.Refused("--export_json has no meaning here: it is for many experiments")
    subject, out = study.subject(), pathlib.Path(options.out)
    if study.describe:
        words = alen_train_questions.language(subject.task).vocabulary
        print("\n".join(alen_configuration.describe(words)))
        return _folder(subject, out)
    _announce(study, subject)
    if options.dry_run:
        return _folder(subject, out)
    return write(subject, out)


def write(subject: Subject, out: pathlib.Path) -> pathlib.Path:
    """Trains what is missing under `out` and writes the report; returns the run folder."""
    folder = run.execute(alen_train_course.plan(subject, out, NAME), out)
    found = alen_train_found.Found.read(folder, subject)
    storage.write_csv(folder / "summary.csv", found.summary())
    settings = run.manifest(folder)["settings"]
    told = {n: v for n, v in settings["task"].items() if n != "lines"}
    task = ", ".join(f"{n} {v}" for n, v in told.items())
    facts = {**settings, "task": task, **run.facts(folder)}
    page = report.Report(TITLE, QUESTION, facts=facts, **found.parts())
    report.write(folder, page)
    for headline, sentence in page.findings:
        print(f"{headline} {sentence}")
    return folder


def _folder(subject, out):
    return out / run.identity(NAME, subject.settings())


def _announce(study, subject):
    """The resolved configuration and what was chosen without being told."""
    print("\n".join(subject.configuration.lines()))
    task = alen_train_questions.settings(subject.task)
    print(f"# task {', '.join(f'{n} {v}' for n, v in task.items() if n != 'lines')}")
    print(f"# {subject.steps} steps, then {subject.check_steps} of the verifier", flush=True)


if __name__ == "__main__":
    cli.main(Train, main, __doc__)
