"""Strategies of death and birth of neurons, on the same transformer, the same text, the same seeds.

Arms × paired seeds are trained at once, and each arm is held against the baseline, in which nothing
dies. An interrupted run goes on from its last checkpoint.
"""

import dataclasses
import pathlib

import jax

from apoptosis import presets
from experiments import apoptosis_compare_arms as arms_of
from experiments import apoptosis_compare_course, apoptosis_train
from experiments import apoptosis_compare_report as report_of
from experiments.apoptosis_compare_experiment import DEFAULTS, Experiment
from experiments.apoptosis_training import Subject
from experiments.lab import placement
from experiments.shell import cli, corpus, run

NAME = "apoptosis_compare"


@dataclasses.dataclass(frozen=True)
class Compare:
    """Arms × seeds on a preset and a corpus."""

    preset: str = cli.field("tiny", "prototype, nanogpt, big or tiny")
    corpus: str = cli.field("documentation", "documentation, source, shakespeare, wiki or a path")
    corpus_dir: str = cli.field("", "folder in which corpora are looked up before a download")
    characters: int | None = cli.field(
        None, "characters of the corpus that are used, from its start (0: all); the preset's"
    )
    arms: tuple[str, ...] = cli.field(
        arms_of.DEFAULT, "strategies by name; mutation_0.3 is one at a noise of your own"
    )
    seeds: int | None = cli.field(None, "seeds, which all arms share; by default the preset's")
    steps: int | None = cli.field(None, "training steps; by default the preset's")
    interval: int | None = cli.field(None, "steps between two events; by default the preset's")
    rate: float = cli.field(0.1, "share of the neurons that dies at an event")
    which: str = cli.field("mlp", "where neurons die: mlp, attention or all")
    evaluate_every: int | None = cli.field(
        None, "steps between two measurements on held-out text; by default the preset's"
    )
    watch: int = cli.field(16, "sequences of each batch on which evidence is gathered")
    compute: str = cli.field("float32", "float32 or bfloat16: what products are taken in")
    batch: int | None = cli.field(None, "sequences a step; by default the preset's")
    dropout: float | None = cli.field(None, "share that is dropped out; by default the preset's")
    margin: float = cli.field(0.01, "nats per character within which losses count as equal")
    block: int = cli.field(0, "seeds that are trained at once (0: what the devices suggest)")
    seed: int = cli.field(0, "first seed; the others follow it")

    def __post_init__(self):
        _ = self.preset_with_flags
        arms_of.find(self.arms)
        for name, least in (("seeds", 1), ("interval", 1), ("evaluate_every", 1)):
            if self.chosen(name) < least:
                raise ValueError(f"{name} must be at least {least}, got {self.chosen(name)}")
        for name in ("characters", "block"):
            if self.chosen(name) < 0:
                raise ValueError(f"{name} must be at least 0, got {self.chosen(name)}")
        if not 0 < self.margin < 10:
            raise ValueError(f"margin must lie in (0, 10), got {self.margin}")

    def chosen(self, name: str):
        """The flag of this name, or else what the preset means."""
        given = getattr(self, name)
        return getattr(DEFAULTS[self.preset], name) if given is None else given

    @property
    def preset_with_flags(self) -> presets.Preset:
        if self.preset not in DEFAULTS:
            presets.find(self.preset)  # says which there are
        return apoptosis_train.Train(
            preset=self.preset,
            steps=self.chosen("steps"),
            batch=self.batch,
            dropout=self.dropout,
            compute=self.compute,
            seed=self.seed,
        ).resolved

    def experiment(self) -> Experiment:
        """What is trained; reads, or downloads, the corpus."""
        text = corpus.read(self.corpus, self.corpus_dir)
        if self.chosen("characters"):
            text = text._replace(text=text.text[: self.chosen("characters")])
        subject = Subject(
            self.preset_with_flags,
            text,
            self.seed,
            self.compute,
            self.chosen("evaluate_every"),
        )
        try:
            return Experiment(
                subject,
                arms_of.find(self.arms),
                self.chosen("seeds"),
                self.chosen("interval"),
                self.rate,
                self.which,
                min(self.watch, subject.preset.training.batch),
            )
        except ValueError as error:
            raise run.Refused(str(error)) from error


def layout(experiment: Experiment, block: int) -> list[int]:
    """Seeds of a block, and intervals of a piece, for the devices here."""
    mesh = placement.mesh()
    devices = mesh.devices.flat[0]
    shape, training = experiment.subject.preset.architecture, experiment.subject.preset.training
    if not block:
        block = experiment.seeds
        memory = (devices.memory_stats() or {}).get("bytes_limit")
        if memory:
            block = max(
                1, int(0.7 * memory / _bytes(shape, training.batch)) // len(experiment.arms)
            )
            block *= mesh.size
    block = min(block, experiment.seeds)
    block = -(-block // mesh.size) * mesh.size
    # A piece is a minute or two of an accelerator, and everything where a step is cheap.
    tokens = training.batch * shape.context * block * len(experiment.arms)
    pieces = max(1, round(1e9 / (tokens * experiment.subject.evaluate_every)))
    return [block, pieces]


def _bytes(shape, batch) -> int:
    """What a network's training step keeps in memory, roughly: its activations and attention."""
    per_token = shape.layers * (20 * shape.width + 6 * shape.ffn + 8 * shape.heads * shape.context)
    return batch * shape.context * per_token + 64 * shape.layers * shape.width * shape.ffn * 2


def main(study: Compare, options: cli.Options) -> pathlib.Path:
    if options.export_json:
        raise run.Refused("--export_json has no meaning here: all is in the folder's tables")
    experiment, out = study.experiment(), pathlib.Path(options.out)
    plan = apoptosis_compare_course.plan(experiment, out, NAME, layout(experiment, study.block))
    if options.dry_run:
        return announce(experiment, plan, out)
    folder = run.execute(plan, out)
    report_of.publish(folder, experiment, study.margin)
    return folder


def announce(experiment: Experiment, plan: run.Plan, out: pathlib.Path) -> pathlib.Path:
    """Says what would be run."""
    for arm in experiment.arms:
        print(f"  {arm.name}: {arm.told}")
    training = experiment.subject.preset.training
    print(
        f"{len(experiment.arms)} arms × {experiment.seeds} seeds, {training.steps:,} steps, events "
        f"every {experiment.interval}, in {len(plan.tasks(plan.layout))} pieces of "
        f"{plan.layout[0]} seeds on {jax.device_count()} devices"
    )
    for name, value in plan.settings.items():
        print(f"  {name}: {value!r}")
    return out / run.identity(plan.name, plan.settings)


if __name__ == "__main__":
    cli.main(Compare, main, __doc__)
