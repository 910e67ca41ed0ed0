"""Do networks go on learning new tasks, and does the renewal of neurons keep them able to?

Permuted and random-label tasks in sequence, on scikit-learn's digits or, with --mnist=FOLDER, on
the MNIST test images in IDX files. First a gate: plain backpropagation must be shown to lose
plasticity, against its own first tasks and against a fresh network. Then every recipe is held
against it on the same seeds.
"""

import dataclasses
import functools
import pathlib

from apoptosis import successive
from experiments import apoptosis_plasticity_analysis as analysis
from experiments import apoptosis_plasticity_arms as arms_of
from experiments import apoptosis_plasticity_data, apoptosis_plasticity_training
from experiments import apoptosis_plasticity_recipes as recipes
from experiments.apoptosis_plasticity_training import Experiment
from experiments.shell import cli, report, run, storage

NAME = "apoptosis_plasticity"
TITLE = "Plasticity over successive tasks"
QUESTION = (
    "Does a network that learns one task after the other lose the ability to learn, and do recipes "
    "that renew its neurons preserve it?"
)
ALWAYS = (recipes.BASELINE, recipes.FRESH)  # the gate needs them


@dataclasses.dataclass(frozen=True)
class Plasticity:
    recipes: tuple[str, ...] = cli.field(
        tuple(recipes.RECIPES), "recipes, by name; backprop and fresh are always run"
    )
    kinds: tuple[str, ...] = cli.field(successive.KINDS, "kinds of tasks: permuted, random_labels")
    mnist: str = cli.field("", "folder of MNIST test images (IDX); by default the digits are taken")
    seeds: int = cli.field(20, "number of seeds, which all arms share")
    tasks: int = cli.field(50, "tasks of a life")
    steps: int = cli.field(200, "steps of a task")
    batch: int = cli.field(16, "examples of a step, drawn with replacement")
    examples: int = cli.field(128, "examples of a task")
    held_out: int = cli.field(512, "images to judge by, never trained on")
    widths: tuple[int, ...] = cli.field((32, 32), "units of the hidden layers")
    optimiser: str = cli.field("adam", "adam or sgd")
    learning_rate: float = cli.field(0.003, "learning rate of all arms, unless tuned")
    settings: tuple[str, ...] = cli.field((), "settings of recipes, as in redo.threshold=0.1")
    tune: int = cli.field(
        0, "candidates that every recipe may try, on other seeds, before it is run (0: none)"
    )
    tune_seeds: int = cli.field(10, "seeds of the tuning")
    seed: int = cli.field(0, "root of all randomness")

    def __post_init__(self):
        for name, kind, known in (
            ("recipes", "recipe", recipes.RECIPES),
            ("kinds", "kind", successive.KINDS),
        ):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} must be different names, at least one, got {values}")
            for value in values:
                if value not in known:
                    raise ValueError(f"{kind} must be one of {', '.join(known)}, got {value!r}")
        if self.optimiser not in recipes.OPTIMISERS:
            known = ", ".join(recipes.OPTIMISERS)
            raise ValueError(f"optimiser must be one of {known}, got {self.optimiser!r}")
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning_rate must lie in (0, 1], got {self.learning_rate}")
        if self.tune < 0:
            raise ValueError(f"tune must be at least 0, got {self.tune}")
        if self.tune_seeds < 1:
            raise ValueError(f"tune_seeds must be at least 1, got {self.tune_seeds}")
        if self.tasks < 2:
            raise ValueError(f"tasks must be at least 2, early and late ones, got {self.tasks}")
        successive.Network(widths=self.widths)
        arms_of.settings(self.settings)
        _ = self.world

    @property
    def world(self) -> successive.World:
        return successive.World(self.tasks, self.steps, self.batch, self.examples, self.held_out)

    @functools.cached_property
    def experiment(self) -> Experiment:
        """What is run where nothing is tuned; reads the images. Raises run.Refused without them."""
        data = apoptosis_plasticity_data
        images = data.mnist(self.mnist) if self.mnist else data.digits()
        chosen = arms_of.settings(self.settings)
        names = tuple(dict.fromkeys((*ALWAYS, *self.recipes)))
        arms = arms_of.grid(self.kinds, names, self.learning_rate, chosen)
        network = successive.Network(images.pixels.shape[1], self.widths, data.CLASSES)
        try:
            return Experiment(
                arms, self.world, network, self.optimiser, self.seeds, images, self.seed
            )
        except ValueError as error:  # of sizes that go with the images
            raise run.Refused(str(error)) from error

    @property
    def search(self) -> Experiment:
        """What is run to tune."""
        return apoptosis_plasticity_training.search(self.experiment, self.tune, self.tune_seeds)


def tuned(study: Plasticity, out: pathlib.Path) -> tuple[Experiment, dict[str, str]]:
    """The experiment with the best arms found, and of each arm's name how it was found."""
    if not study.tune:
        return study.experiment, {}
    found = apoptosis_plasticity_training.execute(study.search, f"{NAME}_tuning", out)
    best = apoptosis_plasticity_training.best(found)
    told = f"best of {study.tune} on {study.tune_seeds} other seeds"
    return dataclasses.replace(study.experiment, arms=best), {arm.name: told for arm in best}


def announce(study: Plasticity, out: pathlib.Path) -> pathlib.Path:
    """Says what would be run."""
    experiment, world = study.experiment, study.world
    if study.tune:
        size = len(study.search.arms) * study.tune_seeds
        print(f"first {size:,} lives to tune, then one arm for each:")
    for arm in experiment.arms:
        print(f"  {arm.name} ({arm.told})")
    print(
        f"{len(experiment.arms)} arms × {study.seeds} seeds, {world.tasks} tasks of {world.steps} "
        f"steps on {experiment.data.name}"
    )
    plan = apoptosis_plasticity_training.plan(experiment, NAME)
    return out / run.identity(plan.name, plan.settings)


def publish(folder: pathlib.Path, parts: dict) -> None:
    """Writes the report, and its findings as JSON, into a run folder."""
    facts = run.facts(folder)
    told = {name: v for name, v in run.manifest(folder)["settings"].items() if name != "arms"}
    facts |= {name: str(value) for name, value in told.items()}
    report.write(folder, report.Report(TITLE, QUESTION, facts=facts, **parts))


def main(study: Plasticity, options: cli.Options) -> pathlib.Path:
    out = pathlib.Path(options.out)
    if options.dry_run:
        return announce(study, out)
    exported = options.export_json and pathlib.Path(options.export_json)
    if exported:
        run.require_writable(exported, f"--export_json={exported}")
    experiment, tried = tuned(study, out)
    outcome = apoptosis_plasticity_training.execute(experiment, NAME, out)
    storage.write_csv(outcome.folder / "summary.csv", analysis.summary(outcome))
    publish(outcome.folder, analysis.analyse(outcome, tried))
    if exported:
        run.export_json(outcome.folder, exported, "life", ("kind", "recipe", "seed"))
    return outcome.folder


if __name__ == "__main__":
    cli.main(Plasticity, main, __doc__)
