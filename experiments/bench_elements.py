"""How fast do we train a population of elements, side by side with the usual ways?

In one run: NumPy and PyTorch one network at a time, a plain `vmap`, and the trainer of the studies,
on the mix of phase 3 and per activation; then growth with the population, and the main job itself.
Unit: network-epochs (one network, forward, backward and update over its 200 samples) per
CPU-second. Baselines are sampled: every cell (activation, depth) of a mix gets equally many epochs.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from elements import element, learner
from experiments import bench_baselines
from experiments.elements_phase3 import Phase3
from experiments.elements_population import Population
from experiments.elements_training import Trainer
from experiments.lab import table
from experiments.shell import cli, devices, run, storage

OURS, NUMPY, TORCH, VMAP = "ours", "NumPy loop", "PyTorch loop", "plain vmap"
ALONE = 3  # hidden layers, 8 wide, of the columns of one activation
GROWTH = (1, 4, 16)
TARGETS = {"adam": 180_000, "gd": 180_000, "relu": 280_000, TORCH: 60, NUMPY: 25, VMAP: 3}
JOB_TARGETS = {"cold": 20.0, "warm": 10.0, "memory": 1.5e9}  # seconds on two idle cores, bytes
LAUNCHER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
wall, usage = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps({"code": done.returncode, "said": done.stderr[-500:], "wall": wall,
                  "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss * unit}))
"""


@dataclasses.dataclass(frozen=True)
class Bench:
    epochs: int = cli.field(500, "epochs of ours")
    trials: int = cli.field(20, "trials of the mix: 120 networks each")
    repeats: int = cli.field(3, "repeats, within which all arms take turns")
    protocols: tuple[str, ...] = cli.field(("gd", "adam"), "protocols of the mix; the first is "
                                           "that of the single activations")  # fmt: skip
    baseline_networks: int = cli.field(256, "networks in a plain vmap")
    baseline_epochs: int = cli.field(10, "epochs of every cell in one round of a baseline")
    baseline_seconds: float = cli.field(0.3, "CPU-seconds after which a baseline's rounds end")
    main_job: bool = cli.field(True, "also run elements_phase3, cold, warm and with more trials")
    quick: bool = cli.field(False, "depth 3 alone, 4 trials, 50 epochs, 1 repeat, no main job")

    def __post_init__(self):
        for name in ("epochs", "trials", "repeats", "baseline_networks", "baseline_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.protocols:
            raise ValueError("the bench is empty: --protocols names nothing")
        for name in self.protocols:
            learner.protocol(name)

    def resolved(self) -> "Bench":
        short = {"epochs": 50, "trials": 4, "repeats": 1, "main_job": False}
        few = {"baseline_seconds": 0.05, "baseline_epochs": 2, "baseline_networks": 32}
        return dataclasses.replace(self, **short, **few) if self.quick else self


class Sample(NamedTuple):
    """Network-epochs trained, and what they took in seconds."""

    epochs: int
    cpu: float
    wall: float

    @property
    def rate(self) -> float:
        return self.epochs / self.cpu


def clocked(work: Callable[[], int], seconds: float = 0.0) -> Sample:
    """Calls `work` once and then until so many CPU-seconds (of all threads) are spent."""
    cpu, wall, done, spent = time.process_time(), time.perf_counter(), 0, 0.0
    while not done or spent < seconds:
        done += work()
        spent = time.process_time() - cpu
    return Sample(done, spent, time.perf_counter() - wall)


class Ours(Trainer):
    """The trainer of the studies, keeping its data and programs: training again is what is timed.

    That is everything from the cut into chunks to the columns of the tables; no disk.
    """

    def __init__(self, config: Population):
        super().__init__(config)
        self.todo = self.tasks(self.layout())
        self.drawn, self.compiled = {}, {}
        parts = self.parts(self.layout()).values()
        self.drawn = {part.trials: super()._draw(part.trials) for part in parts}
        self.compiled = super()._programs(list(parts))
        for program in self.compiled.values():
            program.result()

    def _draw(self, trials):
        return self.drawn[trials] if self.drawn else super()._draw(trials)

    def _programs(self, parts):
        return self.compiled

    def advance(self) -> int:
        for _ in self.train(self.layout(), self.todo):
            pass
        return self.config.size * self.config.epochs


class Column(NamedTuple):
    """A column of the table and what is trained in it; baselines train one cell an element."""

    name: str
    population: Population


def columns(bench: Bench) -> list[Column]:
    """The mix under every protocol, then each activation alone, as many networks as in the mix."""
    grid = Phase3(trials=bench.trials, epochs=bench.epochs)
    mix = dataclasses.replace(grid, depths=(ALONE,)) if bench.quick else grid
    found = [
        Column(f"mix {p}", dataclasses.replace(mix.population, protocol=p)) for p in bench.protocols
    ]
    trials = bench.trials * len(mix.depths)
    for name in grid.activations:
        alone = (element.square(name, ALONE, 8),)
        shared = dict(elements=alone, trials=trials, protocol=bench.protocols[0])
        found.append(Column(name, dataclasses.replace(mix.population, **shared)))
    return found


class Bench_:  # placeholder
    pass
