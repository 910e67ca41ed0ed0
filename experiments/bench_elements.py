"""How fast do we train a population of elements, side by side with the usual ways?

NumPy and PyTorch one network at a time, plain `vmap`s and the trainer of the studies take turns
on the mix of phase 3 and on single activations; then growth, and the main job itself.
Unit: network-epochs (one network, forward, backward and update over its 200 samples) per CPU-second
of all threads. The slow arms are sampled: every cell of a mix gets equally many epochs.
"""

import dataclasses
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax

from elements import element, learner
from experiments import bench_baselines as arms
from experiments import bench_loops
from experiments.elements_phase3 import Phase3
from experiments.elements_population import Population
from experiments.shell import cli, run, storage

OURS, WALL = "ours", "ours, by wall clock"
NUMPY, TORCH = "NumPy loop", "PyTorch loop"
DENSE, VMAP = "vmap of nn.Dense", "vmap of our module"
GROWTH = (1, 4, 16)
ALONE = 3  # hidden layers, 8 wide, in the columns of one activation
RATES = {"mix adam": 180_000, "mix gd": 180_000, "relu": 280_000}  # targets, per CPU-second
RATIOS = {TORCH: 60, NUMPY: 25, DENSE: 3, VMAP: 3}  # targets on the mixes
JOBS = {"cold": 20, "warm": 20, "80 trials": 80}  # trials of the main job
SECONDS, GIGABYTES = {"cold": 20, "warm": 10}, 1.5  # targets: wall on two idle cores, peak memory
# A child's peak memory begins with its parent's, so a small process stands in between.
LAUNCHER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], capture_output=True)
wall, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
memory = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
sys.stderr.buffer.write(done.stderr if done.returncode else b"")
cpu = used.ru_utime + used.ru_stime
print(json.dumps([done.returncode, {"seconds": wall, "cpu": cpu, "gigabytes": memory / 1e9}]))
"""


@dataclasses.dataclass(frozen=True)
class Bench:
    epochs: int = cli.field(500, "epochs of ours")
    trials: int = cli.field(20, "trials of the mix: 120 networks each")
    repeats: int = cli.field(3, "repeats, in each of which all arms take turns")
    protocols: tuple[str, ...] = cli.field(
        ("gd", "adam"), "protocols of the mix; all else is trained with the first"
    )
    baseline_networks: int = cli.field(256, "networks in a vmap")
    baseline_epochs: int = cli.field(10, "epochs of every cell in a round of a slow arm")
    baseline_seconds: float = cli.field(0.3, "an arm's rounds end after so many CPU-seconds")
    main_job: bool = cli.field(True, "also run elements_phase3: cold, warm and with more trials")
    quick: bool = cli.field(False, "for a look: everything small, and no main job")

    def __post_init__(self):
        for name in ("trials", "epochs", "repeats", "baseline_networks", "baseline_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.protocols:
            raise ValueError("the bench is empty: --protocols names nothing")
        for name in self.protocols:
            learner.protocol(name)

    @property
    def mix(self) -> Population:
        """Phase 3, under the first protocol; of one depth where the bench is quick."""
        depths = {"depths": (ALONE,)} if self.quick else {}
        first = {"protocol": self.protocols[0]}
        return Phase3(trials=self.trials, epochs=self.epochs, **depths, **first).population

    def columns(self) -> dict[str, Population]:
        """The mix under every protocol, and each activation alone with a fair share of networks."""
        mix = self.mix
        found = {f"mix {p}": dataclasses.replace(mix, protocol=p) for p in self.protocols}
        names = tuple(dict.fromkeys(e.activation for e in mix.elements))
        trials = mix.trials * len(mix.elements) // len(names)
        for name in names:
            alone = (element.square(name, ALONE, 8),)
            found[name] = dataclasses.replace(mix, arms=alone, trials=trials)
        return found

    def growth(self) -> dict[str, Population]:
        """Mixes of 1 ×, 4 × and 16 × as many trials, trained for fewer epochs."""
        few, epochs = max(1, self.trials // 5), max(1, self.epochs // 10)
        mixes = [dataclasses.replace(self.mix, trials=few * n, epochs=epochs) for n in GROWTH]
        return {f"{mix.size:,} networks": mix for mix in mixes}


def shortened(bench: Bench) -> Bench:
    """What `--quick` stands for."""
    few = {"baseline_networks": 32, "baseline_epochs": 2, "baseline_seconds": 0.02}
    return dataclasses.replace(bench, epochs=50, trials=20, repeats=2, main_job=False, **few)


class Sample(NamedTuple):
    """Network-epochs trained, and the seconds they took."""

    epochs: int
    cpu: float
    wall: float


def clocked(work: Callable[[], int], seconds: float = 0.0) -> Sample:
    """Calls `work` once, and again until so many CPU-seconds (of all threads) are spent."""
    cpu, wall, done, spent = time.process_time(), time.perf_counter(), 0, 0.0
    while not done or spent < seconds:
        done += work()
        spent = time.process_time() - cpu
    return Sample(done, spent, time.perf_counter() - wall)


def starters(bench: Bench) -> dict[str, dict[str, Callable]]:
    """By column and arm, what makes it ready to train."""
    columns, growth = bench.columns(), bench.growth()
    least = -(-bench.baseline_networks // len(bench.mix.datasets))
    most = max(least, *(config.trials for config in (*columns.values(), *growth.values())))
    draws = arms.draw(bench.mix, most)
    torch = {TORCH: bench_loops.torch_loop} if bench_loops.has_torch() else {}
    loops = {NUMPY: bench_loops.numpy_loop} | torch
    vmaps, found = ((DENSE, arms.dense_vmap), (VMAP, arms.module_vmap)), {}
    for column, config in columns.items():
        task = config.elements, learner.protocol(config.protocol), draws, bench.baseline_epochs
        found[column] = {
            **{name: partial(arms.one_by_one, loop, *task) for name, loop in loops.items()},
            **{n: partial(arms.all_at_once, f, bench.baseline_networks, *task) for n, f in vmaps},
            OURS: partial(arms.Ours, config, draws),
        }
    found["growth"] = {name: partial(arms.Ours, c, draws) for name, c in growth.items()}
    return found


def prepare(bench: Bench) -> tuple[dict, dict]:
    """By column and arm, what trains, and the CPU-seconds it took to make and compile it."""
    ready, seconds = {}, {}
    for column, starts in starters(bench).items():
        ready[column], seconds[column] = {}, {}
        for name, start in starts.items():
            clock = time.process_time()
            ready[column][name] = start().advance
            seconds[column][name] = time.process_time() - clock
            ready[column][name]()  # once untimed
        print(f"bench_elements: {column} is ready", file=sys.stderr)
    return ready, seconds


def measure(bench: Bench, ready: Mapping) -> tuple[dict, list[float]]:
    """Samples of every repeat by column and arm, the arms taking turns; and the yardstick's."""
    samples, yardstick = {column: {name: [] for name in ready[column]} for column in ready}, []
    for repeat in range(bench.repeats):
        for column, taken in samples.items():
            for name in taken:
                taken[name].append(clocked(ready[column][name], bench.baseline_seconds))
        yardstick.append(arms.matmul_rate())
        print(f"bench_elements: repeat {repeat + 1} of {bench.repeats} done", file=sys.stderr)
    return samples, yardstick


