"""Training a character transformer: how low does its loss on unseen text go, and how fast?

A preset (prototype, nanogpt, big, tiny) on a corpus: `documentation` (prose) and `source` (code)
come with Python, `shakespeare` and `wiki` are looked up in --corpus_dir or downloaded, anything
else is the path of a UTF-8 file. Losses are full passes over held-out text; an interrupted run goes
on from its last checkpoint.
"""

import dataclasses
import pathlib

from apoptosis import presets, transformer
from experiments import apoptosis_course, apoptosis_trained
from experiments.apoptosis_training import Subject
from experiments.lab import keys
from experiments.shell import cli, corpus, report, run, storage

NAME = "apoptosis_train"
TITLE = "A character transformer, without death and birth"
QUESTION = (
    "How low does the loss of a transformer on text that it has not seen go, and how fast is it "
    "trained?"
)


@dataclasses.dataclass(frozen=True)
class Train:
    """A preset and a corpus, and what of the preset is changed."""

    preset: str = cli.field("tiny", "prototype, nanogpt, big or tiny")
    corpus: str = cli.field("documentation", "documentation, source, shakespeare, wiki or a path")
    corpus_dir: str = cli.field("", "folder in which corpora are looked up before a download")
    steps: int | None = cli.field(None, "training steps; by default the preset's")
    batch: int | None = cli.field(None, "sequences a step; by default the preset's")
    learning_rate: float | None = cli.field(None, "highest rate; by default the preset's")
    dropout: float | None = cli.field(None, "share that is dropped out; by default the preset's")
    compute: str = cli.field("float32", "float32 or bfloat16: what products are taken in")
    evaluate_every: int = cli.field(250, "steps between two measurements on held-out text")
    seed: int = cli.field(0, "seed of all random numbers")

    def __post_init__(self):
        if self.compute not in transformer.COMPUTE:
            known = ", ".join(transformer.COMPUTE)
            raise ValueError(f"compute must be one of {known}, got {self.compute!r}")
        if self.evaluate_every < 1:
            raise ValueError(f"evaluate_every must be at least 1, got {self.evaluate_every}")
        keys.check(self.seed)
        _ = self.resolved

    @property
    def resolved(self) -> presets.Preset:
        """The preset with what the flags change."""
        preset = presets.find(self.preset)
        given = lambda *names: {n: getattr(self, n) for n in names if getattr(self, n) is not None}
        training = given("steps", "batch", "learning_rate")
        if "learning_rate" in training and preset.training.final_rate is not None:
            share = preset.training.final_rate / preset.training.learning_rate
            training["final_rate"] = share * training["learning_rate"]
        return dataclasses.replace(
            preset,
            architecture=dataclasses.replace(preset.architecture, **given("dropout")),
            training=dataclasses.replace(preset.training, **training),
        )

    def subject(self) -> Subject:
        """What is trained on what; reads, or downloads, the corpus."""
        text = corpus.read(self.corpus, self.corpus_dir)
        return Subject(self.resolved, text, self.seed, self.compute, self.evaluate_every)


def main(study: Train, options: cli.Options) -> pathlib.Path:
    if options.export_json:
        raise run.Refused("--export_json has no meaning here: it is for many experiments")
    subject, out = study.subject(), pathlib.Path(options.out)
    if options.dry_run:
        return _announce(subject, out)
    return write(subject, out)


def write(subject: Subject, out: pathlib.Path) -> pathlib.Path:
    """Trains what is missing under `out` and writes the report; returns the run folder."""
    folder = run.execute(apoptosis_course.plan(subject, out, NAME), out)
    found = apoptosis_trained.Found.read(folder)
    storage.write_csv(folder / "summary.csv", found.summary(subject))
    settings = run.manifest(folder)["settings"]
    facts = {**settings, "symbols": repr(subject.vocabulary.symbols), **run.facts(folder)}
    page = report.Report(TITLE, QUESTION, facts=facts, **found.parts(subject))
    report.write(folder, page)
    return folder


def _announce(subject, out):
    plan = apoptosis_course.plan(subject, out, NAME)
    training, context = subject.preset.training, subject.preset.architecture.context
    tokens = training.steps * training.batch * context
    parameters, operations = (
        count(subject) for count in (apoptosis_trained.parameters, apoptosis_trained.operations)
    )
    print(
        f"{subject.preset.name}: {parameters:,} parameters, {training.steps:,} steps of "
        f"{training.batch} × {context} tokens ({tokens:,} in all, {operations:,} operations each) "
        f"of {len(subject.parts.train):,} characters of {subject.corpus.name}, in "
        f"{len(plan.tasks(plan.layout))} chunks"
    )
    for name, value in plan.settings.items():
        print(f"  {name}: {value!r}")
    return out / run.identity(plan.name, plan.settings)


if __name__ == "__main__":
    cli.main(Train, main, __doc__)
