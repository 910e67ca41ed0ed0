"""What a run of apoptosis_train found: its losses, its speed, and the parts of its report."""

import dataclasses
import math
import pathlib

import jax
import numpy as np

from apoptosis import transformer
from experiments import apoptosis_course
from experiments.apoptosis_training import Subject
from experiments.lab import figures, statistics
from experiments.shell import run

SIGMAS = 1.96  # half the width of a 95 % interval
# Dense peaks of a card, operations a second, by its maker's data sheet: products of bfloat16 on
# tensor cores; float32, which is not rounded to TF32 here, beside them.
PEAKS = {
    "H100 PCIe": {"bfloat16": 756e12, "float32": 51e12},
    "H100": {"bfloat16": 989e12, "float32": 67e12},
    "H200": {"bfloat16": 989e12, "float32": 67e12},
    "A100": {"bfloat16": 312e12, "float32": 19.5e12},
}


@dataclasses.dataclass(frozen=True)
class Found:
    """The tables of a run: rows of measurements, of steps, and of the time that intervals took."""

    rows: dict
    curves: dict
    times: dict

    @classmethod
    def read(cls, folder: pathlib.Path) -> "Found":
        return cls(*(run.read(folder, table) for table in apoptosis_course.TABLES))

    @property
    def best(self) -> int:
        """The row of the lowest validation loss; the first, untrained, if none is a number."""
        losses = self.rows["validation_loss"]
        return 0 if np.isnan(losses).all() else int(np.nanargmin(losses))

    def rate(self, subject: Subject) -> float:
        """Tokens a second over all intervals: training alone, without compiling and measuring."""
        training = subject.preset.training
        tokens = training.batch * subject.preset.architecture.context
        return tokens * self.times["steps"].sum() / self.times["seconds"].sum()

    def share(self, subject: Subject) -> float:
        """The fraction of the devices' peak that this is; NaN where the peak is not known."""
        device, count = self.times["device"][-1], self.times["devices"][-1]
        known = [peak for name, peak in PEAKS.items() if name in device]
        peak = known[0][subject.compute] * count if known else math.nan
        return self.rate(subject) * operations(subject) / peak

    def summary(self, subject: Subject) -> dict:
        """One row: the run, its losses with 95 % intervals, and its speed."""
        row = {
            "preset": subject.preset.name,
            "corpus": subject.corpus.name,
            "seed": subject.seed,
            "compute": subject.compute,
            "parameters": parameters(subject),
            "steps": subject.preset.training.steps,
            "best_step": self.rows["step"][self.best],
        }
        for part in ("validation", "test"):
            for when, index in (("best", self.best), ("last", -1)):
                loss, error = (self.rows[f"{part}_{n}"][index] for n in ("loss", "error"))
                row[f"{part}_loss_{when}"] = loss
                row[f"{part}_loss_{when}_low"] = loss - SIGMAS * error
                row[f"{part}_loss_{when}_high"] = loss + SIGMAS * error
        row["seconds"] = self.times["seconds"].sum()
        row["tokens_per_second"] = self.rate(subject)
        row["flops_per_token"] = operations(subject)
        row["share_of_peak"] = self.share(subject)
        return {name: np.array([value]) for name, value in row.items()}

    def parts(self, subject: Subject) -> dict:
        """Findings, figures and tables of the report."""
        rows, best, summary = self.rows, self.best, self.summary(subject)
        said = {p: _interval(rows, p, best) for p in ("validation", "test")}
        windows = "95 % intervals over windows of the text; one seed says nothing of others"
        chance = math.log(len(subject.vocabulary))
        share = summary["share_of_peak"][0]
        device = f"{self.times['devices'][-1]} × {self.times['device'][-1]}"
        of_peak = "whose peak is not known here" if np.isnan(share) else f"{share:.1%} of its peak"
        findings = [
            (
                "How low does the loss on unseen text go?",
                f"The best validation loss is {said['validation']} nats per character, after "
                f"{rows['step'][best]:,} of {rows['step'][-1]:,} steps; there the test loss is "
                f"{said['test']} ({windows}).",
            ),
            (
                "Where does it start?",
                f"Untrained, at {rows['validation_loss'][0]:.3f}; a guess among "
                f"{len(subject.vocabulary)} symbols costs {chance:.3f}.",
            ),
            (
                "How fast is it trained?",
                f"{self.rate(subject):,.0f} tokens a second, {summary['seconds'][0]:,.1f} seconds "
                f"of training on {device} in {subject.compute}, {of_peak} "
                f"({operations(subject):,} operations a token: 6 N + 12 L T D, N the weights "
                f"that take part in products).",
            ),
        ]
        return {
            "findings": findings,
            "figures": {
                "loss": (self._figure(chance), f"Losses, in nats per character; {windows}")
            },
            "tables": {"Measurements": self._table()},
        }

    def _figure(self, chance):
        rows, names = self.rows, ("training (mean of the interval)", "validation", "test")
        value = np.stack([rows[f"{n.split()[0]}_loss"] for n in ("train", *names[1:])])
        error = np.stack([rows["train_loss"] * 0, rows["validation_error"], rows["test_error"]])
        curves = statistics.Estimate(value, value - SIGMAS * error, value + SIGMAS * error, 1)
        return figures.bands(
            rows["step"],
            curves,
            names,
            title="Loss while it learns",
            xlabel="step",
            ylabel="nats per character",
            chance=chance,
            unit=1,
        )

    def _table(self):
        rows = self.rows
        cells = [
            [
                f"{rows['step'][i]:,}",
                figures.UNKNOWN
                if np.isnan(rows["train_loss"][i])
                else f"{rows['train_loss'][i]:.4f}",
                _interval(rows, "validation", i),
                _interval(rows, "test", i),
                f"{rows['learning_rate'][i]:.2g}",
            ]
            for i in range(len(rows["step"]))
        ]
        header = ["step", "training", "validation", "test", "learning rate"]
        caption = "Nats per character: full passes over held-out text; training with dropout"
        return header, cells, caption


def _interval(rows, part, i) -> str:
    loss, error = rows[f"{part}_loss"][i], SIGMAS * rows[f"{part}_error"][i]
    return f"{loss:.4f} [{loss - error:.4f}, {loss + error:.4f}]"


def operations(subject: Subject) -> int:
    """Floating-point operations of a training step per token (`transformer.flops`)."""
    return transformer.flops(subject.preset.architecture, len(subject.vocabulary))


def parameters(subject: Subject) -> int:
    """Number of parameters."""
    shapes = jax.eval_shape(lambda key: transformer.initial(key, subject.model), jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))
