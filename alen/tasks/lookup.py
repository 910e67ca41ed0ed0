"""Compositional table lookup (Liška et al. 2018; Csordás et al. 2022, "The Neural Data Router").

Eleven random bijections a … k of eight symbols. Forward notation puts the argument first and the
functions in the order of application, "101 a b" is b(a(101)); backward notation is "b a 101".
"""

import dataclasses
import functools

import numpy as np

from alen.tasks import base, draws, splits

FUNCTIONS = tuple("abcdefghijk")
UNDEFINED = ("l", "m")  # names of functions that have no table
VALUES = tuple(f"{i:03b}" for i in range(8))
NOTATIONS = ("forward", "backward", "both")
RESERVED = 0.15  # of the compositions are held out for the stratum `composition`
# As objects: rows of strings would be copied symbol by symbol.
_VALUES, _FUNCTIONS, _UNDEFINED = (np.array(w, object) for w in (VALUES, FUNCTIONS, UNDEFINED))


@dataclasses.dataclass(frozen=True)
class Lookup(base.Task):
    """Trained on at most `depth` functions, `longer` has up to `longest`. `tables` is a seed.

    The 88 questions of one function are all in the training split: nothing else tells them.
    In `both` notations, the other one is another surface of the same input.
    """

    notation: str = "forward"
    depth: int = 5
    longest: int = 10
    tables: int = 0

    name = "lookup"
    strata = (base.TRAINED, "longer", "composition", base.UNANSWERABLE)
    words = (*VALUES, *FUNCTIONS, *UNDEFINED, base.MISSING)
    answer_words = VALUES

    def __post_init__(self):
        if self.notation not in NOTATIONS:
            raise ValueError(f"notation must be one of {NOTATIONS}, got {self.notation!r}")
        if not 2 <= self.depth < self.longest:
            raise ValueError(
                f"2 ≤ depth < longest must hold, got depth {self.depth}, longest {self.longest}"
            )

    @property
    def longest_question(self):
        return self.longest + 1

    @functools.cached_property
    def functions(self) -> dict[str, dict[str, str]]:
        """Name → argument → value."""
        random = np.random.default_rng(self.tables)
        images = random.permuted(np.tile(np.array(VALUES), (len(FUNCTIONS), 1)), axis=1).tolist()
        tables = (dict(zip(VALUES, row, strict=True)) for row in images)
        return dict(zip(FUNCTIONS, tables, strict=True))

    @property
    def pinned(self):
        forward = [(x, f) for f in FUNCTIONS for x in VALUES]
        return {q: 1 for x, f in forward for q in self._surfaces(f"{x} {f}")}

    def _surfaces(self, forward):
        if self.notation == "forward":
            return (forward,)
        backward = " ".join(forward.split()[::-1])
        return (backward,) if self.notation == "backward" else (forward, backward)

    def compose(self, generator, stratum, count):
        longer = (self.depth + 1, self.longest)
        low, high = {"longer": longer, "composition": (2, self.depth)}.get(stratum, (1, self.depth))
        depths = generator.integers(low, high + 1, count)
        x = generator.choice(_VALUES, (count, 1))
        rows = np.hstack([x, generator.choice(_FUNCTIONS, (count, high))])
        if stratum == base.UNANSWERABLE:
            place = generator.integers(0, depths + 1)
            spoilt = np.where(place == 0, base.MISSING, generator.choice(_UNDEFINED, count))
            rows[np.arange(count), place] = spoilt
        questions = []
        every, wanted = stratum in ("longer", base.UNANSWERABLE), stratum == "composition"
        for depth, *row in zip(depths.tolist(), *rows.T.tolist(), strict=True):
            functions = " ".join(row[1 : depth + 1])
            if every or (depth > 1 and _reserved(functions)) == wanted:
                questions.append(f"{row[0]} {functions}")
        if self.notation == "forward":
            return questions
        source = draws.Draws(generator)
        return [self.rewrite(source, question) for question in questions]

    def solve(self, question):
        x, *functions = self.canon(question).split()
        if not functions or x in UNDEFINED or not set(functions) <= {*FUNCTIONS, *UNDEFINED}:
            raise ValueError(question)
        if x == base.MISSING or set(functions) & set(UNDEFINED):
            return None
        for function in functions:
            x = self.functions[function][x]
        return x

    def canon(self, question):
        if question.partition(" ")[0] in self._arguments:
            return question
        return " ".join(question.split()[::-1])

    _arguments = frozenset((*VALUES, base.MISSING))

    def level(self, question):
        return len(question.split()) - 1  # functions

    def rewrite(self, generator, question):
        surfaces = self._surfaces(self.canon(question))
        if len(surfaces) == 1:
            return surfaces[0]
        return generator.choice(surfaces)


@functools.lru_cache(maxsize=2**18)  # of five functions there are eleven to the fifth
def _reserved(functions):
    return splits.share_of(functions) < RESERVED
