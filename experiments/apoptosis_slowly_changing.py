"""Slowly-Changing Regression: who goes on learning when the task changes for ever?

Dohare et al.'s benchmark of the loss of plasticity. A small network follows a target it can never
represent, by online gradient descent; recipes that renew its neurons are held against plain
backpropagation on the same seeds, and that against the published values.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

from apoptosis import regression
from experiments import apoptosis_regression, apoptosis_regression_training
from experiments import apoptosis_regression_arms as arms_of
from experiments import apoptosis_regression_recipes as recipes
from experiments.apoptosis_regression_training import Experiment
from experiments.shell import cli, run, storage

NAME = "apoptosis_slowly_changing"


@dataclasses.dataclass(frozen=True)
class SlowlyChanging:
    recipes: tuple[str, ...] = cli.field(tuple(recipes.RECIPES), "recipes, by name")
    seeds: int = cli.field(100, "number of seeds, which all arms share")
    variant: str = cli.field(
        "A", "A: all held bits are drawn anew with a period; B: one is flipped"
    )
    steps: int = cli.field(1_000_000, "steps of every learner")
    learning_rate: tuple[float, ...] = cli.field((0.01,), "learning rates")
    activation: tuple[str, ...] = cli.field(("relu",), "activations of the hidden units, by name")
    settings: tuple[str, ...] = cli.field((), "settings of recipes, as in l2.decay=0.001")
    tune: int = cli.field(
        0, "candidates that every recipe may try, on other seeds, before it is run (0: none)"
    )
    tune_seeds: int = cli.field(20, "seeds of the tuning")
    tune_steps: int = cli.field(500_000, "steps of the tuning")
    period: int = cli.field(10_000, "steps for which bits are held")
    bin: int = cli.field(20_000, "steps of a bin, a multiple of the period")
    seed: int = cli.field(0, "root of all randomness")

    def __post_init__(self):
        for name, kind, known in (
            ("recipes", "recipe", recipes.RECIPES),
            ("activation", "activation", regression.ACTIVATIONS),
        ):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} must be different names, at least one, got {values}")
            for value in values:
                if value not in known:
                    raise ValueError(f"{kind} must be one of {', '.join(known)}, got {value!r}")
        if not self.learning_rate or len(set(self.learning_rate)) < len(self.learning_rate):
            raise ValueError(
                f"learning_rate must be different numbers, at least one, got {self.learning_rate}"
            )
        if not all(0 < rate <= 1 for rate in self.learning_rate):
            raise ValueError(f"learning_rate must lie in (0, 1], got {self.learning_rate}")
        if self.tune < 0:
            raise ValueError(f"tune must be at least 0, got {self.tune}")
        for name in ("tune_seeds", "tune_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        _ = self.search if self.tune else self.experiment  # refuses what cannot be run

    @property
    def experiment(self) -> Experiment:
        """What is run where nothing is tuned."""
        chosen = arms_of.settings(self.settings)
        arms = arms_of.grid(self.recipes, self.activation, self.learning_rate, chosen)
        world = regression.World(self.variant, self.period)
        return Experiment(arms, world, self.seeds, self.steps, self.bin, self.seed)

    @property
    def search(self) -> Experiment:
        """What is run to tune."""
        return apoptosis_regression_training.search(
            self.experiment, self.tune, self.tune_seeds, self.tune_steps
        )


def tuned(study: SlowlyChanging, out: pathlib.Path) -> tuple[Experiment, dict[str, str]]:
    """The experiment with the best arms found, and of each arm's name how it was found."""
    if not study.tune:
        return study.experiment, {}
    found = apoptosis_regression_training.execute(study.search, f"{NAME}_tuning", out)
    best = apoptosis_regression_training.best(found)
    told = f"best of {study.tune} on {study.tune_seeds} other seeds, {study.tune_steps:,} steps"
    return dataclasses.replace(study.experiment, arms=best), {arm.name: told for arm in best}


def announce(study: SlowlyChanging, out: pathlib.Path) -> pathlib.Path:
    """Says what would be run."""
    experiment = study.experiment
    if study.tune:
        size = len(study.search.arms) * study.tune_seeds
        print(f"first {size:,} lives of {study.tune_steps:,} steps to tune, then one arm for each:")
    for arm in experiment.arms:
        print(f"  {arm.name}{f' ({arm.told})' if arm.told else ''}")
    print(
        f"{len(experiment.arms)} arms × {study.seeds} seeds, {study.steps:,} steps, "
        f"variant {study.variant}"
    )
    plan = apoptosis_regression_training.plan(experiment, NAME)
    return out / run.identity(plan.name, plan.settings)


def publish(folder: pathlib.Path, parts: Mapping) -> None:
    """Writes the report, and its findings as JSON, into a run folder."""
    from experiments.shell import report

    facts = run.facts(folder)
    title = "Slowly-Changing Regression"
    question = (
        "Does a small network go on learning while its task changes slowly for ever, and do "
        "recipes that renew its neurons help against what is lost?"
    )
    report.write(folder, report.Report(title, question, facts=facts, **parts))


def main(study: SlowlyChanging, options: cli.Options) -> pathlib.Path:
    out = pathlib.Path(options.out)
    if options.dry_run:
        return announce(study, out)
    exported = options.export_json and pathlib.Path(options.export_json)
    if exported:
        run.require_writable(exported, f"--export_json={exported}")
    experiment, tried = tuned(study, out)
    outcome = apoptosis_regression_training.execute(experiment, NAME, out)
    storage.write_csv(outcome.folder / "summary.csv", apoptosis_regression.summary(outcome))
    publish(outcome.folder, apoptosis_regression.analyse(outcome, tried))
    if exported:
        run.export_json(
            outcome.folder, exported, "life", ("recipe", "activation", "learning_rate", "seed")
        )
    return outcome.folder


if __name__ == "__main__":
    cli.main(SlowlyChanging, main, __doc__)
