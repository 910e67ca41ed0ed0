"""Addition of whole numbers, digit by digit: "472+95" is "567".

`carries` are sums whose carry runs through all digits of the first number but the lowest.
"""

import dataclasses

from alen.tasks import base

MOST_DIGITS = 16  # what the draws' 64-bit integers hold, two digits more included


@dataclasses.dataclass(frozen=True)
class Addition(base.Task):
    """Both numbers have 1 to `digits` digits, the longer ones one or two more.

    With `reverse` the answer is written from its lowest digit on: "765", which lets a decoder
    carry as it goes.
    """

    digits: int = 10
    reverse: bool = False

    name = "addition"
    separator = ""
    strata = (base.TRAINED, "longer", "carries", base.UNANSWERABLE)
    words = (*"0123456789", "+", base.MISSING)
    answer_words = tuple("0123456789")

    def __post_init__(self):
        if not 1 <= self.digits <= MOST_DIGITS:
            raise ValueError(f"digits must lie in [1, {MOST_DIGITS}], got {self.digits}")

    @property
    def longest_question(self):
        return 2 * (self.digits + 2) + 1

    @property
    def longest_answer(self):
        return self.digits + 3

    def compose(self, generator, stratum, count):
        low, high = (self.digits + 1, self.digits + 2) if stratum == "longer" else (1, self.digits)
        n = generator.integers(low, high + 1, (2, count))
        a, b = generator.integers(10 ** (n - 1) - (n == 1), 10**n)
        if stratum == "carries":  # 10ⁿ − 1 − a has no carry: one to nine more, and all do
            b = 10 ** n[0] - 1 - a + generator.integers(1, 10, count)
        pairs = zip(a.tolist(), b.tolist(), strict=True)
        questions = [f"{a}+{b}" for a, b in pairs]
        if stratum == base.UNANSWERABLE:
            return list(map(_spoilt, questions, generator.random(count).tolist()))
        return questions

    def solve(self, question):
        a, b = question.split("+")
        if base.MISSING in question or not a or not b:
            return None
        answer = str(int(a) + int(b))
        return answer[::-1] if self.reverse else answer

    def canon(self, question):
        return "+".join(sorted(question.split("+")))

    def rewrite(self, generator, question):
        a, b = question.split("+")
        return f"{b}+{a}" if generator.random() < 0.5 else question

    def guess(self, generator, question):
        """A random number."""
        longest = max(map(len, question.split("+")))
        return str(generator.integers(10**longest))

    def spans(self, symbols):
        plus = symbols.index("+")
        return [part for part in ((0, plus), (plus + 1, len(symbols))) if part[0] < part[1]]


def _spoilt(question, u):
    """`question` with a digit hidden or, one time in four, with a number left out."""
    plus = question.index("+")
    if u < 0.25:
        return question[: plus + 1] if u < 0.125 else question[plus:]
    place = int((u - 0.25) / 0.75 * (len(question) - 1))
    place += place >= plus
    return question[:place] + base.MISSING + question[place + 1 :]
