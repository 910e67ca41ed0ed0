"""Wrong answers of the right form, as tokens: one symbol of the true answer is another."""

from collections.abc import Callable, Sequence

import numpy as np

from alen import tokeniser


def changed(
    generator: np.random.Generator,
    reader: tokeniser.Arrays,
    words: Sequence[str],
    answers: np.ndarray,
    guess: Callable[[int], str],
) -> np.ndarray:
    """`answers [N, A]`, as tokens, each with a symbol that is another of `words`; `guess(i)` where
    there is none (PAD alone)."""
    tokens, known = answers.copy(), answers.any(1)
    ids = np.array([reader.encode(word)[0] for word in words], np.int32)
    unknown = np.flatnonzero(~known).tolist()
    tokens[~known] = reader.answers([guess(i) for i in unknown], answers.shape[1])
    tokens[known] = _changed(generator, answers[known], ids)
    return tokens


def _changed(generator, tokens, ids):
    """The symbols of answers are among `ids`."""
    places = np.full(max(tokens.max(initial=0), ids.max()) + 1, len(ids))
    places[ids] = np.arange(len(ids))
    sizes, rows = (tokens != tokeniser.PAD).sum(1) - 1, np.arange(len(tokens))
    where = generator.integers(0, sizes)
    other = generator.integers(0, len(ids) - 1, len(tokens))
    other += other >= places[tokens[rows, where]]
    tokens[rows, where] = ids[other]
    return tokens
