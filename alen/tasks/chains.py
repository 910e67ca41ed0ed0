"""Transitive relations: "a > b , c > a ; c > b" is "yes", "b > c" is "no".

The premises are a tree in random order, each one "taller than" an other; a query about two of
which neither is above the other does not follow, nor does one about somebody not mentioned.
"""

import dataclasses

import numpy as np

from alen.tasks import base

NAMES = tuple("abcdefghijklmnopqrst")
# "a > b" and "b < a" → (upper, lower)
_EDGES = {f"{a} > {b}": (a, b) for a in NAMES for b in NAMES if a != b}
_EDGES |= {f"{b} < {a}": pair for pair in list(_EDGES.values()) for a, b in [pair]}


@dataclasses.dataclass(frozen=True)
class Chains(base.Task):
    """Trained on 2 to `edges` premises; `longer` has up to `longest`, and queries that need more
    steps than any in training."""

    edges: int = 5
    longest: int = 10

    name = "chains"
    strata = (base.TRAINED, "longer", base.UNANSWERABLE)
    words = (*NAMES, ">", "<", ",", ";", "yes", "no")
    answer_words = ("yes", "no")

    def __post_init__(self):
        if not 2 <= self.edges < self.longest < len(NAMES) - 1:
            raise ValueError(
                f"2 ≤ edges < longest < {len(NAMES) - 1} must hold, got edges {self.edges}, "
                f"longest {self.longest}"
            )

    @property
    def longest_question(self):
        return 4 * self.longest + 3

    def compose(self, generator, stratum, count):
        longer = stratum == "longer"
        low, most = (self.edges + 2, self.longest) if longer else (2, self.edges)
        edges = generator.integers(min(low, most), most + 1, count)
        # Person i + 1 is below one of those before, mostly the last one: long chains, some forks.
        straight = generator.random((count, most)) < (0.9 if longer else 0.6)
        any_before = (generator.random((count, most)) * np.arange(1, most + 1)).astype(int)
        parents = np.where(straight, np.arange(most), any_before)
        above = np.zeros((count, most + 1, most + 1), bool)  # of i, transitively: j
        every = np.arange(count)
        for i in range(most):
            above[:, i + 1] = above[every, parents[:, i]]
            above[every, i + 1, parents[:, i]] = True
        there = np.arange(most + 1) <= edges[:, None]
        steps = above.sum(2)  # from person 0, who is above all
        if stratum == base.UNANSWERABLE:
            fit = ~(above | above.transpose(0, 2, 1)) & ~np.eye(most + 1, dtype=bool)
            fit[:, :, 0] = True  # and 0 stands for somebody not mentioned
        else:
            distant = steps[:, :, None] - steps[:, None, :] > (self.edges if longer else 0)
            fit = above & distant
        fit &= there[:, :, None] & there[:, None, :]
        weights = generator.random(fit.shape) * fit
        pairs = weights.reshape(count, -1).argmax(1)
        names = generator.permuted(np.tile(np.array(NAMES), (count, 1)), axis=1)
        kept = np.flatnonzero(weights.reshape(count, -1).max(1) > 0)
        below, higher = np.divmod(pairs[kept], most + 1)
        if stratum == base.UNANSWERABLE:
            higher = np.where(higher == 0, most + 1, higher)
        orders = np.argsort(generator.random((len(kept), most)), axis=1)
        columns = (names[kept], parents[kept], edges[kept], orders, below, higher)
        flips = (generator.random((len(kept), most + 1)) < 0.5).tolist()
        rows = zip(*(column.tolist() for column in columns), flips, strict=True)
        return [_question(*row) for row in rows]

    def solve(self, question):
        premises, (a, sign, b) = _read(question)
        above = {}
        for upper, lower in premises:
            above.setdefault(lower, []).append(upper)
        up = _reaches(above, b, a), _reaches(above, a, b)
        if up[0] == up[1]:  # neither, or a circle
            return None
        return "yes" if up[0] == (sign == ">") else "no"

    def canon(self, question):
        """What is asked, and that its opposite may be, is part of the same input."""
        body, query = question.split(" ; ")
        return f"{sorted(_EDGES[edge] for edge in body.split(' , '))} {_EDGES[query]}"

    def rewrite(self, generator, question):
        """Premises in another order, each perhaps read from the other side."""
        premises, query = _read(question)
        order = generator.permutation(range(len(premises)))
        flips = [generator.random() < 0.5 for _ in premises]
        texts = [_edge(*premises[i], flip) for i, flip in zip(order, flips, strict=True)]
        return f"{' , '.join(texts)} ; {' '.join(query)}"

    def spans(self, symbols):
        """The query's sign, and its two names."""
        n = len(symbols)
        return [(n - 2, n - 1), (n - 3, n - 2), (n - 1, n)]


def _edge(upper, lower, flip):
    return f"{lower} < {upper}" if flip else f"{upper} > {lower}"


def _question(names, parents, edges, order, below, higher, flips):
    texts = [_edge(names[parents[i]], names[i + 1], flips[i]) for i in order if i < edges]
    a, b = (below, higher) if flips[-1] else (higher, below)
    sign = "><"[(below + order[0]) % 2]
    return f"{' , '.join(texts)} ; {names[a]} {sign} {names[b]}"


def _read(question):
    """Premises as (upper, lower), and the query's three symbols."""
    body, query = question.split(" ; ")
    a, sign, b = query.split()
    _EDGES[query]  # KeyError: nonsense
    return [_EDGES[edge] for edge in body.split(" , ")], (a, sign, b)


def _reaches(above, start, goal):
    seen, ahead = set(), [start]
    while ahead:
        for upper in above.get(ahead.pop(), ()):
            if upper == goal:
                return True
            if upper not in seen:
                seen.add(upper)
                ahead.append(upper)
    return False
