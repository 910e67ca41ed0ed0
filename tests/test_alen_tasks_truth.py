"""The truth of every task, computed a second time by another method, and the counts of domains."""

import itertools

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies

from alen import tasks
from alen.tasks import chains, file, logic, lookup, scan, syllogisms

KEY = jax.random.key(11)


def drawn(task, count=120):
    return [e for stratum in task.strata for e in task.draw(KEY, stratum, "test", count)]


def test_modular_is_all_of_its_domain_and_its_training_share_is_exact():
    task = tasks.find("modular")
    parts = {split: task.enumerate("trained", split) for split in tasks.SPLITS}
    for sign in "+-*":
        sizes = {s: sum(f" {sign} " in e.question for e in part) for s, part in parts.items()}
        assert sum(sizes.values()) == 113**2 == 12_769
        assert sizes["train"] == int(0.3 * 12_769) == 3_830
    truth = {}
    for a, b in itertools.product(range(113), repeat=2):  # no % anywhere: by walking round
        truth[f"{a} + {b} mod 113"] = a + b if a + b < 113 else a + b - 113
        truth[f"{a} - {b} mod 113"] = a - b if a >= b else a - b + 113
        truth[f"{a} * {b} mod 113"] = truth.get(f"{a} * {b - 1} mod 113", 0) + (a if b else 0)
        truth[f"{a} * {b} mod 113"] -= 113 * (truth[f"{a} * {b} mod 113"] >= 113)
    assert {e.question: int(e.answer) for part in parts.values() for e in part} == truth


def test_modular_reads_what_a_user_writes():
    task = tasks.find("modular")
    assert task.truth("57 + 88 mod 113") == "32"
    assert task.truth(" please 57+88 mod 113  now") == "32"
    assert task.truth("57 + _ mod 113") is task.truth("57 + 88 mod 0") is None
    assert task.parts("0 * 5 mod 113") == [(0, 1)]  # 0 · anything is 0: the 5 is not told
    assert task.parts("please 3 + 5 mod 113") == [(1, 2), (3, 4)]


@hypothesis.given(strategies.integers(0, 10**11), strategies.integers(0, 10**11))
def test_addition_is_that_of_school(a, b):
    digits, carry = [], 0
    for x, y in itertools.zip_longest(str(a)[::-1], str(b)[::-1], fillvalue="0"):
        carry, digit = divmod(int(x) + int(y) + carry, 10)
        digits.append(str(digit))
    digits += ["1"] * carry
    assert tasks.find("addition", reverse=True).truth(f"{a}+{b}") == "".join(digits)
    assert tasks.find("addition").truth(f"{a} + {b}") == "".join(digits[::-1])


def test_addition_strata_have_their_lengths():
    task = tasks.find("addition", digits=5)
    sizes = lambda s: {
        len(n) for e in task.draw(KEY, s, "test", 200) for n in e.question.split("+")
    }
    assert sizes("trained") == {1, 2, 3, 4, 5}
    assert sizes("longer") == {6, 7}
    for e in task.draw(KEY, "carries", "test", 100):
        a, _ = e.question.split("+")
        assert set(e.answer[1:-1]) <= {"0"}
        assert len(e.answer) == len(a) + 1


@pytest.mark.parametrize("notation", lookup.NOTATIONS)
def test_lookup_is_composition(notation):
    task = tasks.find("lookup", notation=notation)
    assert len(task.functions) == 11
    assert all(sorted(table.values()) == sorted(lookup.VALUES) for table in task.functions.values())
    depths = {}
    for e in drawn(task):
        symbols = e.question.split()
        forward = not symbols[0].isalpha()
        assert notation in ("both", "forward" if forward else "backward")
        x, *functions = symbols if forward else symbols[::-1]
        depths.setdefault(e.stratum, set()).add(len(functions))
        if e.answer is None:
            assert x == "_" or {"l", "m"} & set(functions)
        else:  # as permutation matrices
            matrices = [
                np.eye(8)[[int(task.functions[f][v], 2) for v in lookup.VALUES]] for f in functions
            ]
            image = np.eye(8)[int(x, 2)] @ np.linalg.multi_dot([np.eye(8), *matrices])
            assert int(e.answer, 2) == image.argmax()
    assert depths["trained"] == depths["composition"] == {2, 3, 4, 5}  # 1 is for training
    assert depths["longer"] == {6, 7, 8, 9, 10}
    assert len(task.pinned) == 88 * (1 + (notation == "both"))


