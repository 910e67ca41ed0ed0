"""What is encoded can be read again, and what cannot be read is named."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from alen import tokeniser
from alen.tokeniser import BOS, EOS, MASK, PAD, SEP

WORDS = tokeniser.Tokeniser(("1", "11", "113", "mod", "+", "-", "->"))
DIGITS = tokeniser.Tokeniser((*"0123456789+",), separator="")


@pytest.fixture(scope="module")
def pairs():
    return tokeniser.BytePairs.learn(["the cat sat on the mat, the cat"] * 20, size=300)


def test_special_tokens_come_first():
    assert (PAD, BOS, EOS, MASK, SEP) == (0, 1, 2, 3, 4)
    assert WORDS.size == 5 + 7
    assert WORDS.encode("1") == [5]


def test_the_longest_symbol_is_taken_and_white_space_separates():
    assert WORDS.split("1131+->") == ["113", "1", "+", "->"]
    assert WORDS.split("11 3".replace("3", "1")) == ["11", "1"]
    assert WORDS.split(" 1\t1\n") == ["1", "1"]
    spaced = tokeniser.Tokeniser(("a", " "))
    assert spaced.split("a a\ta") == ["a", " ", "a", "a"]


@hypothesis.given(strategies.lists(strategies.integers(5, WORDS.size - 1), max_size=12))
def test_symbols_round_trip(ids):
    assert WORDS.encode(WORDS.decode(ids)) == ids


@hypothesis.given(strategies.text("0123456789+", max_size=12))
def test_text_without_spaces_round_trips(text):
    assert DIGITS.decode(DIGITS.encode(text)) == text


@hypothesis.given(strategies.text(max_size=12))
def test_bytes_read_everything(text):
    hypothesis.assume(not any("\ud800" <= character <= "\udfff" for character in text))
    reader = tokeniser.Bytes()
    assert reader.decode(reader.encode(text)) == text
    assert all(5 <= token < reader.size == 261 for token in reader.encode(text))


def test_rows_are_padded_and_answers_end():
    questions = WORDS.batch(["1 + 11", "", "mod"], 4)
    np.testing.assert_array_equal(questions, [[5, 9, 6, 0], [0, 0, 0, 0], [8, 0, 0, 0]])
    answers = WORDS.answers(["11", None, ""], 2)
    np.testing.assert_array_equal(answers, [[6, EOS], [PAD, PAD], [EOS, PAD]])
    assert questions.dtype == answers.dtype == np.int32
    assert WORDS.batch([], 3).shape == (0, 3)


def test_decoding_stops_at_the_end():
    assert WORDS.decode(np.array([BOS, 5, MASK, 6, EOS, 7, PAD])) == "1 <mask> 11"
    assert tokeniser.Bytes().decode([BOS, 70, EOS, 71]) == "A"
    assert tokeniser.Bytes().decode([5 + 0xC3]) == "\ufffd"


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="cannot read '2x'"):
        WORDS.encode("1 + 2x")
    with pytest.raises(ValueError, match="at most 2 tokens, got 3: '1 1 1'"):
        WORDS.batch(["1", "1 1 1"], 2)
    with pytest.raises(ValueError, match="at most 1 tokens, got 2: '1'"):
        WORDS.answers(["1"], 1)
    for symbols in (("a", "a"), (), ("",)):
        with pytest.raises(ValueError, match="symbols must be different"):
            tokeniser.Tokeniser(symbols)
    with pytest.raises(ValueError, match="size must be at least 261"):
        tokeniser.BytePairs.learn(["a"], 100)


def test_byte_pairs_merge_what_is_frequent_and_read_everything(pairs):
    assert 261 < pairs.size <= 300
    assert len(pairs.encode("the cat")) < len("the cat")
    for text in ("the cat sat", " the  mat ", "Grüße, 世界 → ∀x"):
        assert pairs.decode(pairs.encode(text)) == text
        assert min(pairs.encode(text)) > SEP
    learnt_again = tokeniser.BytePairs.learn(["the cat sat on the mat, the cat"] * 20, size=300)
    assert learnt_again == pairs
    assert pairs.answers(["the"], 8)[0, len(pairs.encode("the"))] == EOS
