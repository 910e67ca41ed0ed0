"""Questions in other words, wrong answers, and parts to hide: what a task's hooks are used for."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from alen.tasks import draws, misses

FILLERS = ("please", "now")  # may stand before and after any question, and mean nothing


class Readings(NamedTuple):
    """Of questions: which `fillers` each has, and the `bare` ones, as `Surfaces.read` tells."""

    fillers: list[int]
    bare: list[str]


class Surfaces:
    """Of a task (`base.Task`), which has the other hooks."""

    def guess(self, generator, question: str) -> str:
        """An answer of the right form to a bare question that has none: here, of one symbol."""
        words, _ = self._answering
        return generator.choice(words)

    def wrong(self, generator, question: str, answer: str | None) -> str:
        """An answer of the right form that differs from `answer`: here, by one symbol."""
        if answer is None:
            return self.guess(generator, question)
        symbols = self.tokeniser.split(answer)
        place = generator.integers(len(symbols))
        words, places = self._answering
        own, other = places[symbols[place]], generator.integers(len(words) - 1)
        symbols[place] = words[other + (other >= own)]
        return self.separator.join(symbols)

    @functools.cached_property
    def _answering(self):
        """Answer words, and the place of each among them."""
        words = list(self.answer_words)
        return words, {word: place for place, word in enumerate(words)}

    def bare(self, question: str) -> str:
        """Without fillers, in the task's spacing. Raises ValueError for unknown symbols."""
        return self.read(question)[1]

    def read(self, question: str) -> tuple[int, str]:
        """Which fillers there are (1: the first, 2: the second, 3: both), and the bare question.

        Where that is the same, so are all parts, but for a shift by the first filler."""
        before, symbols, after = self._body(question)
        return before + 2 * after, self.separator.join(symbols)

    def _body(self, question):
        symbols = self.tokeniser.split(question)
        before, after = int(symbols[:1] == [FILLERS[0]]), int(symbols[-1:] == [FILLERS[1]])
        return before, symbols[before : len(symbols) - after], after

    def readings(self, questions: Sequence[str]) -> Readings:
        found = Readings([], [])
        for fillers, bare in map(self.read, questions):
            found.fillers.append(fillers)
            found.bare.append(bare)
        return found

    def near_misses(self, key, examples: Sequence) -> list[str]:
        """A wrong answer of the right form to each."""
        bare = [self.bare(example.question) for example in examples]
        answers = [example.answer for example in examples]
        tokens = self.tokeniser.answers(answers, self.answer_length)
        return list(map(self.tokeniser.decode, self.missed(key, bare, answers, tokens)))

    def near_miss(self, key, example) -> str:
        return self.near_misses(key, [example])[0]

    def missed(self, key, bare: Sequence[str], answers, tokens: np.ndarray) -> np.ndarray:
        """The tokens `[N, answer_length]` of near misses to bare questions whose answers are given
        as texts and as `tokens`."""
        generator = draws.generator(key)
        source = draws.Draws(generator)
        if type(self).wrong is Surfaces.wrong:
            guess = lambda i: self.guess(source, bare[i])
            return misses.changed(generator, self.tokeniser, self.answer_words, tokens, guess)
        pairs = zip(bare, answers, strict=True)
        wrong = [self.wrong(source, question, answer) for question, answer in pairs]
        return self.tokeniser.answers(wrong, self.answer_length)

    def perturbations(self, key, questions: Sequence[str]) -> list[str]:
        """Another surface of each, with the same meaning and the same answer."""
        return self.reworded(key, self.readings(questions))[0]

    def perturb(self, key, question: str) -> str:
        return self.perturbations(key, [question])[0]

    def reworded(self, key, readings: Readings) -> tuple[list[str], Readings]:
        """`perturbations` of what has been read, and how they read."""
        source = draws.Draws(draws.generator(key))
        texts, found = [], Readings([], [])
        for own, bare in zip(*readings, strict=True):
            text, fillers, other = self._perturbed(source, own, bare)
            texts.append(text)
            found.fillers.append(fillers)
            found.bare.append(other)
        return texts, found

    def _perturbed(self, source, own, bare):
        other = self.rewrite(source, bare)
        # Of the surfaces, by which fillers there are, all but the question's own.
        fillers = source.integers(4 - (other == bare))
        fillers += other == bare and fillers >= own
        surface = f"{FILLERS[0]} {other}" if fillers % 2 else other
        surface = f"{surface} {FILLERS[1]}" if fillers > 1 else surface
        return surface, fillers, other

    def parts(self, question: str) -> list[tuple[int, int]]:
        """Spans [start, stop) of token positions that the backward check may mask."""
        before, symbols, _ = self._body(question)
        return [(start + before, stop + before) for start, stop in self.spans(symbols)]
