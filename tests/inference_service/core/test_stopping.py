from __future__ import annotations

import itertools
import time
from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inference_service.core.stopping import TextAssembler
from tests.support.mixed_texts import mixed_texts


def run(tokens: Iterable[bytes], stop: tuple[str, ...] = (), *, strip: bool = False) -> tuple[list[str], str | None]:
    """The texts as they are sent, the flushed one last, and the stop string."""
    assembler = TextAssembler(stop, strip_leading_space=strip)
    sent = []
    for token in tokens:
        sent.append(assembler.push(token))
        if assembler.matched is not None:
            break
    return [*sent, assembler.flush()], assembler.matched


def cut(raw: bytes, borders: list[int]) -> list[bytes]:
    points = [0, *sorted(min(border, len(raw)) for border in borders), len(raw)]
    return [raw[begin:end] for begin, end in itertools.pairwise(points)]


# Text


def test_a_character_split_over_tokens_is_held_until_whole() -> None:
    assert run([b"a\xf0", b"\x9f\x91", b"\x8d", b"b"]) == (["a", "", "👍", "b", ""], None)


def test_an_incomplete_character_at_the_end_is_replaced() -> None:
    assert run([b"a", b"\xe4\xbd"]) == (["a", "", "\ufffd"], None)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ([b"a\xffb"], "a\ufffdb"),
        ([b"\xc3", b"("], "\ufffd("),
        ([b"\xf0\x9f", b"x"], "\ufffdx"),
        ([b"\x80", b"\x80"], "\ufffd\ufffd"),
        ([b"\xed\xa0\x80"], "\ufffd\ufffd\ufffd"),
        ([b"\xc0\xaf"], "\ufffd\ufffd"),
    ],
)
def test_bytes_that_are_no_utf8_are_replaced(tokens: list[bytes], text: str) -> None:
    assert "".join(run(tokens)[0]) == text


@given(st.text(), st.lists(st.integers(0, 60)))
def test_text_arrives_whole_however_it_is_split(text: str, borders: list[int]) -> None:
    sent, _ = run(cut(text.encode(), borders))
    assert "".join(sent) == text
    for piece in sent:
        piece.encode()  # raises for half a character


@given(st.binary(), st.lists(st.integers(0, 60)))
def test_any_bytes_give_the_same_text_however_they_are_split(raw: bytes, borders: list[int]) -> None:
    assert "".join(run(cut(raw, borders))[0]) == raw.decode(errors="replace")


def test_text_without_a_possible_stop_is_not_delayed() -> None:
    assert run([b"One", b" two", b" three"], ("four",))[0] == ["One", " two", " three", ""]


# The leading space


def test_the_leading_space_of_an_answer_is_dropped_once() -> None:
    assert run([b" Hello", b" world"], strip=True)[0] == ["Hello", " world", ""]
    assert run([b"  Hello"], strip=True)[0] == [" Hello", ""]
    assert run([b" ", b" x"], strip=True)[0] == ["", " x", ""]
    assert run([b"", b" x"], strip=True)[0] == ["", "x", ""]
    assert run([b"\n", b" x"], strip=True)[0] == ["\n", " x", ""]
    assert run([b" Hello"])[0] == [" Hello", ""]


def test_the_leading_space_is_dropped_before_stop_strings_are_looked_for() -> None:
    assert run([b" ", b"STOP"], ("STOP",), strip=True) == (["", "", ""], "STOP")
    assert run([b" x"], (" x",), strip=True) == (["x", ""], None)


# Stop strings


def test_a_stop_string_over_token_borders_never_leaks() -> None:
    assert run([b"Hi S", b"TO", b"P more"], ("STOP",)) == (["Hi ", "", "", ""], "STOP")


def test_what_was_held_back_is_sent_when_it_is_no_stop_string() -> None:
    assert run([b"Hi S", b"TO", b"RY"], ("STOP",)) == (["Hi ", "", "STORY", ""], None)
    assert run([b"Hi ST"], ("STOP",)) == (["Hi ", "ST"], None)


