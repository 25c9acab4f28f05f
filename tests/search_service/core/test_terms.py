"""Terms: what the index holds."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_service.core.terms import MAX_TERM_CHARACTERS, index_terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Café, CAFE\u0301 and cafe", ["cafe", "cafe", "and", "cafe"]),
        ("ＡＢＣ１２ ﾃﾞｰﾀ", ["abc12", "デ", "ー", "タ", "デー", "ータ"]),
        ("GROUNDWIRE_INDEX_PATH=/x", ["groundwir", "index", "path", "x"]),
        ("127.0.0.1:50051", ["127", "0", "0", "1", "50051"]),
        ("서울에서", ["서", "울", "에", "서", "서울", "울에", "에서"]),
        ("GPU를", ["gpu", "를"]),
        ("東京", ["東", "京", "東京"]),
        ("STRASSE straße", ["strass", "strass"]),
        ("Йод йод", ["иод", "иод"]),
        ("إِسْلَام", ["اسلام"]),
        ("हिन्दी", ["हिनदी"]),
        ("", []),
        ("… — 🙂 \x00", []),
    ],
)
def test_text_gives_folded_words_and_pairs(text: str, expected: list[str]) -> None:
    assert list(index_terms(text)) == expected


def test_hangul_in_two_spellings_gives_the_same_terms() -> None:
    decomposed = "\u1109\u1165\u110b\u116e\u11af"
    assert list(index_terms(decomposed)) == list(index_terms("서울"))


def test_a_long_word_is_cut() -> None:
    assert [len(term) for term in index_terms("x9" * 500)] == [MAX_TERM_CHARACTERS]


@given(st.text())
def test_no_term_holds_white_space_ascii_marks_or_surrogates(text: str) -> None:
    for term in index_terms(text):
        assert term
        assert not re.search(r"[\s\x00-\x2f\x3a-\x60\x7b-\x7f\ud800-\udfff]", term)
        term.encode()
