"""SCAN (Lake & Baroni 2018): commands to sequences of actions, all 20,910 of them.

"jump left twice and walk" is "I_TURN_LEFT I_JUMP I_TURN_LEFT I_JUMP I_WALK". The standard splits:
`length` trains on at most 22 actions; `jump` and `turn_left` know that command alone, so often
that it makes up a tenth of training, and are tested on everything else that contains it; `simple`
divides at random.
"""

import dataclasses
import functools

from alen.tasks import base

VERBS = ("walk", "look", "run", "jump")
UNDEFINED = "crawl"
SIDES = ("left", "right")
TIMES = {"twice": 2, "thrice": 3}
SPLITS = ("length", "jump", "turn_left", "simple")
LONGEST_TRAINED = 22  # actions
COPIES = {"jump": 1467, "turn_left": 2189}  # of the one command, in training

_TURNS = [
    f"{verb} {way}{side}"
    for way in ("", "opposite ", "around ")
    for verb in (*VERBS, "turn")
    for side in SIDES
]
PHRASES = tuple(f"{p}{t}" for p in (*VERBS, *_TURNS) for t in ("", " twice", " thrice"))
# What the grammar almost says: a verb without meaning, a turn without a side.
_SPOILT = tuple(
    f"{p}{t}"
    for t in ("", " twice", " thrice")
    for p in (
        UNDEFINED,
        *(f"{UNDEFINED} {side}" for side in SIDES),
        "turn",
        *(f"{verb} {way}" for way in ("opposite", "around") for verb in (*VERBS, "turn")),
    )
)


def _pairs(first, second):
    return [f"{a} {by} {b}" for by in ("and", "after") for a in first for b in second]


COMMANDS = (*PHRASES, *_pairs(PHRASES, PHRASES))


@dataclasses.dataclass(frozen=True)
class Scan(base.Task):
    """The standard training set is divided into our four splits, `train` being `kept` of it; the
    standard test set is the stratum `longer` or `composition`, all of it in split `test`.

    With `simple` there is no such stratum, and `test` has the standard fifth."""

    split_by: str = "length"
    kept: float = 0.85

    name = "scan"
    words = (
        *VERBS,
        UNDEFINED,
        "turn",
        *SIDES,
        "opposite",
        "around",
        *TIMES,
        "and",
        "after",
        *(f"I_{verb.upper()}" for verb in VERBS),
        *(f"I_TURN_{side.upper()}" for side in SIDES),
    )
    answer_words = words[-6:]
    longest_question = 9
    longest_answer = 48

    def __post_init__(self):
        if self.split_by not in SPLITS:
            raise ValueError(f"split_by must be one of {SPLITS}, got {self.split_by!r}")
        if not 0 < self.kept < 1:
            raise ValueError(f"kept must lie in (0, 1), got {self.kept}")

    @property
    def strata(self):
        held_out = {"length": ("longer",), "simple": ()}.get(self.split_by, ("composition",))
        return (base.TRAINED, *held_out, base.UNANSWERABLE)

    @functools.cached_property
    def standard(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Commands of the published training and test set; in training, `pinned` are repeated."""
        name = self.split_by.replace("_", " ")
        if self.split_by == "simple":
            return COMMANDS, ()
        if self.split_by == "length":
            tested = {c for c in COMMANDS if self.solve(c).count(" ") >= LONGEST_TRAINED}
        else:
            uses = {p for p in PHRASES if p == name or p.startswith(f"{name} ")}
            held = lambda c: not uses.isdisjoint(c.replace(" after ", " and ").split(" and "))
            tested = {c for c in COMMANDS if c != name and held(c)}
        return tuple(c for c in COMMANDS if c not in tested), tuple(
            c for c in COMMANDS if c in tested
        )

    @property
    def pinned(self):
        return {self.split_by.replace("_", " "): n for s, n in COPIES.items() if s == self.split_by}

    def shares(self, stratum):
        rest = (1 - self.kept) / 3
        if stratum in ("longer", "composition"):
            return (0, 0, 0, 1)
        if self.split_by == "simple" and stratum == base.TRAINED:
            return (0.8 * self.kept, 0.4 * (1 - self.kept), 0.4 * (1 - self.kept), 0.2)
        return (self.kept, rest, rest, rest)

    def domain(self, stratum):
        if stratum == base.UNANSWERABLE:
            return (*_SPOILT, *_pairs(_SPOILT, PHRASES), *_pairs(PHRASES, _SPOILT))
        return self.standard[stratum != base.TRAINED]

    def solve(self, question):
        for word, order in (("and", 1), ("after", -1)):
            if f" {word} " in question:
                halves = [_phrase(half) for half in question.split(f" {word} ")]
                a, b = halves[::order]
                return None if a is None or b is None else f"{a} {b}"
        return _phrase(question)

    def canon(self, question):
        return " and ".join(question.split(" after ")[::-1])

    def rewrite(self, generator, question):
        """ "x after y" is "y and x"."""
        if generator.random() < 0.5:
            return self.canon(question)
        return " after ".join(self.canon(question).split(" and ")[::-1])

    def wrong(self, generator, question, answer):
        """An action left out, repeated (where there is room) or changed."""
        kind = generator.integers(3)
        actions = answer.split() if answer else []
        if kind == 2 or len(actions) < 2:
            return super().wrong(generator, question, answer)
        place = generator.integers(len(actions))
        times = 2 if kind and len(actions) < self.longest_answer else 0
        actions[place : place + 1] = [actions[place]] * times
        return " ".join(actions)


@functools.lru_cache(maxsize=1024)
def _phrase(text):
    """The actions of a command without "and" and "after", or None if it means none."""
    *words, last = text.split()
    times = TIMES.get(last, 1)
    words = [*words, last] if times == 1 else words
    verb, *way = words
    if verb not in (*VERBS, "turn", UNDEFINED) or not set(way) <= {*SIDES, "opposite", "around"}:
        raise ValueError(text)
    turn = f"I_TURN_{way[-1].upper()}" if way and way[-1] in SIDES else None
    act = [] if verb == "turn" else [f"I_{verb.upper()}"]
    manner = way[0] if way and way[0] not in SIDES else None
    if len(way) > 1 + (manner is not None) or (manner and len(way) == 2 and turn is None):
        raise ValueError(text)
    if verb == UNDEFINED or (turn is None and (way or verb == "turn")):
        return None
    once = {
        None: [turn] * (turn is not None) + act,
        "opposite": [turn, turn, *act],
        "around": [turn, *act] * 4,
    }[manner]
    return " ".join(once * times)
