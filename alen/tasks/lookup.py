"""Compositional table lookup (Liška et al. 2018; Csordás et al. 2022, "The Neural Data Router").

Eleven random bijections a … k of eight symbols. Forward notation puts the argument first and the
functions in the order of application, "101 a b" is b(a(101)); backward notation is "b a 101".
"""

import dataclasses
import functools

import numpy as np

from alen.tasks import base, splits

FUNCTIONS = tuple("abcdefghijk")
UNDEFINED = ("l", "m")  # names of functions that have no table
VALUES = tuple(f"{i:03b}" for i in range(8))
NOTATIONS = ("forward", "backward", "both")
RESERVED = 0.15  # of the compositions are held out for the stratum `composition`


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
        return {q: 1 for x, f in forward for q in self._surfaces([x, f])}

    def _surfaces(self, symbols):
        forward, backward = " ".join(symbols), " ".join(symbols[::-1])
        return {"forward": [forward], "backward": [backward]}.get(
            self.notation, [forward, backward]
        )

    def compose(self, generator, stratum, count):
        longer = (self.depth + 1, self.longest)
        low, high = {"longer": longer, "composition": (2, self.depth)}.get(stratum, (1, self.depth))
        depths = generator.integers(low, high + 1, count)
        x = generator.choice(VALUES, (count, 1))
        rows = np.hstack([x, generator.choice(FUNCTIONS, (count, high))])
        if stratum == base.UNANSWERABLE:
            place = generator.integers(0, depths + 1)
            spoilt = np.where(place == 0, base.MISSING, generator.choice(UNDEFINED, count))
            rows[np.arange(count), place] = spoilt
        questions = []
        for row, depth in zip(rows.tolist(), depths.tolist(), strict=True):
            held = depth > 1 and splits.share_of(" ".join(row[1 : depth + 1])) < RESERVED
            if stratum in ("longer", base.UNANSWERABLE) or held == (stratum == "composition"):
                questions.append(row[: depth + 1])
        return [self.rewrite(generator, " ".join(question)) for question in questions]

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
        symbols = question.split()
        return question if symbols[0] in self._arguments else " ".join(symbols[::-1])

    _arguments = frozenset((*VALUES, base.MISSING))

    def level(self, question):
        return len(question.split()) - 1  # functions

    def rewrite(self, generator, question):
        surfaces = self._surfaces(self.canon(question).split())
        return surfaces[generator.integers(len(surfaces))]
