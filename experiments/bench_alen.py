"""How fast does ALEN learn, answer, and verify its answers?

Of every size: training steps, and the latency of an answer and of an answer with its verdict, one
compiled program each, of one question and of many at a time. All programs of a size take turns;
medians over the repeats stand beside the lowest and highest. Compiling is not timed.
"""

import dataclasses
import functools
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax

from alen import blocks, flops, presets, tasks
from experiments import (
    alen_configuration,
    alen_recipes,
    alen_train_questions,
    apoptosis_trained,
)
from experiments import bench_alen_work as work
from experiments.alen_train_subject import Subject
from experiments.bench_apoptosis import Sample, clocked
from experiments.bench_baselines import matmul_rate
from experiments.bench_elements import Spread, aligned, figure, spread
from experiments.shell import cli, devices, run, storage

TRAINING = "training"
ONE, MANY = "one", "many"
ANSWER, VERIFIED = "answer", "answer + verification"
KINDS = tuple(f"{kind}, {many}" for many in (ONE, MANY) for kind in (ANSWER, VERIFIED))
SIZES = {"cpu": ("tiny", "small")}  # where none are asked for; elsewhere all
# Examples of a training step, and questions at a time, where no number is asked for.
BATCH = {"tiny": 8192, "small": 8192, "medium": 4096, "large": 1024, "xl": 256}
QUESTIONS = {"tiny": 8192, "small": 8192, "medium": 4096, "large": 2048, "xl": 512}
QUESTIONS_ON_CPU = 64
SECONDS = 0.5  # that a program runs in a turn
# Targets: of two cores, and of one H200 in bfloat16.
EXAMPLES, MILLISECONDS = {"small": 300}, {"small": 20}
TOKENS = {"small": 4e6, "medium": 1e6, "large": 0.4e6}
ASKED = {"small": 50_000, "medium": 10_000, "large": 2_000}


