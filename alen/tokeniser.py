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


_ABOVE, _MOST = 0x100000, 0xFFFF  # characters of private use, and how many there are
_SURROGATES = 0xD800


class Arrays:
    """What all tokenisers share; each adds `size`, `split`, `encode` and `join`."""

    def batch(self, texts: Sequence[str], length: int) -> np.ndarray:
        """`[N, T = length]` int32, padded on the right. Raises ValueError for too long a text."""
        return _pad(*self._flat(texts), texts, length)

    def answers(self, texts: Sequence[str | None], length: int) -> np.ndarray:
        """As `batch`, but every text ends with EOS; None (no answer) is a row of PAD alone."""
        tokens, sizes = self._flat([text or "" for text in texts])
        known = np.fromiter((text is not None for text in texts), bool, len(texts))
        tokens = np.insert(tokens, np.cumsum(sizes)[known], EOS)
        return _pad(tokens, sizes + known, texts, length)

    def _flat(self, texts):
        """The ids of all texts one behind the other, and how many are of each."""
        rows = [self.encode(text) for text in texts]
        sizes = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.fromiter(itertools.chain.from_iterable(rows), np.int32, sizes.sum()), sizes

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids` up to the first EOS; PAD and BOS show nothing."""
        kept = itertools.takewhile(lambda token: token != EOS, (int(i) for i in ids))
        return self.join([token for token in kept if token not in (PAD, BOS)])


def _spaced(symbol):
    return symbol.split() != [symbol]


def _pad(tokens, sizes, texts, length):
    if len(sizes) and sizes.max() > length:
        longest = int(sizes.argmax())
        raise ValueError(
            f"a text must have at most {length} tokens, got {sizes[longest]}: {texts[longest]!r}"
        )
    padded = np.full((len(sizes), length), PAD, np.int32)
    padded[np.arange(length) < sizes[:, None]] = tokens
    return padded


class _Coded(dict):
    """Word → its symbols, a character each: letters themselves, others `_ABOVE` and their id."""

    def __init__(self, ids, letters):
        super().__init__({symbol: chr(_ABOVE + i) for symbol, i in ids.items() if i <= _MOST})
        self["\n"] = chr(_ABOVE + PAD)
        self._letters, codes = letters, [ord(letter) for letter in letters]
        self._table = np.zeros(max(codes, default=0) + 1, np.int32)
        self._table[codes] = [ids[letter] for letter in letters]

    def __missing__(self, word):
        if word.strip(self._letters):
            raise KeyError(word)
        return word

    def read(self, words) -> np.ndarray:
        """The ids of all words, one behind the other, a line's end as PAD."""
        text = "".join(map(self.__getitem__, words))
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int32)
        letters = codes < _ABOVE
        return np.where(letters, self._table[np.where(letters, codes, 0)], codes - _ABOVE)


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

    @functools.cached_property
    def _whole(self):
        """The symbols, where white space can but separate them: then words are cut one by one."""
        return frozenset() if any(map(_spaced, self.symbols)) else frozenset(self.symbols)

    @functools.cached_property
    def _letters(self):
        """Symbols of one character, as a text; none where a longer one is made of them alone."""
        letters = "".join(s for s in self._whole if len(s) == 1 and ord(s) < _SURROGATES)
        longer = [symbol for symbol in self._whole if len(symbol) > 1]
        return letters if all(symbol.strip(letters) for symbol in longer) else ""

    def split(self, text: str) -> list[str]:
        """The symbols of `text`. Raises ValueError that names the piece it cannot read."""
        words, whole = text.split(), self._whole
        if all(map(whole.__contains__, words)):
            return words
        pieces = []
        for word in words:
            if word in whole:
                pieces.append(word)
            elif not word.strip(self._letters):  # of letters alone
                pieces += word
            else:
                return self._searched(text)
        return pieces

    def _searched(self, text):
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

    @functools.cached_property
    def _coded(self):
        return _Coded({s: i for s, i in self._ids.items() if s in self._whole}, self._letters)

    def _flat(self, texts):
        # All at once as one text, where its words are symbols or made of letters.
        words = "\n".join(texts).replace("\n", " \n ").split(" ")
        try:
            tokens = self._coded.read(words)
        except KeyError:
            return super()._flat(texts)
        ends = np.flatnonzero(tokens == PAD)
        if len(ends) != len(texts) - 1:  # a text of several lines
            return super()._flat(texts)
        sizes = np.diff(ends, prepend=-1, append=len(tokens)) - 1
        return tokens[tokens != PAD], sizes

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