class Spread(NamedTuple):
    """Median, lowest and highest over the repeats."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def ratio(above: Sequence[Sample], below: Sequence[Sample]) -> Spread:
    """Of the rates per CPU-second, each within its repeat: a machine's drift cancels."""
    pairs = zip(above, below, strict=True)
    return spread([(a.epochs / a.cpu) / (b.epochs / b.cpu) for a, b in pairs])


def summarise(samples: Mapping[str, Sequence[Sample]]) -> dict[str, Spread]:
    """Rates by arm, our rate by the wall clock, and `ours / arm`."""
    ours, others = samples[OURS], [name for name in samples if name != OURS]
    return {
        **{name: spread([s.epochs / s.cpu for s in taken]) for name, taken in samples.items()},
        WALL: spread([s.epochs / s.wall for s in ours]),
        **{f"ours / {name}": ratio(ours, samples[name]) for name in others},
    }


def main_job() -> dict[str, dict[str, float]]:
    """Seconds, CPU-seconds and peak gigabytes of phase 3, each time into an empty folder."""
    found, root = {}, pathlib.Path(__file__).parents[1]
    study = sys.executable, "-m", "experiments.elements_phase3"
    with tempfile.TemporaryDirectory() as place:
        for name, trials in JOBS.items():
            flags = f"--trials={trials}", f"--cache={place}/cache", f"--out={place}/{len(found)}"
            command = [sys.executable, "-c", LAUNCHER, *study, *flags]
            done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=True)
            failed, found[name] = json.loads(done.stdout)
            if failed:
                raise run.Refused(f"the main job failed: {' '.join(study[1:] + flags)}")
    return found


