"""How fast is the transformer trained, what does watching its neurons cost, and what an event?

Training steps of ours, with and without evidence of every neuron, of a plain JAX loop and of a
PyTorch loop of the same network (where it is installed) take turns in one process; then one event
of every recipe. On CPUs what counts are the CPU-seconds of all threads, on accelerators those by
the wall clock; ratios are taken within a repeat. Compiling is not timed.
"""

import concurrent.futures
import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax

from apoptosis import transformer
from experiments import apoptosis_trained, bench_apoptosis_torch
from experiments.apoptosis_train import Train
from experiments.apoptosis_training import Subject, Trainer
from experiments.bench_apoptosis_arms import PlainLoop, Steps, Watched
from experiments.bench_apoptosis_events import EVENTS, Events
from experiments.bench_baselines import matmul_rate
from experiments.bench_elements import Spread, aligned, figure, spread
from experiments.shell import cli, devices, run, storage

OURS, EVIDENCE, RECORDED = "ours", "ours, with evidence", "ours, with evidence and records"
PART = "ours, with evidence of a part"
PLAIN, TORCH = "plain JAX loop", "PyTorch loop"
# Of an arm in a turn, in one program, as studies take them: a program asks for its memory anew
# whenever it is called, which on CPUs takes as long as a third of a step.
STEPS = {"cpu": 5}
ON_ACCELERATORS = 50
EVIDENCE_MOST = 1.03  # targets: times a step without
EVENT_MOST = {"cpu": 5}  # training steps
EVENT_MOST_ELSEWHERE = 2