def test_nothing_follows_a_stop_string() -> None:
    assembler = TextAssembler(("b",))
    assert assembler.push(b"abc") == "a"
    assert assembler.matched == "b"
    assert assembler.push(b"def") == ""
    assert assembler.flush() == ""


@pytest.mark.parametrize(
    ("stop", "text", "sent", "matched"),
    [
        (("c", "b"), "abcd", "a", "b"),
        (("abcd", "bc"), "xabcd", "xa", "bc"),  # complete first, though it begins later
        (("ab", "abc"), "xabc", "x", "ab"),  # complete first
        (("c", "bc", "abc"), "xabc", "x", "abc"),  # complete together: the longest
        (("aab",), "aaaab", "aa", "aab"),
        (("abab", "bb"), "ababb", "", "abab"),
        (("\n\n",), "a\n\n\nb", "a", "\n\n"),
        (("👍",), "ok 👍 no", "ok ", "👍"),
        (("\ufffd",), "a\ufffdb", "a", "\ufffd"),
    ],
)
def test_which_stop_string_wins(stop: tuple[str, ...], text: str, sent: str, matched: str) -> None:
    raw = text.encode()
    for size in (1, 2, 3, len(raw)):
        pieces, found = run([raw[at : at + size] for at in range(0, len(raw), size)], stop)
        assert ("".join(pieces), found) == (sent, matched)


def test_a_stop_string_may_be_completed_by_the_flush() -> None:
    assert run([b"a", b"\xf0\x9f"], ("\ufffd",)) == (["a", "", ""], "\ufffd")


def first_complete(text: str, stop: tuple[str, ...]) -> tuple[str, str | None]:
    """The specification, a character at a time."""
    for end in range(1, len(text) + 1):
        ending = [one for one in stop if text[:end].endswith(one)]
        if ending:
            longest = max(ending, key=len)
            return text[: end - len(longest)], longest
    return text, None


SMALL = st.text(alphabet="ab é👍", max_size=40)


@settings(max_examples=500)
@given(
    SMALL,
    st.lists(st.text(alphabet="ab é👍", min_size=1, max_size=6), max_size=8),
    st.lists(st.integers(0, 100), max_size=20),
)
@example("aaaab", ["aab"], [1, 2, 3, 4])
def test_the_outcome_does_not_depend_on_the_tokens(text: str, stop: list[str], borders: list[int]) -> None:
    pieces, matched = run(cut(text.encode(), borders), tuple(stop))
    assert ("".join(pieces), matched) == first_complete(text, tuple(stop))


@given(SMALL, st.lists(st.text(alphabet="ab é👍", min_size=1, max_size=6), min_size=1, max_size=4))
def test_no_more_is_held_back_than_may_become_a_stop_string(text: str, stop: list[str]) -> None:
    assembler = TextAssembler(tuple(stop))
    sent = ""
    for end, character in enumerate(text, start=1):
        sent += assembler.push(character.encode())
        if assembler.matched is not None:
            break
        held = text[len(sent) : end]
        assert sent + held == text[:end]
        assert held == "" or any(one.startswith(held) for one in stop)


def test_the_corpus_arrives_unchanged_byte_by_byte() -> None:
    for text in list(mixed_texts())[:400]:
        raw = text.encode()
        assert "".join(run([raw[at : at + 1] for at in range(len(raw))], ("<no such stop>",))[0]) == text


def test_a_token_costs_the_same_late_as_early() -> None:
    assembler = TextAssembler(tuple("a" * 63 + end for end in "bcdefghi"))

    def seconds(tokens: int) -> float:
        began = time.perf_counter()
        for _ in range(tokens):
            assembler.push(b"aaaa")
        return time.perf_counter() - began

    seconds(100)
    early = min(seconds(200) for _ in range(5))
    seconds(20_000)
    assert min(seconds(200) for _ in range(5)) < early * 30  # rescanning what was said would make it a hundred times
