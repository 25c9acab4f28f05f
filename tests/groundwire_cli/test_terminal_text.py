from __future__ import annotations

import itertools
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from groundwire_cli.terminal_text import TextCleaner, link_target, printable, printable_line

HOSTILE = st.text(alphabet=st.sampled_from("\x1b[]m;0123 \\\x07\x9b\x9d\x9cabP\r\n\t\u202e한"), max_size=60)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Hcleared", "cleared"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\", "click"),
        ("\x9b31mC1", "C1"),
        ("\x9d0;title\x9ctext", "text"),
        ("\x1bP1$tx\x1b\\dcs", "dcs"),
        ("\x1b(0lqk", "lqk"),
        ("\x1b7saved\x1b8", "saved"),
        ("\x1bcreset", "reset"),
        ("over\rwritten", "overwritten"),
        ("line\r\nline", "line\nline"),
        ("a\tb\nc", "a\tb\nc"),
        ("bell\x07 null\x00 delete\x7f", "bell null delete"),
        ("evil\u202egnp.exe\u202c", "evilgnp.exe"),
        ("separator\u2028here", "separator\nhere"),
        ("한국어 日本語 👩‍👩‍👧 é", "한국어 日本語 👩‍👩‍👧 é"),
        ("\x1b", ""),
        ("end\x1b[", "end["),
        ("unfinished \x1b]0;never ends", "unfinished ]0;never ends"),
    ],
)
def test_printable(raw: str, shown: str) -> None:
    assert printable(raw) == shown


def test_an_endless_control_string_hides_no_text() -> None:
    assert printable("\x1b]0;" + "x" * 5000) == "]0;" + "x" * 5000


def test_a_link_that_is_no_unicode_is_shown_all_the_same() -> None:
    assert link_target("https://example.org/\udcab") == "https://example.org/?"


def test_a_line_has_no_line_end() -> None:
    assert printable_line("  two\n\nlines\tand \x1b[1mmore ") == "two lines and more"


@given(HOSTILE)
def test_nothing_that_a_terminal_acts_on_is_left(raw: str) -> None:
    shown = printable(raw)
    assert all(unicodedata.category(character) != "Cc" or character in "\n\t" for character in shown)
    assert "\u202e" not in shown


@given(HOSTILE, st.lists(st.integers(min_value=0, max_value=60), max_size=6))
@example("0\x1b\x9d\x070", [4])  # what remains of a broken escape must not join what follows a whole one
def test_pieces_give_the_same_as_the_whole(raw: str, cuts: list[int]) -> None:
    cleaner = TextCleaner()
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    pieces = [raw[start:end] for start, end in itertools.pairwise(edges)]
    assert "".join([*(cleaner.feed(piece) for piece in pieces), cleaner.flush()]) == printable(raw)


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=40))
def test_ordinary_text_is_never_held_back(piece: str) -> None:
    assert TextCleaner().feed(piece) == piece


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.org/a?b=c#d", "https://example.org/a?b=c#d"),
        ("https://example.org/한", "https://example.org/%ED%95%9C"),
        ("https://example.org/\x1b\\\x07", "https://example.org/%1B%5C%07"),
        ("javascript:alert(1)", None),
        ("file:///etc/passwd", None),
        ("", None),
    ],
)
def test_link_target(url: str, target: str | None) -> None:
    assert link_target(url) == target