def test_lookup_holds_compositions_out():
    task = tasks.find("lookup")
    paths = lambda s, split: {e.question[4:] for e in task.draw(KEY, s, split, 2000)}
    assert paths("trained", "train").isdisjoint(paths("composition", "test"))
    assert tasks.find("lookup", tables=1).functions != task.functions


def test_arithmetic_is_pythons():
    for division in (False, True):
        task = tasks.find("arithmetic", division=division)
        depths = {}
        for e in drawn(task):
            depth = 1 + max(itertools.accumulate((c == "(") - (c == ")") for c in e.question))
            depths.setdefault(e.stratum, set()).add(depth)
            if e.answer is None:
                assert set("_/") & set(e.question)
            else:
                assert int(e.answer) == _by_python(e.question)
        assert depths["trained"] == {2, 3, 4, 5}
        assert depths["deeper"] == {7, 8}
    assert task.truth("(3/(5+5))") is task.truth("(3/5)") is None
    assert task.truth("(3/7)") == "9"


class _Residue(int):
    def __add__(self, other):
        return _Residue(int.__add__(self, other) % 10)

    def __mul__(self, other):
        return _Residue(int.__mul__(self, other) % 10)

    def __truediv__(self, other):
        (inverse,) = [x for x in range(10) if int.__mul__(other, x) % 10 == int(self)]
        return _Residue(inverse)


def _by_python(text):
    spelled = "".join(f"R({c})" if c.isdigit() else c for c in text)
    return eval(spelled, {"R": _Residue})


def test_chains_follow_by_sorting():
    """Add up the premises until nothing changes; the query is in what follows, or not."""
    for e in drawn(tasks.find("chains")):
        body, query = e.question.split(" ; ")
        edges = [edge.split() for edge in body.split(" , ")]
        above = {(a, b) if sign == ">" else (b, a) for a, sign, b in edges}
        while more := {(a, d) for a, b in above for c, d in above if b == c} - above:
            above |= more
        a, sign, b = query.split()
        asked = (a, b) if sign == ">" else (b, a)
        answer = "yes" if asked in above else "no" if asked[::-1] in above else None
        assert e.answer == answer
        assert (len(edges) > 5) == (e.stratum == "longer")
    assert len(chains.NAMES) == 20


def test_propositional_entailment_by_substitution():
    """Python's own operators over all assignments, one after the other."""
    spelled = {"implies": "<=", "iff": "==", "and": "and", "or": "or"}
    task = tasks.find("logic", kinds=("propositional",))
    answers = {}
    for e in drawn(task, 60):
        text = " ".join(
            spelled.get(word, word) for word in e.question.replace("not ", "1-").split()
        )
        body, asked = text.split(" |- ")
        worlds = []
        for values in itertools.product((0, 1), repeat=5):
            world = dict(zip(logic.VARIABLES, values, strict=True))
            if all(eval(premise, world) for premise in body.split(" ; ")):
                worlds.append(bool(eval(asked, world)))
        answer = {(True,): "yes", (False,): "no"}.get(tuple(sorted(set(worlds))))
        assert e.answer == answer
        answers.setdefault(e.stratum, []).append(answer)
    for stratum in ("trained", "longer", "deeper"):
        assert 12 < answers[stratum].count("yes") < 48


def test_syllogisms_by_all_models():
    """A model says which of the eight regions are inhabited: 256 models, no reasoning."""
    models = [[r for r in range(8) if m >> r & 1] for m in range(256)]
    counts = {"yes": 0, "no": 0, None: 0}

    def holds(statement, terms, model):
        mood, a, b = syllogisms.read(statement)
        inside = [bool(r >> terms.index(b) & 1) for r in model if r >> terms.index(a) & 1]
        return {"all": all(inside), "no": not any(inside), "some": any(inside)}.get(
            mood, not all(inside)
        )

    task = tasks.find("logic", kinds=("syllogism",))
    examples = [e for s in ("trained", "unanswerable") for e in task.draw(KEY, s, "test", 60)]
    for e in examples:
        body, asked = e.question.split(" |- ")
        terms = sorted(set(e.question.split()) & set(syllogisms.TERMS))
        worlds = {
            holds(asked, terms, model)
            for model in models
            if all(holds(premise, terms, model) for premise in body.split(" ; "))
        }
        assert e.answer == {(True,): "yes", (False,): "no"}.get(tuple(worlds))
        counts[e.answer] += 1
    assert min(counts.values()) > 10
    barbara = "all cats are pets ; all pets are bees |- all cats are bees"
    assert task.truth(barbara) == "yes"  # and without existential import not Darapti:
    assert task.truth("all bees are cats ; all bees are pets |- some cats are pets") is None
    assert task.truth("all cats are pets ; some cats are not pets |- all bees are kings") is None


