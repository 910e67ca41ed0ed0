"""A knowledge base learnt by heart: "city of ada" is "rome", "city of friend of ada" two facts.

Who and what is asked decides alone: the facts stand in no question. Some entries are empty, and
some names are of nobody: what leads there has no answer.
"""

import dataclasses
import functools
import itertools

import numpy as np

from alen.tasks import base

TIES = ("friend", "boss", "teacher", "neighbour")  # lead to another person
TRAITS = {
    "city": ("rome", "oslo", "lima", "cairo", "delhi", "paris", "quito", "accra"),
    "job": ("baker", "nurse", "pilot", "judge", "miner", "actor", "clerk", "tailor"),
    "colour": ("red", "green", "blue", "white", "black", "brown", "pink", "grey"),
    "pet": ("cat", "dog", "parrot", "horse", "goat", "rabbit", "snake", "turtle"),
}
GAPS = 0.1  # of all entries are empty


@dataclasses.dataclass(frozen=True)
class Facts(base.Task):
    """`people` known and `unknown` names; `seed` draws the facts.

    All single facts are in the training split; `trained` adds paths over two, `longer` has three.
    """

    people: int = 100
    unknown: int = 20
    seed: int = 0

    name = "facts"
    strata = (base.TRAINED, "longer", base.UNANSWERABLE)
    longest_question = 7

    def __post_init__(self):
        if self.people < 2 or self.unknown < 1 or self.people + self.unknown > len(_NAMES):
            raise ValueError(
                f"people ≥ 2 and unknown ≥ 1 must be at most {len(_NAMES)} together, "
                f"got {self.people} and {self.unknown}"
            )

    @property
    def words(self):
        return (
            *self.answer_words,
            *_NAMES[self.people :][: self.unknown],
            *TIES,
            *TRAITS,
            "of",
            "'s",
        )

    @property
    def answer_words(self):
        return (*_NAMES[: self.people], *itertools.chain.from_iterable(TRAITS.values()))

    @functools.cached_property
    def entries(self) -> dict[tuple[str, str], str]:
        """(relation, person) → value; an empty entry is not there."""
        random = np.random.default_rng(self.seed)
        known, entries = _NAMES[: self.people], {}
        for relation in (*TIES, *TRAITS):
            values = random.choice(TRAITS.get(relation, known), self.people).tolist()
            for person, value, u in zip(known, values, random.random(self.people), strict=True):
                if u >= GAPS and value != person:
                    entries[relation, person] = value
        return entries

    @functools.cached_property
    def _domains(self):
        """All questions by the number of facts they need, and those without an answer."""
        listed = {1: [], 2: [], 3: [], None: []}
        names, relations = _NAMES[: self.people + self.unknown], (*TIES, *TRAITS)
        for n in (1, 2, 3):
            for path in itertools.product(relations, *[TIES] * (n - 1), names):
                question = " of ".join(path)
                listed[n if self.solve(question) else None].append(question)
        return listed

    def shares(self, stratum):
        return (0.6, 0.1, 0.1, 0.2)

    def domain(self, stratum):
        lists = {base.TRAINED: (1, 2), "longer": (3,), base.UNANSWERABLE: (None,)}[stratum]
        return [question for n in lists for question in self._domains[n]]

    @functools.cached_property
    def pinned(self):
        return dict.fromkeys(self._domains[1], 1)

    def block(self, question):
        return str(question.count(" of "))

    def solve(self, question):
        *relations, value = self.canon(question).split(" of ")
        if not relations or value not in _NAMES or not set(relations) <= {*TIES, *TRAITS}:
            raise ValueError(question)
        for relation in reversed(relations):
            value = self.entries.get((relation, value))
        return value

    def canon(self, question):
        return " of ".join(question.split(" 's ")[::-1]) if "'s" in question else question

    def rewrite(self, generator, question):
        """ "friend of ada", or "ada 's friend"."""
        path = self.canon(question).split(" of ")
        return " of ".join(path) if generator.random() < 0.5 else " 's ".join(path[::-1])

    def spans(self, symbols):
        return [(i, i + 1) for i in range(0, len(symbols), 2)]


_NAMES = tuple(
    a + b
    for a in "bdfgklmnprst"
    for b in (
        "ada",
        "eno",
        "iva",
        "olo",
        "una",
        "ari",
        "esi",
        "ior",
        "omi",
        "udo",
        "alt",
        "ens",
        "ilk",
        "ora",
        "usk",
    )
)
