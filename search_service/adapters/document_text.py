"""From a file's bytes to clean text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from typing import Final

from charset_normalizer import from_bytes

_SAMPLE_BYTES: Final = 64 * 1024
"""Of a file in an unknown encoding; enough to tell it, and bounded."""
_BINARY_SAMPLE_BYTES: Final = 8 * 1024

# UTF-32's mark begins with UTF-16's.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED_CHARSET: Final = re.compile(rb"""(?i)<meta[^>]{0,200}charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""")

_LINE_ENDS: Final = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""Control characters, bidirectional marks and overrides, and invisible characters that hide inside words."""
_UNSPACED: Final = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")


class Unreadable(Exception):
    """The file holds no text. The message is why, in a few words."""


def decode(data: bytes, *, is_html: bool = False) -> str:
    """Text by its byte order mark, as UTF-8, as the HTML declares, or as it looks.

    Raises Unreadable for binary data.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace").removeprefix("\ufeff")
    if b"\0" in data[:_BINARY_SAMPLE_BYTES]:
        raise Unreadable("binary")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    if is_html and (declared := _DECLARED_CHARSET.search(data[:4096])):
        try:
            return data.decode(declared[1].decode("ascii"))
        except (LookupError, ValueError):  # an unknown name, or bytes that are not in it
            pass
    best = from_bytes(data[:_SAMPLE_BYTES]).best()
    if best is None:
        raise Unreadable("binary")
    return data.decode(best.encoding, errors="replace")


def clean_text(text: str) -> str:
    r"""Text with \n as its only line end and without control, bidirectional and invisible characters."""
    return _UNSAFE.sub("", _LINE_ENDS.sub("\n", text))


def join_wrapped(lines: Iterable[str]) -> str:
    """Wrapped lines as one: with a space between, unless both sides are of a script that writes none."""
    parts: list[str] = []
    for line in filter(None, map(str.strip, lines)):
        if parts and not (_UNSPACED.match(parts[-1][-1]) and _UNSPACED.match(line[0])):
            parts.append(" ")
        parts.append(line)
    return "".join(parts)
