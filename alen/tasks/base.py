"""What a task is, and all that can be derived from the little that a task must say.

A task says how its questions are made (`compose`) and what is true of them (`solve`, from the text
alone); with `words`, `strata` and the longest question and answer that is enough. The rest has a
default: splits, draws, exact checks, wrong answers, other surfaces, parts to mask. Hooks get
*bare* questions: symbols set apart by `separator`, without the words of
`surfaces.FILLERS`.

The split of a question is decided by a hash of its canonical form, so that another surface of it
is in the same split; in a domain that `domain` lists, inputs are ranked by that hash instead, and
the shares are exact.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax

from alen import tokeniser
from alen.tasks import draws, splits, surfaces

TRAINED, UNANSWERABLE = "trained", "unanswerable"
MISSING = "_"  # where a part of the question was left out
MOST_COMPOSED = 2**15  # questions at once
BARREN = 20  # rounds without a new question after which a stratum counts as exhausted


class Example(NamedTuple):
    """A question with its true answer; `answer` None: it has none."""

    question: str
    answer: str | None
    stratum: str


@dataclasses.dataclass(frozen=True)
class Task(surfaces.Surfaces):
    """One kind of question. A subclass adds its settings as fields and fills in what follows."""

    name = ""
    separator = " "  # between the symbols of a question or an answer
    strata = (TRAINED, UNANSWERABLE)  # the first is in distribution
    words = ()  # symbols of questions and answers
    longest_question = 0  # in tokens, over all strata, without fillers
    longest_answer = 1  # in tokens, without EOS

    # What a task must say

    def compose(self, generator, stratum: str, count: int) -> list[str]:
        """About `count` bare questions of `stratum`; those that do not fit it are dropped.

        Not needed for a stratum that `domain` lists."""
        raise NotImplementedError(f"{self.name} composes no stratum {stratum!r}")

    def solve(self, question: str) -> str | None:
        """The true answer of a bare question, None if there is none; ValueError for nonsense."""
        raise NotImplementedError

    # What a task may say

    def domain(self, stratum: str) -> Sequence[str] | None:
        """All bare questions of a finite stratum, else None."""
        return None

    def shares(self, stratum: str) -> tuple[float, ...]:
        """Of the four splits, in their order."""
        return (0.4, 0.2, 0.2, 0.2)

    def block(self, question: str) -> str:
        """Within a listed domain the shares are exact for every block of questions."""
        return ""

    @property
    def pinned(self) -> dict[str, int]:
        """Questions that are always in the training split, and how often `training` holds them."""
        return {}

    def canon(self, question: str) -> str:
        """The one form of all surfaces of a bare question."""
        return question

    def level(self, question: str) -> int:
        """How hard a bare question is. Training asks evenly of all levels."""
        return 0

    def rewrite(self, generator, question: str) -> str:
        """Another surface of a bare question with the same meaning, or the same if none is.

        `generator`: `draws.Draws`. So in `wrong` and `guess`, which `Surfaces` has."""
        return question

    @property
    def answer_words(self) -> tuple[str, ...]:
        """The symbols of answers."""
        return self.words

    def spans(self, symbols: list[str]) -> list[tuple[int, int]]:
        """Parts of a bare question that the answer and the rest say something about."""
        return [(i, i + 1) for i in range(len(symbols))]

    # What follows from it

    @functools.cached_property
    def tokeniser(self) -> tokeniser.Arrays:
        return tokeniser.Tokeniser(self.symbols, self.separator)

    @property
    def symbols(self) -> tuple[str, ...]:
        return (*self.words, *surfaces.FILLERS)

    @property
    def question_length(self) -> int:
        """In tokens, fillers included."""
        return self.longest_question + len(surfaces.FILLERS)

    @property
    def answer_length(self) -> int:
        """In tokens, EOS included."""
        return self.longest_answer + 1

    def truth(self, question: str) -> str | None:
        """The true answer, from the text alone; None: there is none.

        Raises ValueError for what is no question of this task."""
        return self._of(self.solve, question)

    def _of(self, hook, question):
        bare = self.bare(question)
        try:
            return hook(bare)
        except (ValueError, LookupError) as wrong:
            raise ValueError(f"{self.name} knows no question {question!r}") from wrong

    def check(self, question: str, answer: str) -> bool:
        """Is `answer` the true one? No answer is right where there is none."""
        truth = self.truth(question)
        return truth is not None and self.separator.join(answer.split()) == truth

    def canonical(self, question: str) -> str:
        return self._of(self.canon, question)

    def split(self, question: str) -> str:
        return self._place(self.canonical(question))

    @functools.cached_property
    def _ranked(self):
        """Canonical form → split, of all inputs of listed domains and all pinned ones."""
        places = {}
        for stratum in self.strata:
            blocks = {}
            for question in self.domain(stratum) or ():
                inputs = blocks.setdefault(self.block(question), {})
                form = self.canon(question)
                inputs[form] = inputs.get(form, 0) + 1
            for inputs in blocks.values():
                places |= splits.rank(inputs, self.shares(stratum), self._pins)
        return places | dict.fromkeys(self._pins, splits.NAMES[0])

    @functools.cached_property
    def _pins(self):
        return frozenset(map(self.canon, self.pinned))

    def _place(self, form):
        if form in self._ranked:
            return self._ranked[form]
        return splits.place(form, self.shares(self.strata[0]))

    def enumerate(self, stratum: str, split: str) -> list[Example] | None:
        """All of a finite stratum that is in `split`, else None."""
        self._known(stratum, split)
        listed = self._listed(stratum)
        if listed is None:
            return None
        return [Example(question, self.solve(question), stratum) for question in listed[split]]

    @functools.cache  # noqa: B019, a task is a small value, and made once
    def _listed(self, stratum):
        """Split → questions of a finite stratum, else None."""
        questions = self.domain(stratum)
        if questions is None:
            return None
        listed = {split: [] for split in splits.NAMES}
        for question in questions:
            listed[self._ranked[self.canon(question)]].append(question)
        return listed

    def draw(self, key, stratum: str, split: str, count: int, fewer: bool = False) -> list[Example]:
        """`count` different questions of `stratum` in `split`.

        Raises ValueError for unknown names and, unless `fewer` will do, where there are less."""
        self._known(stratum, split)
        every, found, source = self._listed(stratum), {}, draws.generator(key)
        listed = every and every[split]
        if listed is not None and (fewer or count <= len(listed)):
            chosen = [listed[i] for i in source.permutation(len(listed))[:count]]
            return [Example(question, self.solve(question), stratum) for question in chosen]
        share = self.shares(self.strata[0])[splits.NAMES.index(split)]
        place, canon = self._place, self.canon
        barren = BARREN if listed is not None or share == 0 else 0
        while len(found) < count and barren < BARREN:
            before, wanted = len(found), count - len(found)
            size = min(int(1.1 * wanted / share) + 64, MOST_COMPOSED)
            for question in self.compose(source, stratum, size):
                if question in found or place(canon(question)) != split:
                    continue
                answer = self.solve(question)
                if (answer is None) == (stratum == UNANSWERABLE):
                    found[question] = answer
            barren = barren + 1 if len(found) == before else 0
        if len(found) < count and not fewer:
            there = len(found) if listed is None else len(listed)
            raise ValueError(
                f"count must be at most {there}, all that {self.name} has of stratum {stratum!r} "
                f"in split {split!r}, got {count}"
            )
        return [Example(q, a, stratum) for q, a in list(found.items())[:count]]

    def training(self, key, count: int, fewer=False) -> list[Example]:
        """`count` examples to train on, in random order: the pinned ones and others.

        Raises ValueError where that does not even hold the pinned ones, or as `draw`."""
        draw_key, order_key = jax.random.split(key)
        first, pins = self.strata[0], self.pinned.items()
        pinned = [Example(q, self.solve(q), first) for q, n in pins for _ in range(n)]
        if count < len(pinned):
            raise ValueError(f"count must be at least {len(pinned)} (pinned), got {count}")
        wanted = self._with_spare(count - len(pinned))
        drawn = self.draw(draw_key, first, splits.NAMES[0], wanted, fewer)
        pinned_already = self.pinned
        kept = [example for example in drawn if example.question not in pinned_already]
        examples = pinned + kept[: count - len(pinned)]
        if len(examples) < count and not fewer:
            raise ValueError(f"count must be at most {len(examples)}, got {count}")
        return [examples[i] for i in draws.generator(order_key).permutation(len(examples))]

    def _with_spare(self, count):
        listed = self._listed(self.strata[0])
        return min(count + len(self.pinned), len(listed[splits.NAMES[0]]) if listed else math.inf)

    def _known(self, stratum, split):
        for value, allowed, what in (
            (stratum, self.strata, "stratum"),
            (split, splits.NAMES, "split"),
        ):
            if value not in allowed:
                raise ValueError(
                    f"unknown {what} {value!r} of {self.name} (allowed: {', '.join(allowed)})"
                )
