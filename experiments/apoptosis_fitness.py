"""Which fitness knows what a neuron is worth?

Every measure of fitness is held against an oracle: each neuron of a transformer is silenced, one
after the other, and the loss on held-out text measured without it, at several moments of training.
"""

import dataclasses
import pathlib

from apoptosis import fitness, presets, transformer
from experiments import apoptosis_fitness_analysis as analysis
from experiments import apoptosis_fitness_training
from experiments.apoptosis_fitness_training import Experiment
from experiments.apoptosis_training import Subject
from experiments.lab import keys
from experiments.shell import cli, corpus, report, run, storage

NAME = "apoptosis_fitness"
TITLE = "Fitness against the ablation oracle"
QUESTION = (
    "How well do measures of a neuron's fitness tell how much the loss on unseen text changes when "
    "the neuron is silenced, and would they pick those that are worth least?"
)


@dataclasses.dataclass(frozen=True)
class FitnessStudy:
    preset: str = cli.field("tiny", "prototype, nanogpt, big or tiny")
    corpus: str = cli.field("documentation", "documentation, source, shakespeare, wiki or a path")
    corpus_dir: str = cli.field("", "folder in which corpora are looked up before a download")
    measures: tuple[str, ...] = cli.field(tuple(fitness.MEASURES), "measures of fitness, by name")
    seeds: int = cli.field(10, "number of networks")
    moments: tuple[int, ...] = cli.field((50, 150, 500), "training steps after which to judge")
    windows: int = cli.field(32, "windows of held-out text, each as long as the context")
    share: float = cli.field(0.1, "share of a layer's neurons that would be picked")
    compute: str = cli.field("float32", "float32 or bfloat16: what products are taken in")
    seed: int = cli.field(0, "root of all randomness")

    def __post_init__(self):
        if not self.measures or len(set(self.measures)) != len(self.measures):
            raise ValueError(f"measures must be different names, at least one, got {self.measures}")
        for name in self.measures:
            if name not in fitness.MEASURES:
                known = ", ".join(fitness.MEASURES)
                raise ValueError(f"measure must be one of {known}, got {name!r}")
        for name in ("seeds", "windows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        steps = presets.find(self.preset).training.steps
        rising = list(self.moments) == sorted(set(self.moments))
        if not self.moments or not rising or not 1 <= self.moments[0] <= self.moments[-1] <= steps:
            raise ValueError(
                f"moments must rise from at least 1 to at most {steps}, the preset's steps, got "
                f"{self.moments}"
            )
        if not 0 < self.share < 1:
            raise ValueError(f"share must lie strictly between 0 and 1, got {self.share}")
        if self.compute not in transformer.COMPUTE:
            known = ", ".join(transformer.COMPUTE)
            raise ValueError(f"compute must be one of {known}, got {self.compute!r}")
        keys.check(self.seed)

    def experiment(self) -> Experiment:
        """What is run; reads, or downloads, the corpus."""
        text = corpus.read(self.corpus, self.corpus_dir)
        subject = Subject(presets.find(self.preset), text, self.seed, self.compute, 1)
        return Experiment(
            subject, self.seeds, self.moments, self.windows, self.share, self.measures
        )


def publish(experiment: Experiment, folder: pathlib.Path) -> None:
    """Writes summary, report and findings into a run folder."""
    found = analysis.read(experiment, folder)
    storage.write_csv(folder / "summary.csv", analysis.summary(experiment, found))
    settings = run.manifest(folder)["settings"]
    facts = {**settings, "symbols": repr(settings["symbols"]), **run.facts(folder)}
    page = report.Report(TITLE, QUESTION, facts=facts, **analysis.analyse(experiment, found))
    report.write(folder, page)


def main(study: FitnessStudy, options: cli.Options) -> pathlib.Path:
    if options.export_json:
        raise run.Refused("--export_json has no meaning here: summary.csv holds all measures")
    experiment, out = study.experiment(), pathlib.Path(options.out)
    if options.dry_run:
        plan = apoptosis_fitness_training.plan(experiment, NAME)
        print(
            f"{study.seeds} networks of preset {study.preset}, judged after {study.moments} steps "
            f"by {study.windows} windows of {experiment.subject.corpus.name}"
        )
        return out / run.identity(plan.name, plan.settings)
    folder = apoptosis_fitness_training.execute(experiment, NAME, out)
    publish(experiment, folder)
    return folder


if __name__ == "__main__":
    cli.main(FitnessStudy, main, __doc__)
