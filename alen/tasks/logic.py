"""Entailment: premises; conclusion. "yes": it follows, "no": its negation does, else no answer.

Propositional ("( p implies q ) ; p |- q", by truth table) and syllogisms ("all cats are pets ;
some cats are poets |- some pets are poets"). Every variable is one of five.
"""

import dataclasses
import functools
import itertools

import numpy as np

from alen.tasks import base, syllogisms

VARIABLES = tuple("pqrst")
CONNECTIVES = {
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "implies": lambda a, b: ~a | b,
    "iff": lambda a, b: ~(a ^ b),
}
_ROWS = 2 ** len(VARIABLES)
_ALL = 2**_ROWS - 1  # the truth table that is always true, as bits
_TABLES = {v: sum(1 << r for r in range(_ROWS) if r >> i & 1) for i, v in enumerate(VARIABLES)}
KINDS = ("propositional", "syllogism")
_PREMISES = {base.TRAINED: (2, 3), "longer": (4, 5), "deeper": (2, 3), base.UNANSWERABLE: (2, 3)}


@dataclasses.dataclass(frozen=True)
class Logic(base.Task):
    """Trained on two or three premises of one connective; `longer`: more premises (syllogisms:
    three), `deeper`: premises that connect two formulas of one connective each.

    No premise alone settles a propositional question that has an answer."""

    kinds: tuple[str, ...] = KINDS

    name = "logic"
    strata = (base.TRAINED, "longer", "deeper", base.UNANSWERABLE)
    words = (*VARIABLES, *CONNECTIVES, "(", ")", ";", "|-", *syllogisms.WORDS, "yes")
    answer_words = ("yes", "no")
    longest_question = 3 * 17 + 7

    def __post_init__(self):
        if not self.kinds or set(self.kinds) - set(KINDS):
            raise ValueError(f"kinds must be some of {KINDS}, got {self.kinds}")

    def compose(self, generator, stratum, count):
        kinds = self.kinds if stratum != "deeper" else ("propositional",)
        if "propositional" not in self.kinds and stratum == "deeper":
            raise ValueError(f"stratum 'deeper' is propositional, got kinds {self.kinds}")
        rows = []
        for kind in kinds:
            many, answered = -(-count // len(kinds)), stratum != base.UNANSWERABLE
            if kind == "syllogism":
                premises = 3 if stratum == "longer" else 2
                rows += syllogisms.compose(generator, premises, answered, many)
            else:
                rows += _propositional(generator, stratum, many)
        order = generator.permutation(len(rows)).tolist()
        return [f"{' ; '.join(rows[i][:-1])} |- {rows[i][-1]}" for i in order]

    def solve(self, question):
        premises, conclusion = _read(question)
        if conclusion.split()[0] in syllogisms.FIRST:
            return syllogisms.judge(premises, conclusion)
        given, asked = _ALL, _formula(conclusion)[0]
        for premise in premises:
            given &= _formula(premise)[0]
        follows, fails = not given & ~asked, not given & asked
        return None if follows == fails else ("yes" if follows else "no")

    def canon(self, question):
        premises, conclusion = _read(question)
        return f"{' ; '.join(sorted(map(_canon, premises)))} |- {_canon(conclusion)}"

    def rewrite(self, generator, question):
        """Premises in another order, and the sides of what has no direction."""
        premises, conclusion = _read(question)
        turned = [_turned(generator, s) for s in (*premises, conclusion)]
        order = generator.permutation(range(len(premises)))
        return f"{' ; '.join(turned[i] for i in order)} |- {turned[-1]}"

    def spans(self, symbols):
        """The variables or terms of the conclusion, and its mood."""
        start = symbols.index("|-") + 1
        said = (*VARIABLES, *syllogisms.TERMS, *syllogisms.FIRST)
        return [(i, i + 1) for i in range(start, len(symbols)) if symbols[i] in said]


def _read(question):
    body, conclusion = question.split(" |- ")
    return body.split(" ; "), conclusion


@functools.lru_cache(maxsize=2**16)
def _formula(text):
    """(truth table as bits, tree) of `text`. Raises ValueError or IndexError for nonsense."""
    symbols, place = text.split(), 0

    def take():
        nonlocal place
        place += 1
        return symbols[place - 1]

    def formula():
        symbol = take()
        if symbol == "not":
            table, tree = formula()
            return _ALL & ~table, ("not", tree)
        if symbol != "(":
            return _TABLES[symbol], symbol
        (a, left), connective, (b, right), end = formula(), take(), formula(), take()
        if end != ")":
            raise ValueError(text)
        return _ALL & CONNECTIVES[connective](a, b), (connective, left, right)

    found = formula()
    if place < len(symbols):
        raise ValueError(text)
    return found


def _write(tree, order):
    """`order(left, right)` of texts decides the sides of what has no direction."""
    if isinstance(tree, str):
        return tree
    connective, *sides = tree
    texts = [_write(side, order) for side in sides]
    if connective == "not":
        return f"not {texts[0]}"
    left, right = texts if connective == "implies" else order(texts)
    return f"( {left} {connective} {right} )"


@functools.lru_cache(maxsize=2**16)
def _canon(statement):
    if statement.split()[0] in syllogisms.FIRST:
        return syllogisms.canon(statement)
    return _write(_formula(statement)[1], sorted)


def _turned(generator, statement):
    if statement.split()[0] in syllogisms.FIRST:
        return syllogisms.rewrite(generator, statement)
    either = lambda texts: texts[::-1] if generator.random() < 0.5 else texts
    return _write(_formula(statement)[1], either)


@functools.cache
def _pool():
    """All literals and all formulas of one connective between literals, and their truth tables."""
    literals = [f"{sign}{v}" for v in VARIABLES for sign in ("", "not ")]
    texts = literals + [
        f"( {a} {connective} {b} )"
        for connective in CONNECTIVES
        for a, b in itertools.product(literals, repeat=2)
        if a[-1] != b[-1]
    ]
    return len(literals), np.array(texts), np.array([_formula(t)[0] for t in texts], np.uint32)


def _propositional(generator, stratum, count):
    """Up to `count` rows of premises and conclusion, judged by truth tables all at once."""
    literals, texts, tables = _pool()
    fewest, most = _PREMISES[stratum]
    tries = count * (4 if stratum == base.UNANSWERABLE else 16)
    simple = generator.integers(0, len(texts), (2, tries, most + 1))
    bare = generator.random((tries, most + 1)) < 0.3  # a literal
    simple[0] = np.where(bare, simple[0] % literals, simple[0])
    used = np.arange(most) < generator.integers(fewest, most + 1, (tries, 1))
    table, connective = tables[simple[0]], np.full((tries, most + 1), "")
    if stratum == "deeper":
        names = list(CONNECTIVES)
        connective = generator.choice(names, (tries, most + 1))
        connective[:, -1] = ""
        other = tables[simple[1]]
        for name, function in CONNECTIVES.items():
            table = np.where(connective == name, function(tables[simple[0]], other), table)
    given, asked = np.where(used, table[:, :-1], np.uint32(_ALL)), table[:, -1:]
    alone = (((given & ~asked) == 0) | ((given & asked) == 0)).any(1)
    together, asked = np.bitwise_and.reduce(given, axis=1), asked[:, 0]
    follows, fails = (together & ~asked) == 0, (together & asked) == 0
    if stratum == base.UNANSWERABLE:
        kept = np.flatnonzero(follows == fails)[:count]
    else:
        sides = [np.flatnonzero(side & ~alone) for side in (follows & ~fails, fails & ~follows)]
        fewer = min(len(sides[0]), len(sides[1]), -(-count // 2))
        kept = np.concatenate([side[:fewer] for side in sides])
    rows = []
    for i in kept:
        columns = [*np.flatnonzero(used[i]), most]
        first, second = (texts[simple[k, i, columns]].tolist() for k in (0, 1))
        signs = connective[i, columns].tolist()
        rows.append(
            [f"( {a} {c} {b} )" if c else a for a, b, c in zip(first, second, signs, strict=True)]
        )
    return rows
