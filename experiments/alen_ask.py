"""Asking a trained ALEN: an answer, a verdict, and what is guaranteed of it.

    python -m experiments.alen_ask --checkpoint=RUN_FOLDER "57 + 88 mod 113"

A question of `-` reads one from every line of standard input; a line that is no question is
reported and the rest goes on. The run folder is that of alen_train.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Iterable, Sequence

import jax
import numpy as np

from alen import tasks, verify
from experiments import alen_train_questions, alen_trained
from experiments.alen_training import Trainer
from experiments.lab import keys
from experiments.shell import cli, run


@dataclasses.dataclass(frozen=True)
class Ask:
    """A run's folder and a question."""

    question: str = cli.field("", "what to ask, also without --question=; - for lines of input")
    checkpoint: str = cli.field("", "run folder of alen_train, as that prints it last")
    index: int = cli.field(0, "which of the organisms that were trained side by side")
    alpha: float | None = cli.field(None, "bound to certify; by default the run's")
    delta: float | None = cli.field(None, "chance with which it may fail; by default the run's")
    seed: int = cli.field(0, "seed of the perturbations")

    def __post_init__(self):
        if not self.checkpoint:
            raise ValueError("--checkpoint must name a run folder of alen_train")
        if not self.question.strip():
            raise ValueError('a question is missing, as in "57 + 88 mod 113" (or - for input)')
        keys.check(self.seed)


class Oracle:
    """A trained organism that takes questions as text, one at a time, in one program."""

    def __init__(self, trained: alen_trained.Trained, seed: int = 0):
        self.trained, self.task = trained, trained.subject.task
        self.trainer = Trainer(trained.subject, jax.local_devices()[:1])
        self.key = keys.stream(keys.root(seed), "ask")
        self._program = jax.jit(self._asked)

    def _asked(self, networks, thresholds, questions, key):
        found = self.trainer.answer(networks, questions.questions)
        margins = self.trainer.margins(key, networks, questions, found)
        verdict = verify.judge(margins, thresholds)
        return found.tokens, found.log_probability, found.course, verdict

    def lines(self, question: str) -> list[str]:
        """The answer to `question` with all that is known of it; ValueError for what is none."""
        example = self._example(question)
        key = keys.stream(self.key, question)
        prepared = alen_train_questions.prepare(
            keys.stream(key, "arrays"), self.task, [example], self.trained.subject.surfaces
        )
        shake = keys.stream(key, "shake")
        tokens, log_probability, course, verdict = self._program(
            self.trained.networks, self.trained.thresholds, prepared, shake
        )
        answer = self.task.tokeniser.decode(np.asarray(tokens[0])) or "(nothing)"
        return [
            f"question: {question}",
            f"answer: {answer} (log probability {float(log_probability[0]):.3g} nats)",
            f"verdict: {verify.words(verdict, 0)}",
            *_margins(verify.row(verdict, 0)),
            *_steps(jax.tree.map(lambda leaf: np.asarray(leaf[0]), course)),
        ]

    def _example(self, question):
        """The question as the task knows it; its own answer is of no account here."""
        self.task.tokeniser.batch([question], self.task.question_length)
        try:
            self.task.truth(question)
        except ValueError as error:
            if self.task.name != "file":
                raise error
        return tasks.Example(question, None, self.task.strata[0])

    def guarantee(self) -> str:
        """What is guaranteed of the verdicts, and of which questions."""
        unanswerable = self.trained.subject.unanswerable
        where = f"questions as in training ({unanswerable:.0%} of them without an answer)"
        return f"guarantee, for {where}: {self.trained.guarantee}"


def _margins(one) -> list[str]:
    lines = []
    for name in verify.CHECKS:
        margin, limit = getattr(one.margins, name), getattr(one.thresholds, name)
        passed = "passed" if getattr(one.passed, name) else "failed"
        needed = "nothing passes" if limit == np.inf else f"more than {limit:.3g} is needed"
        lines.append(f"  {name}: {passed}, {margin:.3g} {verify.UNITS[name]} ({needed})")
    return lines


def _steps(course) -> list[str]:
    """A line for every step of reasoning: the energies, and the operator that was chosen."""
    lines = []
    for r in range(len(course.chosen)):
        if not course.active[r]:
            continue
        k = int(course.chosen[r])
        energies = ", ".join(f"{energy:.3g}" for energy in course.energies[r])
        terms = ", ".join(
            f"{name} {getattr(course.terms, name)[r, k]:.3g}"
            for name in ("constraint", "risk", "uncertainty")
        )
        lines.append(f"step {r + 1}: operator {k} of energies [{energies}] ({terms})")
    return lines


def main(study: Ask, options: cli.Options) -> pathlib.Path:
    if options.export_json:
        raise run.Refused("--export_json has no meaning here: no experiment is made")
    folder = pathlib.Path(study.checkpoint)
    oracle = Oracle(alen_trained.load(folder, study.index, study.alpha, study.delta), study.seed)
    if options.dry_run:
        print(oracle.guarantee())
        return folder
    if study.question.strip() == "-":
        answer_all(oracle, sys.stdin)
    else:
        try:
            print("\n".join(oracle.lines(study.question)))
        except ValueError as error:
            raise run.Refused(error) from error
    print(oracle.guarantee())
    return folder


def answer_all(oracle: Oracle, lines: Iterable[str]) -> None:
    """Answers every line that is not blank; says on standard error which ones are no question."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            said = oracle.lines(line.strip())
        except ValueError as error:
            print(f"alen_ask: line {number}: {error}", file=sys.stderr)
            continue
        print("\n".join(said), flush=True)


def arguments(given: Sequence[str]) -> list[str]:
    """`given` with a question that stands by itself as the flag that it is.

    Raises ValueError if there is more than one.
    """
    values = [f.name for kind in (Ask, cli.Options) for f in dataclasses.fields(kind)]
    values = {f"-{dash}{name}" for dash in ("", "-") for name in values if name != "dry_run"}
    found, asked, is_value = [], [], False
    for one in given:
        alone = not is_value and (one == "-" or not one.startswith("-"))
        asked += [one] if alone else []
        found.append(f"--question={one}" if alone else one)
        is_value = not is_value and one in values
    if len(asked) > 1:
        told = ", ".join(map(repr, asked))
        raise ValueError(f"one question at a time (or - for lines from stdin), got {told}")
    return found


if __name__ == "__main__":
    try:
        sys.argv[1:] = arguments(sys.argv[1:])
    except ValueError as error:
        print(f"alen_ask: {error}", file=sys.stderr)
        sys.exit(2)
    cli.main(Ask, main, __doc__)
