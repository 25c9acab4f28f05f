from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.rendering import one_line
from inference_service.core.sentences import (
    LONGEST_SENTENCE_BYTES,
    WORD_RUN_BYTES,
    cut_points,
    first_words_end,
    sentence_ends,
)
from tests.support.mixed_texts import mixed_texts


def sentences(text: str) -> list[str]:
    ends = [0, *sentence_ends(text)]
    return [text[begin:end].strip() for begin, end in itertools.pairwise(ends)]


@pytest.mark.parametrize(
    "expected",
    [
        ["One.", "Two!", "Three?", "Four…", "Five"],
        ['He said "stop."', "Then (really!)", "he left."],
        ["It costs 3.50 at example.org/a.html today.", "Buy 2."],
        ["Dr. Smith met Mr. J. R. Jones, e.g. at St. Ives.", "They talked."],
        ["See Fig. 3 and No. 5.", "The answer is no.", "Next."],
        ["It was approx. five.", "In 1999.", "Done."],
        ["1. First do this.", "2. Then that."],
        ["He went to the U.S. last year.", "Fine."],
        ["今日は会いましょう。", "本当？", "はい！」", "次"],
        ["한국어 문장입니다.", "둘째 문장이다!", "셋째"],
        ["एक वाक्य है।", "दूसरा वाक्य।"],
        ["هل هذا سؤال؟", "نعم."],
        ["Wait... what?!", "Yes."],
        ["no end at all"],
    ],
)
def test_sentences(expected: list[str]) -> None:
    assert sentences(" ".join(expected)) == expected


def test_full_width_sentences_need_no_space() -> None:
    assert sentences("一。二？三！」四") == ["一。", "二？", "三！」", "四"]


def test_space_at_the_end_is_no_sentence() -> None:
    assert list(sentence_ends("One. Two.   ")) == [4, 12]
    assert list(sentence_ends("   ")) == [3]
    assert list(sentence_ends("")) == []


@given(st.text(), st.integers(1, 40))
def test_cut_points_are_ascending_and_reach_the_end(text: str, repeats: int) -> None:
    text = one_line(text) * repeats
    points = list(cut_points(text))
    assert points == sorted(set(points))
    assert points[-1:] == ([len(text)] if text else [])
    assert 0 not in points


def test_a_long_sentence_is_cut_behind_words() -> None:
    text = "Short one. " + "Word " * 400 + "end. Last one."
    points = list(cut_points(text))
    assert points[0] == len("Short one.")
    assert points[-1] == len(text)
    assert points[-2] == text.index(" Last")
    inside = points[1:-2]
    assert len(inside) >= 2_000 // WORD_RUN_BYTES
    assert all(text[point - 4 : point + 1] == "Word " for point in inside)
    assert max(b - a for a, b in itertools.pairwise(points)) <= WORD_RUN_BYTES


def test_a_sentence_of_the_longest_length_is_whole() -> None:
    text = "a" * (LONGEST_SENTENCE_BYTES - 1) + "."
    assert list(cut_points(text)) == [LONGEST_SENTENCE_BYTES]
    assert len(list(cut_points("a" + text))) > 1


@pytest.mark.parametrize("seen_as_one", ["e\u0301", "👩\u200d🚀", "👍🏽", "क्षि"])
def test_what_is_seen_as_one_character_is_not_cut(seen_as_one: str) -> None:
    text = seen_as_one * 300
    for point in cut_points(text):
        assert text[:point].endswith(seen_as_one[-1])
        assert point == len(text) or text[point] == seen_as_one[0]


def test_one_endless_character_is_cut_all_the_same() -> None:
    points = list(cut_points("a" + "\u0301" * 1_000))
    assert points[-1] == 1_001
    assert len(points) > 10


@given(st.text(min_size=1, max_size=300), st.integers(1, 64))
def test_first_words_fit_the_bytes(text: str, at_most_bytes: int) -> None:
    end = first_words_end(text, at_most_bytes)
    assert 1 <= end <= len(text)
    assert end == 1 or len(text[:end].encode()) <= at_most_bytes


def test_first_words_end_behind_a_word() -> None:
    assert first_words_end("The quick brown fox", 16) == len("The quick brown")
    assert first_words_end("The quick brown fox", 9) == len("The quick")
    assert first_words_end("Supercalifragilistic", 8) == 8
    assert first_words_end("short", 64) == 5


def test_cut_points_over_the_corpus() -> None:
    for text in mixed_texts():
        line = one_line(text)
        points = [0, *cut_points(line)]
        for begin, end in itertools.pairwise(points):
            assert end > begin
            assert len(line[begin:end].encode()) <= LONGEST_SENTENCE_BYTES


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "unit", [".", "...x", "!?", "a.", ". ", "a. ", "1. ", "Dr. ", ".)", "。", "\u0301", "👩\u200d", " "]
)
def test_hostile_texts_take_no_more_than_linear_time(unit: str) -> None:
    text = unit * (65_536 // len(unit)) + "x"
    assert list(cut_points(text))[-1] == len(text)
