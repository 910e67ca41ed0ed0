"""Syllogisms by exact reasoning over the regions of a Venn diagram, without existential import.

"all cats are pets ; some cats are shy |- some pets are shy". With n terms there are 2ⁿ regions. A
premise empties regions (all, no), or says that one of some is not empty (some, some … not).
"""

import functools
import itertools

import numpy as np

TERMS = (
    "cats",
    "pets",
    "birds",
    "poets",
    "bees",
    "kings",
    "thieves",
    "sailors",
    "clouds",
    "robots",
)
MOODS = ("all", "no", "some", "some not")
FIRST = frozenset(("all", "no", "some"))  # how a statement begins
WORDS = (*sorted(FIRST), "are", "not", *TERMS)
_SYMMETRIC = ("no", "some")


def read(statement: str) -> tuple[str, str, str]:
    """(mood, subject, predicate) of "some cats are not pets"; ValueError for anything else."""
    symbols = statement.split()
    if symbols[0] == "some" and symbols[3] == "not":
        symbols = ["some not", *symbols[1:3], *symbols[4:]]
    mood, subject, are, predicate = symbols
    if mood not in MOODS or are != "are" or not {subject, predicate} <= set(TERMS):
        raise ValueError(statement)
    return mood, subject, predicate


def write(mood: str, subject: str, predicate: str) -> str:
    quantifier, *negation = mood.split()
    return " ".join((quantifier, subject, "are", *negation, predicate))


def judge(premises: list[str], conclusion: str) -> str | None:
    """ "yes": follows; "no": its opposite does; None: neither, or the premises contradict."""
    statements = [read(s) for s in (*premises, conclusion)]
    terms = sorted({term for _, *pair in statements for term in pair})
    *given, asked = ((mood, _regions(terms, mood, a, b)) for mood, a, b in statements)
    empty = 0
    for mood, regions in given:
        empty |= regions if mood in ("all", "no") else 0
    inhabited = [r & ~empty for mood, r in given if mood not in ("all", "no")]
    if 0 in inhabited:
        return None
    mood, regions = asked
    none_there = not regions & ~empty
    some_there = any(not r & ~regions for r in inhabited)
    if none_there == some_there:
        return None
    return "yes" if none_there == (mood in ("all", "no")) else "no"


def _regions(terms, mood, a, b):
    """The regions a statement is about, as bits: a and b, or a without b."""
    i, j, inside = terms.index(a), terms.index(b), mood in _SYMMETRIC
    every = range(2 ** len(terms))
    return sum(1 << r for r in every if r >> i & 1 and (r >> j & 1) == inside)


def canon(statement: str) -> str:
    mood, a, b = read(statement)
    return write(mood, *sorted((a, b))) if mood in _SYMMETRIC else statement


def rewrite(generator, statement: str) -> str:
    """ "no a are b" is "no b are a", and likewise with some."""
    mood, a, b = read(statement)
    turned = mood in _SYMMETRIC and generator.random() < 0.5
    return write(mood, b, a) if turned else statement


@functools.cache
def _forms(premises):
    """Verdict → patterns: moods and sides of `premises` along a chain of terms, and the query."""
    forms = {"yes": [], "no": [], None: []}
    one = list(itertools.product(MOODS, (False, True)))
    for pattern in itertools.product(one, repeat=premises + 1):
        *given, asked = _statements(pattern, TERMS)
        forms[judge(given, asked)].append(pattern)
    return forms


def _statements(pattern, terms):
    """Premise i relates terms i and i + 1; the conclusion the first and the last."""
    pairs = [*itertools.pairwise(terms[: len(pattern)]), (terms[0], terms[len(pattern) - 1])]
    turned = (
        (m, b, a) if turn else (m, a, b) for (m, turn), (a, b) in zip(pattern, pairs, strict=True)
    )
    return [write(*statement) for statement in turned]


def compose(generator, premises: int, answered: bool, count: int) -> list[list[str]]:
    """`count` syllogisms, each a list of statements; as many "yes" as "no" if `answered`."""
    forms = _forms(premises)
    verdicts = [forms["yes"], forms["no"]] if answered else [forms[None]]
    u = generator.random((count, 3)).tolist()
    terms = generator.permuted(np.tile(np.array(TERMS), (count, 1)), axis=1).tolist()
    composed = []
    for (a, b, c), names in zip(u, terms, strict=True):
        patterns = verdicts[int(a * len(verdicts))]
        *given, asked = _statements(patterns[int(b * len(patterns))], names)
        composed.append([*(given if c < 0.5 else given[::-1]), asked])
    return composed
