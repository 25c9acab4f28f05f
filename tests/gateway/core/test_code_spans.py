from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.code_spans import CodeScanner, Kind

TEXTS = st.lists(st.sampled_from(["`", "``", "```", "~", "~~~", "\n", " ", "a", "b c", "é\r\n"]), max_size=30).map(
    "".join
)


def code_of(text: str) -> list[str]:
    scanner = CodeScanner()
    pieces = [*scanner.feed(text), *scanner.finish()]
    assert "".join(piece for piece, _ in pieces) == text
    return [piece for piece, kind in pieces if kind is not Kind.PROSE]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("no code", []),
        ("a `b` c", ["`b`"]),
        ("`a` ``b ` c`` d", ["`a`", "``b ` c``"]),
        ("a ` b", []),
        ("a `b\nc` d", []),
        ("a ``b` c", []),
        ("a `` b `c`", ["`c`"]),
        ("```\na\n```\nb", ["```\na\n```\n"]),
        ("  ```py\na\n  ```  \nb", ["```py\na\n  ```  \n"]),
        ("````\n```\n````\nb", ["````\n```\n````\n"]),
        ("~~~\n```\n~~~\nb `c`", ["~~~\n```\n~~~\n", "`c`"]),
        ("a ```b``` c", ["```b```"]),
        ("```b``` c", ["```b```"]),
        ("a ~~~ b", []),
        ("so: ```py\na\n```\nb", ["```py\na\n```\n"]),
        ("so ``` is\nb", []),
        ("~~ a", []),
        ("```\nnever closed", ["```\nnever closed"]),
    ],
)
def test_what_is_code(text: str, code: list[str]) -> None:
    assert code_of(text) == code


@given(TEXTS)
def test_nothing_is_lost_and_cuts_do_not_matter(text: str) -> None:
    def kinds(pieces: list[str]) -> list[tuple[str, Kind]]:
        scanner = CodeScanner()
        found = [piece for text in pieces for piece in scanner.feed(text)] + scanner.finish()
        return [(character, kind) for piece, kind in found for character in piece]

    whole = kinds([text])
    assert "".join(character for character, _ in whole) == text
    assert kinds(list(text)) == whole
