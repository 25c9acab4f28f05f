from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.sentences import split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Really?! Yes.", ["Really?!", "Yes."]),
        (
            "It costs 3.50 in v2.0.1. See a.b.example.org. Done.",
            ["It costs 3.50 in v2.0.1.", "See a.b.example.org.", "Done."],
        ),
        ("Mr. Lee met Prof. Kim. They talked.", ["Mr. Lee met Prof. Kim.", "They talked."]),
        ("See No. 5 and Fig. 2. No. That is all.", ["See No. 5 and Fig. 2.", "No.", "That is all."]),
        (
            "Apples, pears, etc. are fruit. Nuts etc. Then more.",
            ["Apples, pears, etc. are fruit.", "Nuts etc.", "Then more."],
        ),
        ("It is 5 p.m. now. At 6 p.m. He left.", ["It is 5 p.m. now.", "At 6 p.m.", "He left."]),
        ("In the U.S. Senate it passed.", ["In the U.S. Senate it passed."]),
        ("C. S. Lewis wrote. Read.", ["C. S. Lewis wrote.", "Read."]),
        ("Well... maybe. Well... No.", ["Well... maybe.", "Well...", "No."]),
        ("He said “Stop.” Then he went.", ["He said “Stop.”", "Then he went."]),
        ("(It is so.) Yes.", ["(It is so.)", "Yes."]),
        ("A line\nanother line", ["A line", "another line"]),
        ("* one\n* two\n> three", ["one", "two", "three"]),
        ("1. one\n2) two\na) three", ["one", "two", "three"]),
        ("東京です。大阪？はい！", ["東京です。", "大阪？", "はい！"]),
        ("서울이다.부산이다. 끝.", ["서울이다.", "부산이다.", "끝."]),
        ("नीला है। बड़ा है।", ["नीला है।", "बड़ा है।"]),
        ("هل هو أزرق؟ نعم.", ["هل هو أزرق؟", "نعم."]),
        ("", []),
        (" ...\n-- ", []),
    ],
)
def test_where_sentences_end(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@given(st.text())
def test_sentences_are_pieces_of_the_text_in_order(text: str) -> None:
    at = 0
    for sentence in split_sentences(text):
        assert any(character.isalnum() or not character.isascii() for character in sentence)
        at = text.index(sentence, at) + len(sentence)
