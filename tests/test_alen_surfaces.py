"""Questions and arrays that are made many at once are those that are made one by one."""

import jax
import numpy as np
import pytest

from alen import tasks, tokeniser
from alen.tasks import draws, misses, surfaces
from experiments import alen_train_questions
from experiments.lab import keys

LINES = (*(f"what is {i} -> {i * i % 7}" for i in range(60)), "what is  ü ->")
CASES = {
    "modular": ("modular", {"prime": 13, "commute": True}),
    "addition": ("addition", {}),
    "addition of 16 digits": ("addition", {"digits": 16, "reverse": True}),
    "lookup": ("lookup", {}),
    "lookup backward": ("lookup", {"notation": "backward"}),
    "lookup both": ("lookup", {"notation": "both"}),
    "arithmetic": ("arithmetic", {"division": True}),
    "logic": ("logic", {}),
    "chains": ("chains", {}),
    "facts": ("facts", {"people": 20}),
    "scan": ("scan", {"split_by": "jump"}),
    "file": ("file", {"lines": LINES}),
    "file of pairs": ("file", {"lines": LINES, "tokens": "pairs", "vocabulary": 300}),
}


@pytest.fixture(scope="module", params=CASES)
def task(request):
    name, settings = CASES[request.param]
    return tasks.find(name, **settings)


def one_by_one(task, key, chosen, wordings):
    """As `alen_train_questions.reworded`, but for near misses of the usual kind: there a number
    of arrays is drawn otherwise."""
    rows = list(chosen)
    for number in range(wordings):
        source = draws.Draws(draws.generator(keys.stream(key, "wording", number)))
        rows += [e._replace(question=surface(task, source, e.question)) for e in chosen]
    key = keys.stream(key, "rows")
    source = draws.Draws(draws.generator(keys.stream(key, "near")))
    near = [task.wrong(source, task.bare(e.question), e.answer) for e in rows]
    said = [(*encoded(task, text or ""), tokeniser.EOS) for text in near]
    spans = [task.parts(e.question) for e in rows]
    most = 1 << (max(map(len, spans)) - 1).bit_length()
    return alen_train_questions.Questions(
        filled([encoded(task, e.question) for e in rows], task.question_length),
        filled(
            [(*encoded(task, e.answer), tokeniser.EOS) if e.answer else () for e in rows],
            task.answer_length,
        ),
        np.array([[*own, *[(0, 0)] * (most - len(own))] for own in spans]),
        np.zeros((len(rows), 0, task.question_length)),
        filled(said, task.answer_length),
    )


def surface(task, source, question):
    if task.name == "file":
        return task._perturbed(source, 0, question)[0]
    bare = task.rewrite(source, task.bare(question))
    every = [bare, f"please {bare}", f"{bare} now", f"please {bare} now"]
    others = [text for text in every if text.split() != question.split()]
    return source.choice(others)


def encoded(task, text):
    """By the regular expression, where there is one."""
    reader = task.tokeniser
    if isinstance(reader, tokeniser.Tokeniser):
        return [reader._ids[piece] for piece in reader._searched(text)]
    return reader.encode(text)


def filled(rows, length):
    return np.array([[*row, *[tokeniser.PAD] * (length - len(row))] for row in rows])


def test_all_at_once_is_as_one_by_one(task):
    chosen = task.training(keys.root(1), sum(task.pinned.values()) + 40, fewer=True)[-60:]
    chosen += task.draw(keys.root(2), tasks.UNANSWERABLE, "train", 20, fewer=True)
    chosen += task.draw(keys.root(3), task.strata[-2], "test", 40, fewer=True)
    found = alen_train_questions.reworded(keys.root(4), task, chosen, 2)
    assert {leaf.dtype.name for leaf in found} == {"int32"}
    expected = one_by_one(task, keys.root(4), chosen, 2)
    if type(task).wrong is surfaces.Surfaces.wrong:
        assert (found.near != found.answers).any(1).all()
        expected = expected._replace(near=found.near)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_surfaces_are_read_as_they_were_made(task):
    chosen = task.training(keys.root(1), sum(task.pinned.values()) + 40, fewer=True)[:60]
    texts, read = task.reworded(keys.root(5), task.readings([e.question for e in chosen]))
    assert read == task.readings(texts)


def test_single_draws_are_uniform():
    ours = draws.Draws(np.random.default_rng(0))
    counts = [
        np.bincount([ours.integers(6) for _ in range(6000)]),
        np.unique([ours.choice("abcdef") for _ in range(6000)], return_counts=True)[1],
        np.unique([ours.permutation(range(3)) for _ in range(6000)], axis=0, return_counts=True)[1],
        np.histogram([ours.random() for _ in range(6000)], bins=6, range=(0, 1))[0],
    ]
    for found in counts:
        np.testing.assert_allclose(found, 1000, atol=5 * np.sqrt(1000))
        assert len(found) == 6


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_near_miss_is_another_symbol_anywhere(share):
    """Every place and every other symbol, equally often; where there is no answer, the guess."""
    words, size = tuple("abcde"), 6000
    reader, numbers = tokeniser.Tokeniser(words, ""), np.random.default_rng(0)
    texts = ["".join(numbers.choice(list(words), 3)) for _ in range(size)]
    known = numbers.random(size) >= share
    answers = reader.answers([t if k else None for t, k in zip(texts, known, strict=True)], 5)
    found = misses.changed(numbers, reader, words, answers, lambda i: "ab")
    assert (found[~known] == reader.answers(["ab"], 5)).all()
    changed = found[known] != answers[known]
    assert (changed.sum(1) == 1).all()
    if known.any():
        places, per_word = changed.sum(0), np.bincount(found[known][changed])[-5:]
        assert not places[3:].any()
        for counts in (places[:3], per_word):
            share = counts / counts.sum()
            error = np.sqrt(share.mean() / counts.sum())
            np.testing.assert_allclose(share, share.mean(), atol=5 * error)


@pytest.mark.parametrize(
    ("symbols", "separator", "texts"),
    [
        ((*"0123+", "12", "now"), "", ["12+3 now", "1 2", "", " 3  12"]),  # 12 is made of letters
        ((*"0123+", "now"), "", ["12+3 now", "1\t2", "now", " 3  ", "1now2"]),
        (("a", " ", "b"), "", ["a b", "ab "]),
        (("ab", "cd"), " ", ["abcd", "ab  cd", "ab\ncd"]),
        (("1", "11", "113"), " ", ["1131 11", "11"]),
    ],
)
def test_texts_are_cut_alike_by_words_and_by_search(symbols, separator, texts):
    reader = tokeniser.Tokeniser(symbols, separator)
    pieces = [reader._searched(text) for text in texts]
    assert [reader.split(text) for text in texts] == pieces
    ids = [[reader._ids[piece] for piece in own] for own in pieces]
    np.testing.assert_array_equal(reader.batch(texts, 9), filled(ids, 9))
    np.testing.assert_array_equal(reader.batch(texts[:1], 9), filled(ids[:1], 9))
