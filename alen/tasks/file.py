"""A user's own questions: lines `question -> answer`, UTF-8.

A line that ends with the arrow is a question without an answer. The last arrow of a line counts.
"""

import dataclasses
import functools
from collections.abc import Iterable

from alen import tokeniser
from alen.tasks import base, splits

ARROW = "->"
TOKENISERS = ("bytes", "pairs")


@dataclasses.dataclass(frozen=True)
class File(base.Task):
    """`lines` as text, or as bytes to be read as UTF-8; blank ones are skipped.

    `tokens` is "bytes" or "pairs" (byte pair encoding, learnt from the training split, of at most
    `vocabulary` tokens). Only white space is known to mean nothing here: the surfaces of a
    question differ by it. Raises ValueError that names a bad line by its number, from 1.
    """

    lines: tuple[str | bytes, ...] = ()
    tokens: str = "bytes"
    vocabulary: int = 1000

    name = "file"

    def __post_init__(self):
        if self.tokens not in TOKENISERS:
            raise ValueError(f"tokens must be one of {TOKENISERS}, got {self.tokens!r}")
        object.__setattr__(self, "lines", tuple(self.lines))
        if not any(answer is not None for answer in self.answers.values()):
            raise ValueError("lines must hold a question with an answer, got none")

    @functools.cached_property
    def answers(self) -> dict[str, str | None]:
        """Question → answer, in the order of the lines."""
        return read(self.lines)

    @property
    def strata(self):
        unanswerable = (base.UNANSWERABLE,) if None in self.answers.values() else ()
        return (base.TRAINED, *unanswerable)

    def shares(self, stratum):
        return (0.7, 0.1, 0.1, 0.1)

    def domain(self, stratum):
        return [q for q, a in self.answers.items() if (a is None) == (stratum == base.UNANSWERABLE)]

    @functools.cached_property
    def tokeniser(self):
        if self.tokens == "bytes":
            return tokeniser.Bytes()
        trained = (q for q in self.domain(base.TRAINED) if self._ranked[q] == splits.NAMES[0])
        texts = [text for q in trained for text in (q, self.answers[q])]
        return tokeniser.BytePairs.learn(texts, self.vocabulary)

    @functools.cached_property
    def longest_question(self):
        return max(len(self.tokeniser.encode(question)) for question in self.answers)

    @functools.cached_property
    def longest_answer(self):
        return max(len(self.tokeniser.encode(answer)) for answer in self.answers.values() if answer)

    def bare(self, question):
        return " ".join(question.split())

    def read(self, question):
        return 0, question  # parts are of the text as it stands

    def solve(self, question):
        return self.answers[question]

    def wrong(self, generator, question, answer):
        """The answer of another line, or no word of its own where all have the same."""
        others = self._others(answer)
        return generator.choice(others) if others else f"{answer} {answer}"

    @functools.cache  # noqa: B019, as for `_listed`
    def _others(self, answer):
        return sorted({other for other in self.answers.values() if other} - {answer})

    def _perturbed(self, source, fillers, question):
        bare = self.bare(question)
        others = [s for s in (f" {bare}", f"{bare} ", f" {bare} ") if s != question]
        other = source.choice(others)
        return other, fillers, other

    def parts(self, question):
        """Runs of up to four tokens: of a user's questions nothing more is known."""
        size = len(self.tokeniser.encode(question))
        return [(start, min(start + 4, size)) for start in range(0, size, 4)]


def read(lines: Iterable[str | bytes]) -> dict[str, str | None]:
    """Question → answer. Raises ValueError with the number of a line that is none."""
    answers, seen = {}, {}
    for number, line in enumerate(lines, 1):
        if isinstance(line, bytes):
            try:
                line = line.decode("utf-8")
            except UnicodeDecodeError:
                raise ValueError(f"line {number} is not UTF-8: {line!r}") from None
        if not line.strip():
            continue
        question, arrow, answer = (" ".join(part.split()) for part in line.rpartition(ARROW))
        if not arrow or not question:
            raise ValueError(
                f"line {number} must be 'question {ARROW} answer', got {line.strip()!r}"
            )
        if question in answers and answers[question] != (answer or None):
            raise ValueError(
                f"line {number} answers {question!r} with {answer!r}, "
                f"line {seen[question]} with {answers[question]!r}"
            )
        answers[question] = answer or None
        seen.setdefault(question, number)
    return answers
