"""Text as token ids: special tokens first, then the symbols of a task, bytes, or byte pairs.

Every tokeniser has `size`, `split(text)`, `encode(text)`, `batch(texts, length)`,
`answers(texts, length)` and `decode(ids)`. Shapes: `N` texts, `T` tokens a text.
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable, Sequence

import numpy as np

SPECIAL = ("<pad>", "<bos>", "<eos>", "<mask>", "<sep>")
PAD, BOS, EOS, MASK, SEP = range(len(SPECIAL))


class Arrays:
    """What all tokenisers share; each adds `size`, `split`, `encode` and `join`."""

    def batch(self, texts: Sequence[str], length: int) -> np.ndarray:
        """`[N, T = length]` int32, padded on the right. Raises ValueError for too long a text."""
        return _pad([self.encode(text) for text in texts], texts, length)

    def answers(self, texts: Sequence[str | None], length: int) -> np.ndarray:
        """As `batch`, but every text ends with EOS; None (no answer) is a row of PAD alone."""
        rows = [[] if text is None else [*self.encode(text), EOS] for text in texts]
        return _pad(rows, texts, length)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids` up to the first EOS; PAD and BOS show nothing."""
        kept = itertools.takewhile(lambda token: token != EOS, (int(i) for i in ids))
        return self.join([token for token in kept if token not in (PAD, BOS)])


def _pad(rows, texts, length):
    sizes = np.fromiter(map(len, rows), np.int64, len(rows))
    if len(rows) and sizes.max() > length:
        longest = int(sizes.argmax())
        raise ValueError(
            f"a text must have at most {length} tokens, got {sizes[longest]}: {texts[longest]!r}"
        )
    padded = np.full((len(rows), length), PAD, np.int32)
    tokens = itertools.chain.from_iterable(rows)
    padded[np.arange(length) < sizes[:, None]] = np.fromiter(tokens, np.int32, sizes.sum())
    return padded


@dataclasses.dataclass(frozen=True)
class Tokeniser(Arrays):
    """A closed vocabulary. Text is cut greedily into the longest symbols.

    White space separates and is dropped unless it is a symbol; `decode` puts `separator` between
    symbols. Raises ValueError for empty or repeated symbols.
    """

    symbols: tuple[str, ...]
    separator: str = " "

    def __post_init__(self):
        repeated = sorted({s for s in self.symbols if self.symbols.count(s) > 1})
        if repeated or not self.symbols or "" in self.symbols:
            raise ValueError(
                f"symbols must be different texts that are not empty, got {len(self.symbols)} with "
                f"{repeated or 'an empty one'} repeated or empty"
            )

    @property
    def size(self) -> int:
        return len(SPECIAL) + len(self.symbols)

    @functools.cached_property
    def _ids(self):
        return {symbol: i for i, symbol in enumerate(self.symbols, len(SPECIAL))}

    @functools.cached_property
    def _pattern(self):
        longest_first = sorted(self.symbols, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)))

    def split(self, text: str) -> list[str]:
        """The symbols of `text`. Raises ValueError that names the piece it cannot read."""
        pieces = text.split()
        if all(piece in self._ids for piece in pieces) and " " not in self._ids:
            return pieces
        pieces = self._pattern.findall(text)
        if sum(map(len, pieces)) < len(text):
            rest = [gap for gap in self._pattern.split(text) if gap.strip()]
            if rest:
                raise ValueError(
                    f"the vocabulary of {self.size} tokens cannot read {rest[0].strip()!r}"
                )
        return pieces

    def encode(self, text: str) -> list[int]:
        ids = self._ids
        return [ids[piece] for piece in self.split(text)]

    def join(self, ids: Sequence[int]) -> str:
        return self.separator.join((*SPECIAL, *self.symbols)[i] for i in ids)


@dataclasses.dataclass(frozen=True)
class Bytes(Arrays):
    """The 256 bytes of UTF-8: reads every text."""

    size = len(SPECIAL) + 256

    def split(self, text: str) -> list[str]:
        return [chr(byte) for byte in text.encode()]

    def encode(self, text: str) -> list[int]:
        return [byte + len(SPECIAL) for byte in text.encode()]

    def join(self, ids: Sequence[int]) -> str:
        """Special tokens show nothing; a broken character shows as U+FFFD."""
        return bytes(i - len(SPECIAL) for i in ids if i >= len(SPECIAL)).decode(errors="replace")


@dataclasses.dataclass(frozen=True)
class BytePairs(Arrays):
    """Byte pair encoding over bytes (Sennrich et al. 2016), by the `tokenizers` library.

    `merges` is the library's own description of what it learnt (JSON): see `learn`.
    """

    merges: str

    @classmethod
    def learn(cls, texts: Iterable[str], size: int) -> "BytePairs":
        """At most `size` tokens, learnt from `texts`. Raises ValueError below all the bytes."""
        if size < Bytes.size:
            raise ValueError(f"size must be at least {Bytes.size} (every byte), got {size}")
        library = _library()
        model = library.Tokenizer(library.models.BPE())
        model.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        model.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(SPECIAL),
            initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        model.train_from_iterator(texts, trainer)
        return cls(model.to_str())

    @functools.cached_property
    def _model(self):
        return _library().Tokenizer.from_str(self.merges)

    @property
    def size(self) -> int:
        return self._model.get_vocab_size()

    def split(self, text: str) -> list[str]:
        return self._model.encode(text, add_special_tokens=False).tokens

    def encode(self, text: str) -> list[int]:
        return self._model.encode(text, add_special_tokens=False).ids

    def join(self, ids: Sequence[int]) -> str:
        return self._model.decode(list(ids), skip_special_tokens=True)


def _library():
    """Imported where it is used: only a user's own file may need it."""
    try:
        import tokenizers
    except ImportError as missing:
        raise ValueError(
            "byte pairs need the library `tokenizers`, which is not installed; "
            "tokeniser='bytes' needs nothing"
        ) from missing
    return tokenizers