@dataclasses.dataclass(frozen=True)
class BenchAlen:
    sizes: tuple[str, ...] = cli.field((), "presets; by default tiny,small on CPUs, else all")
    task: str = cli.field("modular", f"what is learnt and asked: {', '.join(tasks.NAMES)}")
    task_vocab: bool = cli.field(False, "the task's own vocabulary instead of the preset's")
    compute: str | None = cli.field(
        None, "float32 or bfloat16; by default float32 on CPUs, else bfloat16"
    )
    batch: int | None = cli.field(
        None, "examples of a training step; by default the preset's on CPUs, else more"
    )
    questions: int | None = cli.field(
        None, f"questions at a time; by default {QUESTIONS_ON_CPU} on CPUs, else more"
    )
    repeats: int = cli.field(5, "repeats, in each of which all programs of a size take turns")
    seconds: float = cli.field(SECONDS, "that a program runs in a turn, about")

    def __post_init__(self):
        for name in ("batch", "questions", "repeats"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not self.seconds > 0:
            raise ValueError(f"seconds must be positive, got {self.seconds}")
        for name in self.sizes:
            presets.find(name)
        if self.compute is not None:
            blocks.dtype_of(self.compute)
        alen_recipes.task(self.task)

    def resolved(self, platform: str) -> "BenchAlen":
        """With sizes and compute as they are by default on a platform."""
        return dataclasses.replace(
            self,
            sizes=self.sizes or SIZES.get(platform, presets.NAMES),
            compute=self.compute or ("float32" if platform == "cpu" else "bfloat16"),
        )

    def subject(self, size: str) -> Subject:
        """What is trained and asked; raises run.Refused where size and task do not fit."""
        task = alen_recipes.task(self.task)
        language = alen_train_questions.language(task)
        sized = alen_configuration.resolve(size, language=language, task_vocab=self.task_vocab)
        return Subject(task, sized, compute=self.compute or "float32")


class Ready(NamedTuple):
    """A program, and how many steps or calls of it take the time of a turn."""

    work: work.Work
    calls: int

    def run(self) -> int:
        return self.work.run(self.calls)


def prepare(bench: BenchAlen, subject: Subject) -> tuple[dict[str, Ready], dict[str, str]]:
    """By name, the programs of a size that fit, each run untimed; of the others, why not."""
    size, cpu = subject.configuration.size, jax.default_backend() == "cpu"
    batch = bench.batch or (subject.configuration.batch if cpu else BATCH[size])
    many = bench.questions or (QUESTIONS_ON_CPU if cpu else QUESTIONS[size])
    params = work.networks(subject)
    makes = {TRAINING: (functools.partial(work.training, subject), batch)}
    for name in KINDS:
        kind, number = name.rsplit(", ", 1)
        ask = functools.partial(work.asking, subject, params, checked=kind == VERIFIED)
        makes[name] = ask, 1 if number == ONE else many
    ready, absent = {}, {}
    for name, (make, count) in makes.items():
        found = work.fitting(make, count)
        if isinstance(found, str):
            absent[name] = found
            continue
        one = clocked(functools.partial(found.run, 1)).wall
        ready[name] = Ready(found, max(1, round(bench.seconds / one)))
        print(f"bench_alen: {size}, {name} is ready", file=sys.stderr)
    return ready, absent


def measure(bench: BenchAlen, ready: Mapping[str, Ready]) -> dict[str, list[Sample]]:
    """Samples of every repeat by program, taking turns, each time in another order."""
    samples, order = {name: [] for name in ready}, list(ready)
    for _ in range(bench.repeats):
        for name in order:
            samples[name].append(clocked(ready[name].run))
        order = [*order[1:], *order[:1]]
    return samples


def peak(compute: str, kind: str, count: int) -> float | None:
    """Operations a second of `count` devices of a kind, None where they are not known. On CPUs
    what NumPy's float32 matrix product makes on one core, times the cores."""
    if jax.default_backend() == "cpu":
        return 1e9 * matmul_rate() * devices.cores()
    peaks = [own for name, own in apoptosis_trained.PEAKS.items() if name in kind]
    return peaks[0][compute] * count if peaks else None


def summarise(
    subject: Subject, ready: Mapping, samples: Mapping[str, Sequence[Sample]], most: float | None
) -> dict[str, dict]:
    """By program: seconds of a call by both clocks, examples and tokens a second by the wall's,
    the share of the peak `most` of all devices, and memory."""
    shape = subject.configuration.architecture
    length = shape.question + shape.answer
    found = {}
    for name, taken in samples.items():
        own = ready[name].work
        rates = [own.batch / sample.wall for sample in taken]
        found[name] = {
            "batch": own.batch,
            "devices": own.devices,
            "gigabytes": own.bytes / 1e9,
            "cpu": spread([sample.cpu for sample in taken]),
            "wall": spread([sample.wall for sample in taken]),
            "examples_per_second": spread(rates),
            "tokens_per_second": spread([rate * length for rate in rates]),
        }
        if name == TRAINING and most:
            cost = flops.training(shape, subject.decoded_share)
            found[name]["share_of_peak"] = spread([rate * cost / most for rate in rates])
    return found


def verdicts(results: Mapping[str, Mapping], platform: str) -> list[tuple[str, str, float, str]]:
    """(met or missed, of what, its figure, its target) of all targets that were measured."""
    found = []

    def judge(size, name, what, measured, bound, least):
        own = results.get(size, {}).get(name)
        if own is None:
            return
        value = measured(own)
        good = value >= bound if least else value <= bound
        sign = "≥" if least else "≤"
        found.append(("met" if good else "missed", f"{size}, {what}", value, f"{sign} {bound:,g}"))

    examples = lambda own: own["examples_per_second"].median
    if platform == "cpu":
        for size, least in EXAMPLES.items():
            judge(size, TRAINING, "training examples a second", examples, least, True)
        for size, most in MILLISECONDS.items():
            milliseconds = lambda own: 1e3 * own["wall"].median
            what = "answer + verification of one question, milliseconds"
            judge(size, f"{VERIFIED}, {ONE}", what, milliseconds, most, False)
        return found
    for size, least in TOKENS.items():
        tokens = lambda own: own["tokens_per_second"].median
        judge(size, TRAINING, "training tokens a second", tokens, least, True)
    for size, least in ASKED.items():
        what = "answers with verification a second"
        judge(size, f"{VERIFIED}, {MANY}", what, examples, least, True)
    return found


def report(result: Mapping) -> str:
    """All results as text."""
    header = ["", "batch", "ms", "lowest–highest", "CPU ms", "examples/s", "tokens/s", "peak", "GB"]
    parts = {}
    for size, programs in result["sizes"].items():
        rows = [_row(name, own) for name, own in programs.items()]
        rows += [[name, why, *[""] * 7] for name, why in result["absent"][size].items()]
        told = f"{size}: {result['parameters'][size]:,} parameters, verifier not counted"
        parts[told] = [header, *rows]
    goals = [[said, what, f"{value:,.4g}", goal] for said, what, value, goal in result["targets"]]
    about = f"{result['devices']} × {result['device']}, {result['settings']['compute']}"
    text = [f"{about}; {result['about']}"]
    parts["Targets"] = goals or [["none", "for these sizes here"]]
    return "\n".join(text + [f"{title}\n{aligned(rows)}" for title, rows in parts.items()])


def _row(name, own):
    time = own["wall"]
    share = own.get("share_of_peak")
    return [
        name,
        f"{own['batch']:,}",
        f"{1e3 * time.median:.4g}",
        f"{1e3 * time.low:.4g}–{1e3 * time.high:.4g}",
        f"{1e3 * own['cpu'].median:.4g}",
        figure(own["examples_per_second"].median),
        figure(own["tokens_per_second"].median) if name == TRAINING else "",
        f"{share.median:.1%}" if isinstance(share, Spread) else "",
        f"{own['gigabytes']:.3g}",
    ]


def main(bench: BenchAlen, options: cli.Options) -> pathlib.Path:
    folder = pathlib.Path(options.out) / "bench_alen"
    if options.export_json:
        raise run.Refused("--export_json has no meaning here: no experiment is kept")
    platform = jax.default_backend()
    bench = bench.resolved(platform)
    subjects = {size: bench.subject(size) for size in bench.sizes}
    if options.dry_run:
        print(json.dumps(dataclasses.asdict(bench), indent=1))
        return folder
    run.require_writable(folder, f"--out={options.out}")
    kind, count = jax.local_devices()[0].device_kind, len(jax.local_devices())
    most = peak(bench.compute, kind, count)
    language = alen_train_questions.language(next(iter(subjects.values())).task)
    result = {
        "settings": dataclasses.asdict(bench),
        "device": kind,
        "devices": count,
        "about": f"{bench.task}: questions of {language.question} tokens, answers of "
        f"{language.answer}, padding included",
        "parameters": {},
        "samples": {},
        "sizes": {},
        "absent": {},
    }
    for size, subject in subjects.items():
        ready, absent = prepare(bench, subject)
        samples = measure(bench, ready)
        counted = presets.parameters(subject.configuration.architecture).total
        result["parameters"][size], result["absent"][size] = counted, absent
        result["samples"][size] = samples
        result["sizes"][size] = summarise(subject, ready, samples, most)
    result["targets"] = verdicts(result["sizes"], platform)
    storage.write_json(folder / "bench.json", result)
    print(report(result))
    return folder


if __name__ == "__main__":
    cli.main(BenchAlen, main, __doc__)
