"""Nested arithmetic modulo 10 (Csordás et al. 2022): "((3+4)*5)" is "5".

Depth counts the digits' level, as in the source: a digit has depth 1, "(3+4)" has 2. There,
training goes to depth 5 and the test is depth 7 and 8, with at most 50 symbols.
"""

import dataclasses
import math

from alen.tasks import base

LONGEST = 50
DEEPER = (2, 3)  # levels beyond the trained ones
_LEAVES = frozenset((*"0123456789", base.MISSING))


@dataclasses.dataclass(frozen=True)
class Arithmetic(base.Task):
    """`division` also trains on quotients: modulo 10, one may divide by 1, 3, 7 and 9 alone."""

    depth: int = 5
    division: bool = False

    name = "arithmetic"
    separator = ""
    strata = (base.TRAINED, "deeper", base.UNANSWERABLE)
    words = (*"0123456789+*/()", base.MISSING)
    answer_words = tuple("0123456789")
    longest_question = LONGEST

    def __post_init__(self):
        if not 2 <= self.depth <= 10:
            raise ValueError(f"depth must lie in [2, 10], got {self.depth}")

    def compose(self, generator, stratum, count):
        depths = range(2, self.depth + 1)
        if stratum == "deeper":
            depths = [self.depth + more for more in DEEPER]
        levels = []
        for depth in depths:
            levels += self._exact(generator, depth, -(-count // len(depths)))
        if stratum == base.UNANSWERABLE:
            levels = list(map(_spoilt, levels, generator.random(len(levels)).tolist()))
        return [levels[i] for i in generator.permutation(len(levels)) if len(levels[i]) <= LONGEST]

    def _exact(self, generator, depth, count):
        """`count` expressions of exactly this depth: one side is as deep, the other at most."""
        if depth == 1:
            return list(map(str, generator.integers(0, 10, count).tolist()))
        spine = self._exact(generator, depth - 1, count)
        # The other side is shallow as a rule, or no deep expression would keep to 50 symbols.
        weights = [0.5 ** min(d, depth - 2) for d in range(1, depth)]
        spread = generator.multinomial(count, weights).tolist()
        side = [e for d, n in enumerate(spread, 1) for e in self._exact(generator, d, n)]
        order = generator.permutation(count).tolist()
        signs = generator.choice(list("+*+*+*/" if self.division else "+*"), count).tolist()
        swap = (generator.random(count) < 0.5).tolist()
        pairs = ((a, side[i], o, s) for a, i, o, s in zip(spine, order, signs, swap, strict=True))
        return [f"({b}{o}{a})" if s else f"({a}{o}{b})" for a, b, o, s in pairs]

    def solve(self, question):
        value = _fold(question, lambda leaf: None if leaf == base.MISSING else int(leaf), _apply)
        return None if value is None else str(value)

    def canon(self, question):
        """All that is made of the same symbols is one input: commuted forms, and a few more."""
        return "".join(sorted(question))

    def rewrite(self, generator, question):
        def either(a, sign, b):
            return (
                _text(b, sign, a) if sign != "/" and generator.random() < 0.5 else _text(a, sign, b)
            )

        return _fold(question, str, either)

    def spans(self, symbols):
        """Single digits: the answer limits each of them, given the rest."""
        return [(i, i + 1) for i, symbol in enumerate(symbols) if symbol.isdigit()]


def _spoilt(question, u):
    """With a digit hidden, or with one operation made a division (which may come out)."""
    among = "0123456789" if u < 0.5 else "+*/"
    places = [i for i, symbol in enumerate(question) if symbol in among]
    place = places[int(u * 2 % 1 * len(places))]
    return question[:place] + (base.MISSING if u < 0.5 else "/") + question[place + 1 :]


def _fold(text, leaf, node):
    """`text` as a tree, folded. Raises ValueError or IndexError where it is none."""

    def expression(i):
        if text[i] != "(":
            if text[i] not in _LEAVES:
                raise ValueError(text)
            return leaf(text[i]), i + 1
        a, i = expression(i + 1)
        sign = text[i]
        b, i = expression(i + 1)
        if sign not in "+*/" or text[i] != ")":
            raise ValueError(text)
        return node(a, sign, b), i + 1

    value, end = expression(0)
    if end != len(text):
        raise ValueError(text)
    return value


def _apply(a, sign, b):
    """Modulo 10; None is what is not defined, and stays so."""
    if a is None or b is None or (sign == "/" and math.gcd(b, 10) != 1):
        return None
    return (a + b if sign == "+" else a * (b if sign == "*" else pow(b, -1, 10))) % 10


def _text(a, sign, b):
    return f"({a}{sign}{b})"
