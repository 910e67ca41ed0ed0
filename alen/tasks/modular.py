"""Arithmetic modulo a prime (Power et al. 2022, "Grokking"): "57 + 88 mod 113" is "32".

Numbers are single tokens. Every operation has prime² inputs; 30 % of them are the training split.
"""

import dataclasses
import functools
import itertools
import math
import operator

from alen.tasks import base

_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


@dataclasses.dataclass(frozen=True)
class Modular(base.Task):
    """As published, a + b and b + a are two inputs; with `commute` they are surfaces of one.

    `share` of the inputs are the training split; a tenth is for tuning, and half of what is left
    each for calibration and test."""

    prime: int = 113
    operations: tuple[str, ...] = ("+", "-", "*")
    commute: bool = False
    share: float = 0.3

    name = "modular"
    strata = (base.TRAINED, "longer", base.UNANSWERABLE)  # longer: three numbers
    longest_question = 7

    def __post_init__(self):
        if self.prime < 2:
            raise ValueError(f"prime must be at least 2, got {self.prime}")
        if not 0 < self.share < 0.9:
            raise ValueError(f"share must lie strictly between 0 and 0.9, got {self.share}")
        if not self.operations or set(self.operations) - set(_OPERATIONS):
            raise ValueError(f"operations must be some of + - *, got {self.operations}")

    @property
    def words(self):
        return (*self.answer_words, str(self.prime), *_OPERATIONS, "mod", base.MISSING)

    @property
    def answer_words(self):
        return tuple(map(str, range(self.prime)))

    def shares(self, stratum):
        rest = (0.9 - self.share) / 2
        return (self.share, 0.1, rest, rest)

    def domain(self, stratum):
        if stratum == "longer":
            return None
        n, gap, p = self.answer_words, [base.MISSING], str(self.prime)
        kinds = [(n, n, [p])]
        if stratum == base.UNANSWERABLE:  # a number left out; a remainder of division by zero
            kinds = [(n, gap, [p]), (gap, n, [p]), (n, n, ["0"])]
        every = (
            (o, *abm) for o in self.operations for kind in kinds for abm in itertools.product(*kind)
        )
        return [f"{a} {o} {b} mod {m}" for o, a, b, m in every]

    def compose(self, generator, stratum, count):
        numbers = generator.integers(0, self.prime, (count, 3)).tolist()
        signs = generator.choice(self.operations, count).tolist()
        every = zip(signs, numbers, strict=True)
        return [f"{a} {o} {b} {o} {c} mod {self.prime}" for o, (a, b, c) in every]

    def block(self, question):
        return question.split()[1]

    def solve(self, question):
        *body, mod, modulus = question.split()
        numbers, (sign, *others) = body[::2], body[1::2]
        if mod != "mod" or len(numbers) != len(others) + 2 or set(others) - {sign}:
            raise ValueError(question)
        if base.MISSING in numbers or modulus == "0":
            return None
        return str(functools.reduce(_OPERATIONS[sign], map(int, numbers)) % int(modulus))

    def canon(self, question):
        symbols = question.split()
        if self.commute and symbols[1] != "-":
            symbols[:-2:2] = sorted(symbols[:-2:2])
        return " ".join(symbols)

    def rewrite(self, generator, question):
        symbols = question.split()
        if self.commute and symbols[1] != "-":
            symbols[:-2:2] = generator.permutation(symbols[:-2:2])
        return " ".join(symbols)

    def spans(self, symbols):
        """The numbers, but no factor whose product with the others says nothing about it."""
        numbers = {i: int(s) for i, s in enumerate(symbols[:-2]) if i % 2 == 0 and s.isdigit()}
        if symbols[1] == "*":
            rest = {i: math.prod(n for j, n in numbers.items() if j != i) for i in numbers}
            numbers = {i: n for i, n in numbers.items() if math.gcd(rest[i], self.prime) == 1}
        return [(i, i + 1) for i in numbers]
