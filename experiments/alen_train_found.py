"""What a run of alen_train found: shares with their intervals, and the parts of its report.

With a single seed, intervals are over questions (Clopper and Pearson); with several, over seeds.
"""

import dataclasses
import pathlib

import numpy as np

from alen import guarantees, selective, verify
from experiments import alen_train_course
from experiments.alen_training import Subject
from experiments.lab import figures, statistics
from experiments.shell import run, storage

# A share of the rows of a stratum: of what, and among what.
SHARES = {
    "accuracy": ("right", "n"),
    "coverage": ("verified", "n"),
    "verified_wrong": ("verified_wrong", "n"),
    "false_verify_rate": ("verified_wrong", "verified"),
}


@dataclasses.dataclass(frozen=True)
class Found:
    """The tables of a run, and the guarantee of every seed."""

    subject: Subject
    rows: dict
    curves: dict
    times: dict
    guarantees: list[guarantees.Guarantee]

    @classmethod
    def read(cls, folder: pathlib.Path, subject: Subject) -> "Found":
        tables = [run.read(folder, table) for table in alen_train_course.TABLES]
        last = sorted((folder / "results").glob("*.parquet"))[-1].stem
        evidence = storage.load_tree(folder / "checkpoints" / last)
        return cls(subject, *tables, alen_train_course.guarantees_of(evidence, subject))

    def summary(self) -> dict:
        """A row for every seed and stratum of the test questions."""
        test = self._test(self.rows)
        count = len(test["n"])
        columns = {
            "task": np.full(count, self.subject.task.name, object),
            "size": np.full(count, self.subject.configuration.size, object),
            "stratum": test["stratum"],
            "seed": test["seed"],
            "n": test["n"],
        }
        for name, (part, whole) in SHARES.items():
            rates = [selective.rate(*pair) for pair in zip(test[part], test[whole], strict=True)]
            columns[name] = np.array([rate.value for rate in rates])
            columns[f"{name}_low"] = np.array([rate.low for rate in rates])
            columns[f"{name}_high"] = np.array([rate.high for rate in rates])
        for check in verify.CHECKS:
            columns[f"passed_{check}"] = test[f"passed_{check}"]
        return columns

    def share(self, stratum: str, name: str) -> statistics.Estimate:
        """One of SHARES with its interval: over seeds if there are several, else over questions."""
        test = self._test(self.rows)
        here = test["stratum"] == stratum
        part, whole = (test[column][here] for column in SHARES[name])
        if len(part) == 1:
            rate = selective.rate(part[0], whole[0])
            return statistics.Estimate(rate.value, rate.low, rate.high, rate.n)
        found = statistics.mean(np.where(whole > 0, part / np.maximum(whole, 1), np.nan))
        return statistics.Estimate(found.value, max(found.low, 0), min(found.high, 1), found.n)

    @property
    def strata(self) -> list[str]:
        return list(dict.fromkeys(self._test(self.rows)["stratum"]))

    def parts(self) -> dict:
        """Findings, figures and tables of the report."""
        seeds = len(self.subject.seeds)
        over = "95 % intervals over questions; one seed says nothing of others"
        if seeds > 1:
            over = f"95 % intervals over {seeds} seeds"
        test = self._test(self.rows)
        first = self.subject.task.strata[0]
        sums = lambda name: int(test[name][test["stratum"] == alen_train_course.MIXTURE].sum())
        certified = sum(one.certified for one in self.guarantees)
        findings = [
            (
                "How often are answers to unseen questions right?",
                f"Of those in distribution, {self._said(first, 'accuracy')} ({over}).",
            ),
            (
                "How many are verified, and how often is a verified one wrong?",
                f"Of questions in distribution {self._said(first, 'coverage')} are verified. Of "
                f"the mixture that thresholds are made for, with "
                f"{self.subject.unanswerable:.0%} without an answer, {sums('verified_wrong')} of "
                f"{sums('verified')} verified answers are wrong.",
            ),
            (
                "What is guaranteed?",
                (str(self.guarantees[0]) if seeds == 1 else self._guaranteed(certified)),
            ),
            ("How fast is it trained?", self._speed()),
        ]
        caption = f"Accuracy on tuning questions in distribution; {over}"
        return {
            "findings": findings,
            "figures": {"accuracy": (self._figure(), caption)},
            "tables": {
                "Test questions": self._table(over),
                "Guarantees": self._certificates(),
            },
        }

    def _guaranteed(self, certified):
        seeds = len(self.guarantees)
        said = f"Thresholds could be certified for {certified} of {seeds} seeds."
        if certified < seeds:
            said += " Where they could not, nothing is verified."
        return f"{said} Of the first seed: {self.guarantees[0]}"

    def _speed(self):
        times, said = self.times, []
        for phase in alen_train_course.PHASES:
            here = times["phase"] == phase
            steps, seconds = times["steps"][here].sum(), times["seconds"][here].sum()
            examples = steps * self.subject.configuration.batch * len(self.subject.seeds) / seconds
            said.append(f"{phase} {examples:,.0f} examples a second, {seconds:,.1f} seconds")
        device = f"{times['devices'][-1]} × {times['device'][-1]}"
        return f"On {device}, training alone: {'; '.join(said)}."

    def _test(self, rows):
        here = rows["split"] == "test"
        return {name: column[here] for name, column in rows.items()}

    def _figure(self):
        rows = self.rows
        here = rows["split"] == "tuning"
        steps = np.unique(rows["step"][here])
        share = rows["right"][here] / rows["n"][here]
        if not len(steps):  # nothing is measured between start and end
            steps, share = np.array([self.subject.steps]), np.full(len(self.subject.seeds), np.nan)
        samples = share.reshape(len(steps), -1)
        if samples.shape[1] > 1:
            curve = statistics.mean(samples)
        else:
            counts = zip(rows["right"][here], rows["n"][here], strict=True)
            rates = [selective.rate(*pair) for pair in counts]
            low, high = (np.array([getattr(r, side) for r in rates]) for side in ("low", "high"))
            curve = statistics.Estimate(samples[:, 0], low, high, 1)
        return figures.bands(
            steps,
            statistics.Estimate(*(np.asarray(field)[None] for field in curve[:3]), curve.n),
            ["tuning questions"],
            title="Accuracy while it learns",
            xlabel="step",
            ylabel="accuracy (%)",
        )

    def _table(self, over):
        header = ["stratum", "questions", *(name.replace("_", " ") for name in SHARES)]
        test = self._test(self.rows)
        cells = []
        for stratum in self.strata:
            n = test["n"][test["stratum"] == stratum][0]
            cells.append([stratum, f"{n:,}", *(self._said(stratum, name) for name in SHARES)])
        caption = f"Shares on test questions; {over}; an answer to what has none is wrong"
        return header, cells, caption

    def _certificates(self):
        header = ["seed", "certified", *(f"{c} ({verify.UNITS[c]})" for c in verify.CHECKS)]
        header += ["calibration answers", "verified", "wrong"]
        cells = []
        for seed, one in zip(self.subject.seeds, self.guarantees, strict=True):
            limits = [f"{value:.3g}" for value in one.thresholds]
            counts = [f"{value:,}" for value in (one.n, one.verified, one.wrong)]
            cells.append([str(seed), "yes" if one.certified else "no", *limits, *counts])
        first = self.guarantees[0]
        caption = f"What margins must exceed, at alpha {first.alpha:g} and delta {first.delta:g}"
        return header, cells, caption

    def _said(self, stratum, name):
        one = self.share(stratum, name)
        if np.isnan(one.value):
            return figures.UNKNOWN
        limits = "" if np.isnan(one.low) else f" [{100 * one.low:.2f}, {100 * one.high:.2f}]"
        return f"{100 * one.value:.2f}{limits} %"