def verdicts(rates: Mapping, job: Mapping) -> list[tuple[str, str, float, str]]:
    """(met or missed, of what, its figure, its target) of all that was measured and has one."""
    mixes = [column for column in rates if column.startswith("mix")]
    ratios = [(mix, f"ours / {arm}", least) for arm, least in RATIOS.items() for mix in mixes]
    wanted = [*((column, OURS, least) for column, least in RATES.items()), *ratios]
    found = [
        (rates[column][row].median, least, 1, f"{row} on {column}")
        for column, row, least in wanted
        if row in rates.get(column, ())
    ]
    for name, used in job.items():
        most = {"seconds": SECONDS.get(name), "gigabytes": GIGABYTES}
        found += [(used[n], m, -1, f"{n} of the main job, {name}") for n, m in most.items() if m]
    return [
        ("met" if s * v >= s * t else "missed", what, v, f"{'≥' if s > 0 else '≤'} {figure(t)}")
        for v, t, s, what in found
    ]


def figure(value: float) -> str:
    """Three digits: 201k, 12.3k, 25.1, 0.812."""
    if value >= 1000:
        return f"{value / 1000:.{0 if value >= 99_500 else 1}f}k"
    return f"{value:.3g}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Text columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    line = "  ".join(["{:<%d}", *["{:>%d}"] * (len(widths) - 1)]) % tuple(widths)
    return "\n".join(line.format(*row) for row in rows) + "\n"


def report(result: Mapping) -> str:
    """All results as text."""
    rates, job = result["rates"], result["main_job"]
    rows = [["", *rates]]
    for name in rates["relu"]:
        cells = [column[name] for column in rates.values()]
        rows.append([name, *(figure(c.median) for c in cells)])
        rows.append(["", *(f"{figure(c.low)}–{figure(c.high)}" for c in cells)])
    if not bench_loops.has_torch():
        rows.append([TORCH, *["not installed"] * len(rates)])
    made = [[n, *(figure(result["made"][c][n]) for c in rates)] for n in (DENSE, VMAP, OURS)]
    growth = [[name, *map(figure, cost)] for name, cost in result["growth"].items()]
    jobs = [[name, *map(figure, used.values())] for name, used in job.items()]
    goals = [[said, what, figure(value), goal] for said, what, value, goal in result["targets"]]
    parts = {
        f"Network-epochs per CPU-second (lowest–highest); activations alone are {ALONE}×8": rows,
        "CPU-seconds to start and compile, not timed above": [["", *rates], *made],
        "CPU-seconds per network-epoch as the mix grows": [["", *Spread._fields], *growth],
        "One core's float32 matrix product, GFLOP a second": [[*map(figure, result["gflops"])]],
        "The main job": [["", *next(iter(job.values()), ["not run"])], *jobs],
        "Targets, on idle cores": goals,
    }
    return "\n".join(f"{title}\n{aligned(rows)}" for title, rows in parts.items())


def main(bench: Bench, options: cli.Options) -> pathlib.Path:
    folder = pathlib.Path(options.out) / "bench_elements"
    bench = shortened(bench) if bench.quick else bench
    if options.export_json:
        raise run.Refused("--export_json has no meaning here: no experiment is kept")
    if options.dry_run:
        sizes = {**bench.columns(), **bench.growth()}
        print("\n".join(f"{n}: {c.size:,} networks, {c.epochs} epochs" for n, c in sizes.items()))
        return folder
    run.require_writable(folder, f"--out={options.out}")
    jax.config.update("jax_enable_compilation_cache", False)  # so that compiling is always told
    ready, made = prepare(bench)
    samples, yardstick = measure(bench, ready)
    smallest, *_ = (growth := samples.pop("growth")).values()
    result = {
        "settings": dataclasses.asdict(bench),
        "samples": samples,
        "made": made,
        "rates": {column: summarise(taken) for column, taken in samples.items()},
        "growth": {name: ratio(smallest, taken) for name, taken in growth.items()},
        "gflops": spread(yardstick),
        "main_job": main_job() if bench.main_job else {},
    }
    result["targets"] = verdicts(result["rates"], result["main_job"])
    storage.write_json(folder / "bench.json", result)
    print(report(result))
    return folder


if __name__ == "__main__":
    cli.main(Bench, main, __doc__)
