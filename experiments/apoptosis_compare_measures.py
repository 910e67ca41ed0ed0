"""What the study of strategies measured, from its tables: arrays `[A, S]` over arms and seeds."""

import dataclasses
import functools
import pathlib

import numpy as np

from experiments import apoptosis_compare_arms as arms_of
from experiments.apoptosis_compare_experiment import Experiment
from experiments.lab import table
from experiments.shell import run

AFTER = 50  # steps after an event, within which its spike lies


@dataclasses.dataclass(frozen=True)
class Found:
    """The tables of a run as arrays.

    `validation` and `test` are `[A, S, R]` over the measurements at `steps` `[R]`, `losses`
    `[A, S, L]` the training losses of all steps.
    """

    experiment: Experiment
    steps: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    losses: np.ndarray
    events: dict
    neurons: dict
    times: dict

    @classmethod
    def read(cls, folder: pathlib.Path, experiment: Experiment) -> "Found":
        rows = run.read(folder, "results")
        axes = {"arm": range(len(experiment.arms)), "seed": _seeds(experiment)}
        steps = np.unique(rows["step"])
        losses = [
            table.cube(rows, f"{part}_loss", **axes, step=steps) for part in ("validation", "test")
        ]
        curves = run.read(folder, "curves")
        every = range(1, experiment.subject.preset.training.steps + 1)
        rest = (run.read(folder, name) for name in ("events", "neurons", "times"))
        curve = table.cube(curves, "loss", **axes, step=every)
        return cls(experiment, steps, *losses, curve, *rest)

    @property
    def names(self) -> list[str]:
        return [arm.name for arm in self.experiment.arms]

    @property
    def baseline(self) -> int:
        return self.names.index(arms_of.BASELINE)

    def has(self, *names: str) -> bool:
        """Whether these arms were all run."""
        return set(names) <= set(self.names)

    @property
    def final(self) -> np.ndarray:
        """Validation loss after the last step."""
        return self.validation[..., -1]

    @property
    def final_test(self) -> np.ndarray:
        return self.test[..., -1]

    @functools.cached_property
    def area(self) -> np.ndarray:
        """Mean validation loss over the steps: the area under the curve over its length."""
        return np.trapezoid(self.validation, self.steps) / np.ptp(self.steps)

    @functools.cached_property
    def variance(self) -> np.ndarray:
        """Variance of the training loss over the last tenth of the steps."""
        return self.losses[..., -max(2, self.losses.shape[-1] // 10) :].var(-1, ddof=1)

    @functools.cached_property
    def happened(self) -> list[list[np.ndarray]]:
        """The steps of the events, by arm and seed."""
        rows, found = self.events, []
        for a in range(len(self.names)):
            own = rows["arm"] == a
            found.append([rows["step"][own & (rows["seed"] == s)] for s in _seeds(self.experiment)])
        return found

    @property
    def count(self) -> np.ndarray:
        """Events: steps in which neurons died or were born."""
        return np.array([[len(steps) for steps in own] for own in self.happened])

    @functools.cached_property
    def spikes(self) -> np.ndarray:
        """Highest training loss in the 50 steps after an event, minus that of the baseline of the
        same seed in the same steps: the mean over an arm's events that so many steps follow, NaN
        where there are none. Without any effect it is 0 on average."""
        found = np.full(self.final.shape, np.nan)
        after = min(AFTER, self.losses.shape[-1])
        windows = np.lib.stride_tricks.sliding_window_view(self.losses, after, axis=-1)
        highest = windows.max(-1)  # [A, S, first step of the window - 1]
        for a, s in np.ndindex(found.shape):
            steps = self.happened[a][s]
            steps = steps[steps < highest.shape[-1]]
            if len(steps) and a != self.baseline:
                apart = highest[a, s, steps] - highest[self.baseline, s, steps]
                found[a, s] = apart.mean()
        return found

    def total(self, column: str) -> np.ndarray:
        """Neurons that `died` or were `born` in all."""
        return self._by_cell(self.events, lambda own: self.events[column][own].sum())

    @functools.cached_property
    def change(self) -> np.ndarray:
        """Change of the network's output at an event, relative to its deviation: the mean."""
        return self._by_cell(
            self.events, lambda own: self.events["change"][own].mean() if own.any() else np.nan
        )

    @functools.cached_property
    def ages(self) -> np.ndarray:
        """The effective number of ages among the neurons at the end: the exponential of the
        entropy of their distribution, 1 where all are of one age."""
        return self._by_cell(self.neurons, lambda own: _effective(self.neurons["age"][own]))

    @functools.cached_property
    def young(self) -> np.ndarray:
        """The share of neurons at the end that were born in the course of the run."""
        steps = self.losses.shape[-1]
        return self._by_cell(self.neurons, lambda own: np.mean(self.neurons["age"][own] < steps))

    def _by_cell(self, rows, measure):
        found = np.full(self.final.shape, np.nan)
        for a, s in np.ndindex(found.shape):
            number = self.experiment.subject.seed + s
            found[a, s] = measure((rows["arm"] == a) & (rows["seed"] == number))
        return found

    # Time

    @property
    def step_seconds(self) -> float:
        """Of one training step of one network, among all that were trained at once."""
        own = self.times["kind"] == "training"
        work = self.times["steps"][own] * self.times["networks"][own]
        return float(self.times["seconds"][own].sum() / work.sum())

    def rate(self) -> float:
        """Tokens a second, over all networks, without compiling and measuring."""
        preset = self.experiment.subject.preset
        return preset.training.batch * preset.architecture.context / self.step_seconds

    def overhead(self, arm: int) -> tuple[float, float]:
        """What an arm's updates cost: (one update in training steps, all as a share of training).

        NaN where it was not measured, as for the baseline.
        """
        own = (self.times["kind"] == "updates") & (self.times["arm"] == arm)
        if not own.any():
            return np.nan, np.nan
        one = lambda name: float(self.times[name][own][0])
        seconds = one("seconds") / one("networks") / self.step_seconds
        return seconds / one("updates"), seconds / one("steps")


def _seeds(experiment):
    return range(experiment.subject.seed, experiment.subject.seed + experiment.seeds)


def _effective(ages) -> float:
    _, counts = np.unique(ages, return_counts=True)
    share = counts / counts.sum()
    return float(np.exp(-(share * np.log(share)).sum()))
