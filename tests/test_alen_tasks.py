"""Every task keeps every promise: exact checks, disjoint splits, surfaces that mean the same."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from alen import tasks, tokeniser
from alen.tasks import base, published, splits

LINES = tuple(f"what is number {i} -> it is {i % 7}" for i in range(60))
UNKNOWN = tuple(f"what is number {i} ->" for i in range(60, 80))
CASES = {
    **{name: {} for name in tasks.NAMES if name != "file"},
    "file": {"lines": LINES + UNKNOWN},
    "modular commuting": {"prime": 11, "commute": True},
    "addition reversed": {"digits": 3, "reverse": True},
    "lookup backward": {"notation": "backward"},
    "lookup both": {"notation": "both"},
    "arithmetic division": {"division": True},
    "scan jump": {"split_by": "jump"},
    "scan turn_left": {"split_by": "turn_left"},
    "scan simple": {"split_by": "simple"},
}
COUNT = 40


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


@pytest.fixture(scope="module")
def cases():
    return {case: tasks.find(case.split()[0], **settings) for case, settings in CASES.items()}


@pytest.fixture(params=CASES)
def task(request, cases):
    return cases[request.param]


def some(task, stratum, split, key):
    """A few questions, or as many as there are."""
    try:
        return task.draw(key, stratum, split, COUNT)
    except ValueError:
        return task.draw(key, stratum, split, len(task.enumerate(stratum, split)))


@functools.cache
def every_stratum(task, seed=0):
    """(stratum, split, examples) of all of them; drawn once."""
    strata = [(stratum, split) for stratum in task.strata for split in tasks.SPLITS]
    every = zip(strata, keys(len(strata), seed), strict=True)
    return [(*where, some(task, *where, key)) for where, key in every]


def test_the_issue_names_all_tasks():
    named = "modular addition lookup arithmetic logic chains facts scan file"
    assert set(tasks.NAMES) == set(named.split())


def test_right_answers_pass_and_near_misses_do_not(task):
    for stratum, _, examples in every_stratum(task):
        misses = task.near_misses(jax.random.key(1), examples)
        for example, miss in zip(examples, misses, strict=True):
            question, answer, said = example
            assert said == stratum
            assert task.truth(question) == answer
            assert (answer is None) == (stratum == tasks.UNANSWERABLE)
            assert not task.check(question, miss)
            assert len(task.tokeniser.encode(miss)) < task.answer_length + 1
            if answer is not None:
                assert task.check(question, answer)
                assert task.check(question, f" {answer} ")
                assert not task.check(question, f"{answer} {answer}")
                assert not task.check(question, "")


def test_no_answer_is_right_to_an_unanswerable_question(task):
    if tasks.UNANSWERABLE not in task.strata:
        pytest.fail("a task must have questions without an answer")
    answers = {e.answer for _, _, some in every_stratum(task) for e in some} - {None}
    answers |= {"", "None", "yes", "no", "0", base.MISSING, *task.words[:50]}
    for split in tasks.SPLITS:
        for example in some(task, tasks.UNANSWERABLE, split, jax.random.key(2))[:10]:
            assert not any(task.check(example.question, answer) for answer in answers)


def test_splits_are_disjoint_also_for_other_surfaces(task):
    seen = {}
    for seed in (0, 1):
        for _, split, examples in every_stratum(task, seed):
            questions = [e.question for e in examples]
            others = task.perturbations(jax.random.key(seed), questions)
            for question in (*questions, *others):
                assert task.split(question) == split
                assert seen.setdefault(task.canonical(question), split) == split


def test_another_surface_keeps_the_answer_and_is_another(task):
    for _, _, examples in every_stratum(task):
        others = task.perturbations(jax.random.key(3), [e.question for e in examples])
        again = task.perturbations(jax.random.key(4), others)
        for example, *surfaces in zip(examples, others, again, strict=True):
            assert surfaces[0] != example.question
            assert surfaces[1] != surfaces[0]
            for surface in surfaces:
                assert task.truth(surface) == example.answer
                assert task.canonical(surface) == task.canonical(example.question)
                longest = task.question_length + 2 * (task.name == "file")
                assert len(task.tokeniser.encode(surface)) <= longest


def test_the_key_alone_decides(task):
    draws = [some(task, task.strata[0], "train", jax.random.key(seed)) for seed in (5, 5, 6)]
    assert draws[0] == draws[1] != draws[2]
    examples = draws[0]
    for change in (
        task.near_misses,
        lambda key, e: task.perturbations(key, [x.question for x in e]),
    ):
        first, again, other = (change(jax.random.key(seed), examples) for seed in (5, 5, 6))
        assert first == again
        assert first != other or len(task.answer_words) == 2


def test_draws_are_different_questions(task):
    for _, _, examples in every_stratum(task):
        assert len({e.question for e in examples}) == len(examples)


def test_parts_lie_within_the_question(task):
    for _, _, examples in every_stratum(task):
        questions = [e.question for e in examples]
        for question in (*questions, *task.perturbations(jax.random.key(7), questions)):
            size = len(task.tokeniser.encode(question))
            parts = task.parts(question)
            assert all(0 <= start < stop <= size for start, stop in parts)
            symbols = task.tokeniser.split(question)
            hidden = {symbols[i] for start, stop in parts for i in range(start, stop)}
            assert hidden.isdisjoint(tasks.base.surfaces.FILLERS)
    assert any(task.parts(e.question) for e in some(task, task.strata[0], "train", keys(1)[0]))


def test_arrays_are_the_texts(task):
    for stratum, _, examples in every_stratum(task):
        questions, answers = tasks.arrays(task, examples)
        assert questions.shape == (len(examples), task.question_length)
        assert answers.shape == (len(examples), task.answer_length)
        assert questions.dtype == answers.dtype == np.int32
        for example, question, answer in zip(examples, questions, answers, strict=True):
            assert task.tokeniser.decode(question) == example.question
            assert task.tokeniser.decode(answer) == (example.answer or "")
            assert (tokeniser.EOS in answer) == (stratum != tasks.UNANSWERABLE)
            assert max(question.max(), answer.max()) < task.tokeniser.size


def test_training_holds_what_is_pinned(task):
    pinned = sum(task.pinned.values())
    listed = task.enumerate(task.strata[0], "train")
    count = pinned + (30 if listed is None else min(30, len(listed) - len(task.pinned)))
    examples = task.training(jax.random.key(8), count)
    questions = [e.question for e in examples]
    assert len(examples) == count
    assert {q: questions.count(q) for q in task.pinned} == task.pinned
    assert all(task.split(question) == "train" for question in set(questions))
    assert task.training(jax.random.key(8), count) == examples


def test_enumerated_splits_make_up_the_stratum(task):
    for stratum in task.strata:
        domain = task.domain(stratum)
        if domain is None:
            assert all(task.enumerate(stratum, split) is None for split in tasks.SPLITS)
            continue
        parts = [task.enumerate(stratum, split) for split in tasks.SPLITS]
        questions = [e.question for part in parts for e in part]
        assert sorted(questions) == sorted(domain)
        assert len(set(questions)) == len(questions)
        assert all(e.answer == task.truth(e.question) for part in parts for e in part[:20])


def test_nonsense_is_refused(task):
    nonsense = {"facts": "city of of", "scan": "jump jump", "logic": "( p", "chains": "a > a ; a"}
    with pytest.raises(ValueError, match=r"knows no question|cannot read"):
        task.truth(nonsense.get(task.name, "( + mod ?!"))
    if task.name == "logic":
        with pytest.raises(ValueError, match=r"logic knows no question '\( p'"):
            task.split("( p")
    with pytest.raises(ValueError, match="unknown stratum 'longest'"):
        task.draw(jax.random.key(0), "longest", "train", 1)
    with pytest.raises(ValueError, match="unknown split 'training'"):
        task.enumerate(task.strata[0], "training")


def test_too_many_are_refused(cases):
    with pytest.raises(ValueError, match="count must be at most 3920, all that scan has of"):
        cases["scan"].draw(jax.random.key(0), "longer", "test", 3921)
    with pytest.raises(ValueError, match="count must be at most 0"):
        cases["scan"].draw(jax.random.key(0), "longer", "train", 1)
    tiny = tasks.find("addition", digits=1)
    with pytest.raises(ValueError, match="count must be at most"):
        tiny.draw(jax.random.key(0), "trained", "test", 101)
    with pytest.raises(ValueError, match="count must be at least 1467"):
        cases["scan jump"].training(jax.random.key(0), 10)


def test_fewer_are_found_where_fewer_will_do(cases):
    few = cases["scan"].draw(jax.random.key(0), "longer", "test", 3921, fewer=True)
    assert len({example.question for example in few}) == 3920
    assert cases["scan"].draw(jax.random.key(0), "longer", "train", 1, fewer=True) == []
    short = tasks.find("lookup", depth=2, longest=3)
    found = [e.question for e in short.training(jax.random.key(0), 2**14, fewer=True)]
    assert len(found) == len(set(found)) < 88 + 11 * 88
    assert sum(short.level(question) == 1 for question in found) == 88


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("modula", {}, "unknown task 'modula'; did you mean 'modular'"),
        ("modular", {"prim": 7}, "unknown setting of task modular 'prim'; did you mean 'prime'"),
        ("modular", {"prime": 1}, "prime must be at least 2, got 1"),
        ("modular", {"operations": ("/",)}, "operations must be some of"),
        ("addition", {"digits": 0}, r"digits must lie in \[1, 16\], got 0"),
        ("lookup", {"notation": "prefix"}, "notation must be one of"),
        ("lookup", {"depth": 10}, "depth < longest must hold"),
        ("arithmetic", {"depth": 1}, r"depth must lie in \[2, 10\], got 1"),
        ("chains", {"edges": 1}, "edges < longest"),
        ("facts", {"people": 1}, "people ≥ 2"),
        ("logic", {"kinds": ("modal",)}, "kinds must be some of"),
        ("scan", {"split_by": "around"}, "split_by must be one of"),
        ("scan", {"kept": 1.0}, r"kept must lie in \(0, 1\)"),
    ],
)
def test_bad_settings_are_refused_in_words(name, settings, message):
    with pytest.raises(ValueError, match=message):
        tasks.find(name, **settings)


def test_splits_have_their_shares_and_hashes_are_stable():
    forms = list(map(str, range(20_000)))
    shares = (0.4, 0.3, 0.2, 0.1)
    places = [splits.place(form, shares) for form in forms]
    for name, share in zip(splits.NAMES, shares, strict=True):
        error = np.sqrt(share * (1 - share) / len(forms))
        assert abs(places.count(name) / len(forms) - share) < 5 * error
    ranked = splits.rank(dict.fromkeys(forms, 1), shares, {"3", "4"})
    counts = [list(ranked.values()).count(name) for name in splits.NAMES]
    assert counts == [8000, 6000, 4000, 2000]
    assert ranked["3"] == ranked["4"] == "train"
    assert splits.share_of("57 + 88 mod 113") == 0.5426388469111103  # or old splits would leak


def test_published_figures_are_those_of_the_issue():
    assert all(
        f.task in tasks.NAMES and 0 <= f.accuracy <= 1 and f.source for f in published.FIGURES
    )
    assert all(f.stratum in tasks.find(f.task).strata for f in published.FIGURES)
    read = lambda *where: {f.model: f.accuracy for f in published.of(*where)}
    assert read("lookup", "longer", "forward") == {"LSTM": 1.0, "transformer": 0.13, "NDR": 1.0}
    assert read("lookup", "longer", "backward") == {"LSTM": 0.22, "transformer": 0.12, "NDR": 1.0}
    assert list(read("arithmetic", "deeper").values()) == [0.74, 0.47, 0.77, 0.98]
    assert read("scan", "longer", "length") == {"RNN": 0.208}
    assert published.of("chains", "longer") == ()


def test_a_task_needs_little():
    """A new task says how questions are made and what is true of them: nothing else."""

    @dataclasses.dataclass(frozen=True)
    class Parity(base.Task):
        name = "parity"
        words = ("0", "1", "?", "even", "odd")
        answer_words = ("even", "odd")
        longest_question = 12

        def compose(self, generator, stratum, count):
            most = 3 if stratum == base.UNANSWERABLE else 2
            return [" ".join(row) for row in generator.choice(self.words[:most], (count, 12))]

        def solve(self, question):
            return None if "?" in question else ("even", "odd")[question.count("1") % 2]

    task = Parity()
    for stratum, split, examples in every_stratum(task):
        assert len(examples) == COUNT
        for e, miss in zip(examples, task.near_misses(keys(1)[0], examples), strict=True):
            assert task.split(task.perturb(keys(1)[0], e.question)) == split
            assert task.check(e.question, e.answer or "even") == (stratum == "trained")
            assert not task.check(e.question, miss)
