"""What does the plan cost against a NumPy loop? Every phase, a sample of its arms and trials.

Ours trains each phase with few trials; the NumPy loop trains a spread of its arms, one network at a
time, for a few epochs each, and is charged for all epochs of as many networks: a donor's too, and
only for training, where ours also measures and records. Unit: CPU-seconds of all threads for a
thousand networks. Compiling is told apart.
"""

import dataclasses
import pathlib
import sys
import time

import numpy as np

from elements import element, learner
from experiments import bench_baselines, bench_loops
from experiments.bench_elements import aligned, clocked, figure, spread
from experiments.elements_plan import PHASES, Plan
from experiments.elements_population import Arm, Population
from experiments.shell import cli, run, storage

HEADER = ["networks", "programs", "compiling", "ours", "NumPy loop", "ratio", "lowest–highest"]
TARGET = 20  # times fewer CPU-seconds than the NumPy loop


@dataclasses.dataclass(frozen=True)
class BenchPlan:
    phases: tuple[int, ...] = cli.field(tuple(PHASES), "phases to measure")
    trials: int = cli.field(4, "trials of every phase that ours trains")
    arms: int = cli.field(24, "arms of every phase that the NumPy loop trains")
    loop_epochs: int = cli.field(10, "epochs of each of them in a repeat")
    repeats: int = cli.field(3, "repeats, in each of which both take turns")

    def __post_init__(self):
        for name in ("arms", "loop_epochs", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        _ = self.populations

    @property
    def populations(self) -> dict[int, Population]:
        return {
            p: population for p, _, population in Plan(self.phases, trials=self.trials).studies()
        }


def lives(arm: Arm) -> list[element.Element]:
    """The networks that are trained for one network of an arm: itself, after its donor."""
    own = arm.element
    if not (arm.bottom and arm.trained):
        return [own]
    return [dataclasses.replace(own, widths=own.widths[: arm.bottom]), own]


def loops(config: Population, most: int, epochs: int) -> list[bench_loops.Arm]:
    """Every life of at most `most` arms, evenly spread over the population, on data of its own."""
    chosen = np.unique(np.linspace(0, len(config.arms) - 1, most).round().astype(int))
    trainer = bench_baselines.Trainer(config)
    groups = {i: g for g, group in enumerate(trainer.groups) for i in group.arms}
    recipe, made = learner.protocol(config.protocol), []
    for turn, i in enumerate(chosen):
        arm, dataset = config.arms[i], config.datasets[turn % len(config.datasets)]
        trial = trainer.draw_one(groups[i], arm, dataset, 0)
        trained = np.asarray(trial.train.weight) > 0
        shown = learner.Share(trial.train.y[trained], trial.train.weight[trained])
        trial = trial._replace(x=trial.x[:, trained], train=shown)
        made.append([bench_loops.numpy_loop(e, recipe, trial, epochs) for e in lives(arm)])
    return made


def measure(bench: BenchPlan, config: Population) -> dict:
    """CPU-seconds per thousand networks: ours and the loop's, repeat by repeat."""
    start = time.process_time()
    ours = bench_baselines.Kept(config)
    compiling = time.process_time() - start
    ours.advance()  # once untimed
    slow = loops(config, bench.arms, bench.loop_epochs)
    train = lambda: sum(one.advance() for life in slow for one in life)
    train()
    found = {"ours": [], "loop": []}
    for _ in range(bench.repeats):
        found["ours"].append(1000 * clocked(ours.advance).cpu / config.size)
        per_network = config.epochs / bench.loop_epochs / len(slow)
        found["loop"].append(1000 * clocked(train).cpu * per_network)
    programs = len(ours.groups)
    return {**found, "compiling": compiling, "programs": programs, "networks": config.size}


def row(name: str, found: dict) -> list[str]:
    ratio = spread([loop / ours for ours, loop in zip(found["ours"], found["loop"], strict=True)])
    ours, loop = spread(found["ours"]).median, spread(found["loop"]).median
    numbers = [figure(v) for v in (found["compiling"], ours, loop, ratio.median)]
    between = f"{figure(ratio.low)}–{figure(ratio.high)}"
    return [name, f"{found['networks']:,}", str(found["programs"]), *numbers, between]


def main(bench: BenchPlan, options: cli.Options) -> pathlib.Path:
    folder = pathlib.Path(options.out) / "bench_plan"
    if options.export_json:
        raise run.Refused("--export_json has no meaning here: no experiment is kept")
    if options.dry_run:
        for phase, config in bench.populations.items():
            print(f"phase {phase}: {config.size:,} networks, {config.epochs} epochs")
        return folder
    run.require_writable(folder, f"--out={options.out}")
    found, rows = {}, []
    for phase, config in bench.populations.items():
        found[phase] = measure(bench, config)
        rows.append(row(f"phase {phase}, {PHASES[phase]}", found[phase]))
        print(f"bench_plan: phase {phase} is done", file=sys.stderr)
    storage.write_json(folder / "bench.json", {"settings": dataclasses.asdict(bench), **found})
    print("CPU-seconds: compiling, once; training, per thousand networks (medians)")
    print(aligned([["", *HEADER], *rows]))
    print(f"Target: {TARGET} times fewer CPU-seconds than the NumPy loop")
    return folder


if __name__ == "__main__":
    cli.main(BenchPlan, main, __doc__)
