"""Snippets: the best sentences of a passage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_service.core.sentences import split_sentences
from search_service.core.snippets import best_snippet

FILLER = "Nothing of interest is told by this sentence, which is only here to be passed over by the reader."


def snippet(text: str, *terms: str, max_characters: int = 600) -> str:
    return best_snippet(text, dict.fromkeys(terms, 1.0), max_characters=max_characters)


def test_the_sentences_that_hold_the_terms_are_chosen() -> None:
    text = f"{FILLER} {FILLER} {FILLER} {FILLER} The gateway listens on port 50051. {FILLER} {FILLER} {FILLER} {FILLER}"
    found = snippet(text, "gateway", "port", max_characters=200)
    assert "The gateway listens on port 50051." in found
    assert len(found) <= 200


def test_terms_in_neighbouring_sentences_are_shown_together() -> None:
    text = f"The port is open. {FILLER} {FILLER} The gateway starts. Then it opens its port. {FILLER}"
    assert snippet(text, "gateway", "port", max_characters=60) == "The gateway starts. Then it opens its port."


def test_sentences_are_whole_and_in_order() -> None:
    text = " ".join(f"Sentence number {n} tells of batch {n % 3}." for n in range(30))
    sentences = split_sentences(text)
    shown = split_sentences(snippet(text, "batch", max_characters=150))
    start = sentences.index(shown[0])
    assert shown == sentences[start : start + len(shown)]
    assert len(shown) > 1


def test_a_rare_term_counts_more_than_a_common_one() -> None:
    text = f"The service starts a service. {FILLER} {FILLER} Quota is spent. {FILLER}"
    weights = {"servic": 0.2, "quota": 4.0}
    assert "Quota is spent." in best_snippet(text, weights, max_characters=40)


def test_without_any_term_the_beginning_is_shown() -> None:
    assert snippet(f"First things first. {FILLER}", "zebra", max_characters=40) == "First things first."


def test_a_sentence_that_is_too_long_is_cut_around_the_term() -> None:
    text = "word " * 300 + "needle " + "word " * 300
    found = snippet(text, "needl", max_characters=120)
    assert "needle" in found
    assert found.startswith("…")
    assert found.endswith("…")
    assert len(found) <= 120


def test_a_long_text_without_spaces_is_cut_around_the_term() -> None:
    found = snippet("あ" * 900 + "東京" + "あ" * 900, "東京", max_characters=100)
    assert "東京" in found
    assert len(found) <= 100


@pytest.mark.parametrize(
    ("text", "term", "expected"),
    [
        ("부산은 항구입니다. 서울에서 만납시다. 비가 옵니다.", "서울", "서울에서 만납시다."),
        ("雨が降る。東京は首都です。風が吹く。", "東京", "東京は首都です。"),
        ("今天下雨。北京是首都。明天刮风。", "北京", "北京是首都。"),
    ],
)
def test_scripts_without_spaces(text: str, term: str, expected: str) -> None:
    assert snippet(text, term, max_characters=len(expected)) == expected


@given(st.text(max_size=2_000), st.lists(st.text(min_size=1, max_size=5), max_size=5), st.integers(20, 300))
def test_any_text_gives_one_bounded_line(text: str, terms: list[str], max_characters: int) -> None:
    found = snippet(text, *terms, max_characters=max_characters)
    assert len(found) <= max_characters
    assert len(found.splitlines()) <= 1