@dataclasses.dataclass(frozen=True)
class BenchApoptosis:
    preset: str = cli.field("prototype", "prototype, nanogpt, big or tiny")
    compute: str = cli.field("float32", "float32 or bfloat16: what products are taken in")
    batch: int | None = cli.field(None, "sequences a step; by default the preset's")
    recipes: tuple[str, ...] = cli.field(tuple(EVENTS), "recipes whose event is timed, or none")
    steps: int | None = cli.field(
        None,
        f"steps of an arm in a turn; by default {STEPS['cpu']} on CPUs, else {ON_ACCELERATORS}",
    )
    repeats: int = cli.field(7, "repeats, in each of which all arms take turns")
    record: int | None = cli.field(
        None, "samples of outputs that are recorded; by default twice the feed-forward units"
    )
    watch: int | None = cli.field(
        None, "sequences of a batch that evidence of a part looks at; by default a quarter"
    )
    torch: bool = cli.field(True, "also time PyTorch, where it is installed")

    def __post_init__(self):
        for name in ("steps", "repeats", "batch", "record", "watch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name in self.recipes:
            if name not in EVENTS:
                raise ValueError(f"recipes must be of {', '.join(EVENTS)}, got {name!r}")
        training, context = self.train.resolved.training, self.shape.context
        if self.samples > training.batch * context:
            raise ValueError(
                f"record must be at most the {training.batch * context} tokens of a batch, got "
                f"{self.samples}"
            )

        if self.part > training.batch:
            raise ValueError(
                f"watch must be at most the {training.batch} sequences of a batch, got {self.part}"
            )

    @property
    def train(self) -> Train:
        return Train(preset=self.preset, compute=self.compute, batch=self.batch)

    @property
    def shape(self) -> transformer.Architecture:
        return self.train.resolved.architecture

    @property
    def samples(self) -> int:
        """Samples of outputs that are recorded."""
        return self.record or 2 * self.shape.ffn

    @property
    def part(self) -> int:
        """Sequences of a batch that evidence of a part looks at."""
        return self.watch or max(1, self.train.resolved.training.batch // 4)


class Sample(NamedTuple):
    """Steps (or events), and the seconds that one of them took."""

    steps: int
    cpu: float
    wall: float


def clocked(work: Callable[[], int]) -> Sample:
    """One call of `work`, which returns the number of its steps."""
    cpu, wall = time.process_time(), time.perf_counter()
    steps = work()
    return Sample(steps, (time.process_time() - cpu) / steps, (time.perf_counter() - wall) / steps)


def prepare(bench: BenchApoptosis, trainer: Trainer) -> tuple[dict, str]:
    """By arm, what takes steps, each taken once untimed; and why PyTorch is not among them."""
    platform = jax.default_backend()
    steps = bench.steps or STEPS.get(platform, ON_ACCELERATORS)
    absent = bench_apoptosis_torch.available(platform) if bench.torch else "not asked for"
    makes = {
        OURS: lambda: Steps(trainer, steps),
        EVIDENCE: lambda: Watched(trainer, steps),
        RECORDED: lambda: Watched(trainer, steps, bench.samples, inputs=True),
        PART: lambda: Watched(trainer, steps, watch=bench.part),
        PLAIN: lambda: PlainLoop(trainer.subject, steps),
    }
    if not absent:
        params = jax.device_get(trainer.start().params)
        loop = bench_apoptosis_torch.TorchLoop
        makes[TORCH] = lambda: loop(trainer.subject, params, steps)
    ready = {}
    for name, make in makes.items():
        ready[name] = make()
        ready[name].advance()  # compiles where that was not yet done
        print(f"bench_apoptosis: {name} is ready", file=sys.stderr)
    return ready, absent


def prepare_events(bench: BenchApoptosis, trainer: Trainer, watched: Watched) -> dict:
    """By recipe, its event on a state that `watched` has trained; they compile side by side."""
    state, known = jax.device_get(watched.carry)
    make = lambda name: Events(name, trainer, state.params, known)
    with concurrent.futures.ThreadPoolExecutor(devices.cores()) as pool:
        ready = dict(zip(bench.recipes, pool.map(make, bench.recipes), strict=True))
    print("bench_apoptosis: events are ready", file=sys.stderr)
    return ready


def measure(bench: BenchApoptosis, steps: Mapping, events: Mapping) -> dict[str, list[Sample]]:
    """Samples of every repeat by arm and recipe, taking turns, each time in another order."""
    ready = {**steps, **events}
    samples, order = {name: [] for name in ready}, list(ready)
    for repeat in range(bench.repeats):
        for name in order:
            samples[name].append(clocked(ready[name].advance))
        order = [*order[1:], order[0]]
        print(f"bench_apoptosis: repeat {repeat + 1} of {bench.repeats} done", file=sys.stderr)
    return samples


def ratio(above: Sequence[Sample], below: Sequence[Sample], unit: str) -> Spread:
    """Of the seconds (`cpu` or `wall`) of one step each, within their repeats."""
    pairs = zip(above, below, strict=True)
    return spread([getattr(a, unit) / getattr(b, unit) for a, b in pairs])


def summarise(samples: Mapping[str, Sequence[Sample]]) -> dict[str, dict[str, Spread]]:
    """By arm and recipe: seconds of a step, and how many of our steps that is, by both clocks."""
    found = {}
    for name, taken in samples.items():
        found[name] = {u: spread([getattr(s, u) for s in taken]) for u in ("cpu", "wall")}
        for unit in ("cpu", "wall"):
            found[name][f"{unit} / ours"] = ratio(taken, samples[OURS], unit)
    return found


def speed(subject: Subject, seconds: float, kind: str, count: int) -> dict:
    """Tokens and operations a second where a step takes so many seconds, and the share of the
    peak of `count` devices of a kind: None where it is not known. On CPUs the peak is what NumPy's
    float32 matrix product makes on one core, times the cores."""
    training, context = subject.preset.training, subject.preset.architecture.context
    tokens = training.batch * context / seconds
    operations = tokens * apoptosis_trained.operations(subject)
    if jax.default_backend() == "cpu":
        peak = 1e9 * matmul_rate() * devices.cores()
    else:
        peaks = [own for name, own in apoptosis_trained.PEAKS.items() if name in kind]
        peak = peaks[0][subject.compute] * count if peaks else None
    return {
        "device": kind,
        "devices": count,
        "tokens_per_second": tokens,
        "operations_per_second": operations,
        "share_of_peak": operations / peak if peak else None,
    }


def verdicts(costs: Mapping, platform: str) -> list[tuple[str, str, float, str]]:
    """(met or missed, of what, its figure, its target) of all that was measured."""
    unit = "cpu" if platform == "cpu" else "wall"
    wanted = [
        (f"{name}, in steps without", costs[name][f"{unit} / ours"].median, EVIDENCE_MOST)
        for name in (EVIDENCE, RECORDED, PART)
        if name in costs
    ]
    if TORCH in costs and platform == "cpu":
        wanted += [
            (f"ours / PyTorch, {told}", 1 / costs[TORCH][f"{u} / ours"].median, 1.0)
            for u, told in (("cpu", "CPU-seconds"), ("wall", "wall clock"))
        ]
    most = EVENT_MOST.get(platform, EVENT_MOST_ELSEWHERE)
    wanted += [
        (f"an event of {name}, in steps", costs[name][f"{unit} / ours"].median, most)
        for name in EVENTS
        if name in costs
    ]
    return [
        ("met" if value <= target else "missed", what, value, f"≤ {target:g}")
        for what, value, target in wanted
    ]


def report(result: Mapping) -> str:
    """All results as text."""
    header = ["", "CPU-seconds", "wall", "CPU / ours", "lowest–highest", "wall / ours", ""]

    def row(name):
        own = result["costs"][name]
        cells = [name, figure(own["cpu"].median), figure(own["wall"].median)]
        for unit in ("cpu", "wall"):
            few = own[f"{unit} / ours"]
            cells += [f"{few.median:.3f}", f"{few.low:.3f}–{few.high:.3f}"]
        return cells

    arms = [row(name) for name in result["costs"] if name not in EVENTS]
    if result["torch"]:
        arms.append([TORCH, result["torch"], *[""] * 5])
    events = [[*row(n), f"{result['born'][n]:,}"] for n in result["costs"] if n in EVENTS]
    fast = result["speed"]
    share = "not known" if fast["share_of_peak"] is None else f"{fast['share_of_peak']:.1%}"
    told = [
        ["device", f"{fast['devices']} × {fast['device']}"],
        ["tokens a second (wall clock)", f"{fast['tokens_per_second']:,.0f}"],
        ["operations a second", f"{fast['operations_per_second']:.3g}"],
        ["share of the peak", share],
    ]
    goals = [[said, what, f"{value:.3f}", goal] for said, what, value, goal in result["targets"]]
    parts = {
        "A training step": [header, *arms],
        "An event, in our training steps, and how many neurons are born": [[*header, ""], *events],
        "Ours": told,
        "Targets": goals,
    }
    return "\n".join(f"{title}\n{aligned(rows)}" for title, rows in parts.items() if rows)


def main(bench: BenchApoptosis, options: cli.Options) -> pathlib.Path:
    folder = pathlib.Path(options.out) / "bench_apoptosis"
    if options.export_json:
        raise run.Refused("--export_json has no meaning here: no experiment is kept")
    if options.dry_run:
        print(json.dumps(dataclasses.asdict(bench), indent=1))
        return folder
    run.require_writable(folder, f"--out={options.out}")
    trainer = Trainer(bench.train.subject())
    steps, absent = prepare(bench, trainer)
    events = prepare_events(bench, trainer, steps[RECORDED])
    samples = measure(bench, steps, events)
    costs = summarise(samples)
    result = {
        "settings": dataclasses.asdict(bench),
        "samples": samples,
        "costs": costs,
        "born": {name: own.born for name, own in events.items()},
        "torch": absent,
        "speed": speed(trainer.subject, costs[OURS]["wall"].median, trainer.kind, trainer.devices),
        "targets": verdicts(costs, jax.default_backend()),
    }
    storage.write_json(folder / "bench.json", result)
    print(report(result))
    return folder


if __name__ == "__main__":
    cli.main(BenchApoptosis, main, __doc__)
