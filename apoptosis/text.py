"""Characters as arrays: symbols, the three parts of a text, batches to train on, windows to judge.

Shapes: `N` characters, `B` sequences, `T` tokens a sequence, `W` windows.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SHARES = (80, 10)  # per cent for training and for validation; the rest is for the test


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The symbols of a text; a symbol's token is its place. Raises ValueError below two."""

    symbols: str

    def __post_init__(self):
        if len(self.symbols) < 2:
            raise ValueError(
                f"a corpus must have at least 2 different characters, got {len(self.symbols)}"
            )
        if len(set(self.symbols)) < len(self.symbols):
            raise ValueError(f"symbols must differ from each other, got {self.symbols!r}")

    @classmethod
    def of(cls, text: str) -> "Vocabulary":
        """All characters of `text`, by code point."""
        return cls("".join(sorted(set(text))))

    def __len__(self):
        return len(self.symbols)

    def encode(self, text: str) -> np.ndarray:
        """The tokens `[N]` of `text`. Raises ValueError that names characters not known."""
        unknown = sorted(set(text) - set(self.symbols))
        if unknown:
            shown = ", ".join(map(repr, unknown[:5])) + (", …" if len(unknown) > 5 else "")
            raise ValueError(f"the vocabulary of {len(self)} symbols has no {shown}")
        place = {symbol: i for i, symbol in enumerate(self.symbols)}
        return np.fromiter((place[symbol] for symbol in text), np.int32, len(text))

    def decode(self, tokens) -> str:
        """The text of `tokens [N]`."""
        return "".join(self.symbols[token] for token in np.asarray(tokens))


class Parts(NamedTuple):
    """A text's tokens `[N]`, cut twice: training, validation and test are contiguous."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split(tokens: np.ndarray, context: int) -> Parts:
    """The first 80 %, the next 10 % and the last 10 %.

    Raises ValueError if a part is too short for one sequence of `context` tokens and its targets.
    """
    first, second = (len(tokens) * share // 100 for share in (SHARES[0], sum(SHARES)))
    parts = Parts(*np.split(tokens, [first, second]))
    for name, part in zip(Parts._fields, parts, strict=True):
        if len(part) <= context:
            raise ValueError(
                f"the {name} part must have more characters than the context of {context}, got "
                f"{len(part)}: the corpus of {len(tokens)} is too short"
            )
    return parts


class Windows(NamedTuple):
    """A part cut into windows; `valid [W, T]` tells targets from padding, all are `[W, T]`."""

    inputs: np.ndarray
    targets: np.ndarray
    valid: np.ndarray


def windows(part: np.ndarray, context: int) -> Windows:
    """Contiguous windows in which every character of `part` but the first is a target once."""
    count = -(-(len(part) - 1) // context)
    pad = lambda tokens: np.pad(tokens, (0, count * context - len(tokens))).reshape(count, context)
    return Windows(pad(part[:-1]), pad(part[1:]), pad(np.ones(len(part) - 1, bool)))


def batch(key: jax.Array, part: jax.Array, size: int, context: int) -> tuple[jax.Array, jax.Array]:
    """Inputs and targets `[B, T]`: `size` sequences from anywhere in `part [N]`, with repeats."""
    start = jax.random.randint(key, (size, 1), 0, part.shape[0] - context)
    chosen = part[start + jnp.arange(context + 1)]
    return chosen[:, :-1], chosen[:, 1:]
