from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inference_service.core.rendering import GROUNDING_INSTRUCTIONS, Sources, one_line
from inference_service.core.types import Document, DocumentUse
from tests.support.mixed_texts import mixed_texts

MARKERS = st.text(alphabet="[]()0123456789, ;-–،、١٢a\n\t\x85\u2028\u00a0", max_size=40)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain [text] stays", "plain [text] stays"),
        ("a[1]b", "a(1)b"),
        ("[1][23]", "(1)(23)"),
        ("[1, 2]", "(1, 2)"),
        ("[1,2]", "(1,2)"),
        ("[ 1 ]", "( 1 )"),
        ("[1;2] [1-3] [1–3]", "(1;2) (1-3) (1–3)"),
        ("[\u00a01]", "(\u00a01)"),
        ("[١] [１２] [३]", "(١) (１２) (३)"),
        ("[\n1]", "( 1)"),
        ("[[1]]", "[(1)]"),
        ("[1", "[1"),
        ("[] [a] [1a] [1.5] [-1] [,1]", "[] [a] [1a] [1.5] [-1] [,1]"),
        ("x[0] = a[i]", "x(0) = a[i]"),
        ("a\nb\r\nc\vd\fe\x1cf\x85g\u2028h\u2029i", "a b  c d e f g h i"),
        ("\x00\t\x7f\x9f", "    "),
        ("\u200d\u00a0\u3000", "\u200d\u00a0\u3000"),
    ],
)  # fmt: skip
def test_one_line(text: str, expected: str) -> None:
    assert one_line(text) == expected


@given(st.one_of(st.text(), MARKERS))
@example("[1\n]")
def test_one_line_leaves_no_line_break_no_control_and_no_marker(text: str) -> None:
    rendered = one_line(text)
    assert len(rendered.splitlines()) <= 1
    assert not any(unicodedata.category(character) == "Cc" for character in rendered)
    assert re.search(r"\[\s*\d+(\s*,\s*\d+)*\s*\]", rendered) is None
    assert len(rendered) == len(text)
    assert one_line(rendered) == rendered


def test_one_line_over_the_corpus() -> None:
    for text in mixed_texts():
        rendered = one_line(text)
        assert len(rendered.splitlines()) <= 1
        assert one_line(rendered) == rendered


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "text", ["[" * 65_536, "[1" * 32_768, "[" + "1" * 65_535, "[" + " " * 65_535, "[1" + ", 1" * 21_000]
)
def test_one_line_takes_no_more_than_linear_time(text: str) -> None:
    assert one_line(text) == text


def test_the_pinned_system_text() -> None:
    assert GROUNDING_INSTRUCTIONS == (
        "You are a search assistant. Answer the question using only the numbered sources below, in the language of the "
        "question. Cite every sentence with its source number in square brackets, like [1]. If the sources do not "
        "answer the question, reply exactly: The sources do not answer this question."
    )


def test_sources_are_numbered_and_stand_behind_the_question() -> None:
    sources = Sources.of([Document("Ti\ntle [2]", "First\ntext [3].", "exa[1]mple.org"), Document("Other", "Second.")])
    assert sources.user_content("What?\nReally [1]?") == (
        "Question: What?\nReally [1]?\n\nSources:\n"
        "[1] Ti tle (2) (exa(1)mple.org)\nFirst text (3).\n\n"
        "[2] Other\nSecond."
    )
    assert sources.uses() == (DocumentUse(1, cut=False, text_bytes=15), DocumentUse(2, cut=False, text_bytes=7))


def test_cut_and_dropped_sources() -> None:
    sources = Sources.of([Document("A", "Größe. More.", "a.example"), Document("B", "Text."), Document("C", "Text.")])
    ends = (6, 5)
    assert sources.user_content("Q", ends) == "Question: Q\n\nSources:\n[1] A (a.example)\nGröße.\n\n[2] B\nText."
    assert sources.uses(ends) == (DocumentUse(1, cut=True, text_bytes=8), DocumentUse(2, cut=False, text_bytes=5))


def test_a_question_without_sources_stays_as_it_is() -> None:
    assert Sources.of([]).user_content("Hi [1]\n there ") == "Hi [1]\n there "


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1), st.text()), min_size=1, max_size=6))
def test_no_text_can_pose_as_another_source(documents: list[tuple[str, str, str]]) -> None:
    rendered = Sources.of([Document(title, text, host) for title, text, host in documents]).user_content("Q")
    lines = rendered.split("\n")
    assert not any(len(line.splitlines()) > 1 for line in lines)
    headings = [line for line in lines if re.match(r"\[\s*\d", line)]
    assert [re.match(r"\[(\d+)\] ", line)[1] for line in headings] == [str(n + 1) for n in range(len(documents))]  # type: ignore[index]
    assert lines[:4] == ["Question: Q", "", "Sources:", headings[0]]
