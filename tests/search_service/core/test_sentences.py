"""Sentences in any script."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_service.core.sentences import split_sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["One.", "Two!", "Three?", "Four"],
        ["Dr. Smith met Mr. J. R. Jones, e.g. on Monday.", "They talked."],
        ["It costs 3.14 dollars in v1.2.3 of setup.py.", "Good."],
        ["See Fig. 2 and No. 5.", "No.", "It is not."],
        ["Cats, dogs, etc. are animals.", "Birds, etc.", "They fly."],
        ['"Really?" he said.', "She nodded (twice.)", "Then…", "Nothing."],
        ["Wait ... what?", "Yes."],
        ["The U.S. Navy sails."],
        ["1. First do this.", "Then that."],
        ["서울은 수도입니다.", "부산은 항구입니다.", "정말요?", "네"],
        ["東京は首都です。", "「そうですか？」", "はい！", "终于。"],
        ["我喜欢。", "你呢？", "好"],
    ],
)
def test_joined_sentences_come_apart_again(sentences: list[str]) -> None:
    separator = "" if any("\u3040" <= c <= "\u30ff" or c == "。" for c in "".join(sentences)) else " "
    assert split_sentences(separator.join(sentences)) == sentences


def test_a_line_end_ends_a_sentence() -> None:
    assert split_sentences("a | b\n1 | 2\n\n  x = 1") == ["a | b", "1 | 2", "x = 1"]


@given(st.text())
def test_nothing_but_white_space_is_lost(text: str) -> None:
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())


@pytest.mark.parametrize("text", ["." * 500_000, ". " * 200_000, "A. " * 200_000, "1. " * 200_000, "。" * 300_000])
def test_splitting_takes_time_in_proportion_to_the_text(text: str) -> None:
    started = time.monotonic()
    split_sentences(text)
    assert time.monotonic() - started < 20  # in proportion to its square it would be minutes
