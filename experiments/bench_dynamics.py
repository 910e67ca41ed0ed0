"""What does it cost to watch networks learn? Phase 6 with and without what it records.

The same networks are trained with nothing but losses and accuracies, with the gradients, with the
weights, and with all of it, in turn in one process; what counts is the ratio of CPU-seconds (of
all threads) within a repeat. Timed is all from the cut into chunks to the columns of the tables;
not compiling, and no disk.
"""

import dataclasses
import pathlib
import sys

import jax

from experiments import bench_baselines, bench_elements
from experiments.elements_phase6 import Phase6
from experiments.elements_population import Population
from experiments.shell import cli, run, storage

PLAIN, ALL = "without", "all"
RECORDS = {
    PLAIN: (False, False),
    "gradients": (True, False),
    "weights": (False, True),
    ALL: (True, True),
}
TARGET = 1.6  # times the CPU-seconds without, at most


@dataclasses.dataclass(frozen=True)
class BenchDynamics:
    activations: tuple[str, ...] = cli.field(Phase6.activations, "activations, by name")
    depths: tuple[int, ...] = cli.field((1, 2, 3, 4, 5), "numbers of hidden layers")
    trials: int = cli.field(4, "trials of phase 6: 120 networks each")
    epochs: int = cli.field(1000, "epochs of training")
    record_every: int = cli.field(10, "epochs between two records")
    repeats: int = cli.field(5, "repeats, in each of which all take turns")

    def __post_init__(self):
        if self.repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {self.repeats}")
        _ = self.populations

    @property
    def populations(self) -> dict[str, Population]:
        """Phase 6 by what is recorded of it."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        own.pop("repeats")
        return {
            name: Phase6(**own, record_gradients=gradients, record_weight_stats=weights).population
            for name, (gradients, weights) in RECORDS.items()
        }


def measure(bench: BenchDynamics) -> dict[str, list[bench_elements.Sample]]:
    """Samples of every repeat by what is recorded, taking turns, each time in another order."""
    ready = {name: bench_baselines.Kept(config) for name, config in bench.populations.items()}
    for each in ready.values():
        each.advance()  # once untimed
    samples, order = {name: [] for name in ready}, list(ready)
    for repeat in range(bench.repeats):
        for name in order:
            samples[name].append(bench_elements.clocked(ready[name].advance))
        order = [*order[1:], order[0]]
        print(f"bench_dynamics: repeat {repeat + 1} of {bench.repeats} done", file=sys.stderr)
    return samples


def summarise(samples: dict) -> dict[str, bench_elements.Spread]:
    """CPU-seconds of each as multiples of those without any recording: median, lowest, highest."""
    return {
        name: bench_elements.ratio(samples[PLAIN], taken)
        for name, taken in samples.items()
        if name != PLAIN
    }


def report(samples: dict, ratios: dict) -> str:
    """All results as text."""
    figure = bench_elements.figure
    rows = [["recorded", "CPU-seconds", "times without", "lowest", "highest"]]
    for name, taken in samples.items():
        ratio = map(figure, ratios[name]) if name in ratios else ["1", "", ""]
        rows.append([name, figure(bench_elements.spread([s.cpu for s in taken]).median), *ratio])
    said = "met" if ratios[ALL].median <= TARGET else "missed"
    target = f"{said}: recording all costs at most {TARGET:g} times the CPU-seconds without\n"
    return bench_elements.aligned(rows) + target


def main(bench: BenchDynamics, options: cli.Options) -> pathlib.Path:
    folder = pathlib.Path(options.out) / "bench_dynamics"
    if options.export_json:
        raise run.Refused("--export_json has no meaning here: no experiment is kept")
    if options.dry_run:
        config = bench.populations[ALL]
        print(f"{config.size:,} networks, {config.epochs} epochs, in {len(RECORDS)} ways")
        return folder
    run.require_writable(folder, f"--out={options.out}")
    jax.config.update("jax_enable_compilation_cache", False)
    samples = measure(bench)
    ratios = summarise(samples)
    settings = dataclasses.asdict(bench)
    content = {"settings": settings, "samples": samples, "ratios": ratios, "target": TARGET}
    storage.write_json(folder / "bench.json", content)
    print(report(samples, ratios))
    return folder


if __name__ == "__main__":
    cli.main(BenchDynamics, main, __doc__)