def test_facts_are_found_step_by_step():
    task = tasks.find("facts")
    for stratum in task.strata:
        for e in task.enumerate(stratum, "test")[::7]:
            *path, value = e.question.split(" of ")
            while path and value is not None:
                value = task.entries.get((path.pop(), value))
            assert e.answer == value
    known = {person for _, person in task.entries}
    assert len(known) == 100
    assert task.truth("ada 's city" if "ada" in known else "city of bada") is not None
    single = [e for e in task.enumerate("trained", "train") if e.question.count(" of ") == 1]
    assert len(single) == len(task.entries) == len(task.pinned)


def _actions(command):
    """SCAN by rewriting text, innermost words first."""
    words = command.split()
    if "after" in words:
        first, second = command.split(" after ")
        return _actions(second) + _actions(first)
    if "and" in words:
        return [action for half in command.split(" and ") for action in _actions(half)]
    if words[-1] in ("twice", "thrice"):
        return _actions(" ".join(words[:-1])) * (2 + (words[-1] == "thrice"))
    act = [] if words[0] == "turn" else [f"I_{words[0].upper()}"]
    if len(words) == 1:
        return act
    turn = [f"I_TURN_{words[-1].upper()}"]
    return {"opposite": 2 * turn + act, "around": 4 * (turn + act)}.get(words[1], turn + act)


def test_scan_has_all_commands_and_the_standard_splits():
    assert len(scan.COMMANDS) == len(set(scan.COMMANDS)) == 20_910
    task = tasks.find("scan")
    assert all(task.solve(c) == " ".join(_actions(c)) for c in scan.COMMANDS)
    sizes = {"length": (16_990, 3_920), "jump": (14_670, 7_706), "turn_left": (21_890, 1_208)}
    for name, published in sizes.items():
        task = tasks.find("scan", split_by=name)
        train, test = task.standard
        repeats = sum(n - 1 for n in task.pinned.values())
        assert (len(train) + repeats, len(test)) == published
        assert len(task.enumerate(task.strata[1], "test")) == published[1]
    train, test = tasks.find("scan").standard
    assert max(len(_actions(c)) for c in train) == 22
    assert {len(_actions(c)) for c in test} == {24, 25, 26, 27, 28, 30, 32, 33, 36, 40, 48}
    assert all("jump" in c.split() for c in tasks.find("scan", split_by="jump").standard[1])
    simple = tasks.find("scan", split_by="simple")
    assert abs(len(simple.enumerate("trained", "test")) - 0.2 * 20_910) <= 2


def test_a_file_is_read_and_bad_lines_are_named():
    lines = ["what -> that", "", " a  -> b ->  c ", "who ->", "naïve → ? -> ja".encode()]
    task = tasks.find("file", lines=lines)
    assert task.answers == {"what": "that", "a -> b": "c", "who": None, "naïve → ?": "ja"}
    assert task.check(" what ", "that")
    assert not task.check("who", "that")
    for bad, message in (
        (["a -> b", "no arrow"], "line 2 must be 'question -> answer', got 'no arrow'"),
        (["a -> b", "-> b"], "line 2 must be"),
        (["a -> b", b"\xff -> b"], "line 2 is not UTF-8"),
        (["a -> b", "", "a -> c"], "line 3 answers 'a' with 'c', line 1 with 'b'"),
        (["a ->"], "lines must hold a question with an answer"),
    ):
        with pytest.raises(ValueError, match=message):
            file.File(lines=tuple(bad))
    with pytest.raises(ValueError, match="tokens must be one of"):
        file.File(lines=("a -> b",), tokens="words")


def test_a_file_in_byte_pairs():
    lines = tuple(f"what is the number {i} -> the number is {i}" for i in range(50))
    task = tasks.find("file", lines=lines, tokens="pairs", vocabulary=300)
    examples = task.draw(KEY, "trained", "train", 20)
    questions, answers = tasks.arrays(task, examples)
    assert questions.shape[1] < tasks.find("file", lines=lines).question_length
    assert [task.tokeniser.decode(row) for row in answers] == [e.answer for e in examples]
