"""Plain text as a document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from search_service.adapters.document_text import join_wrapped
from search_service.core.chunking import Document, Paragraph

_WRAPPED_CHARACTERS: Final = 45
"""A line at least this long that another follows was wrapped by an editor; a shorter one ended on purpose."""
_OWN_LINE: Final = re.compile(r"\s|[-*+•·|#>]|\d{1,3}[.)]\s")
"""Starts of lines that stand for themselves: indented, list items, tables, comments."""


def read(text: str) -> Document:
    """Paragraphs between empty lines. Plain text has no title."""
    paragraphs = (paragraph.strip("\n") for paragraph in re.split(r"\n(?:[ \t]*\n)+", text))
    return Document("", tuple(Paragraph("\n".join(_unwrapped(p))) for p in paragraphs if p.strip()))


def _unwrapped(paragraph: str) -> Iterator[str]:
    """The paragraph's lines, those that were wrapped joined again."""
    wrapped: list[str] = []
    for line in paragraph.split("\n"):
        if wrapped and (len(wrapped[-1]) < _WRAPPED_CHARACTERS or _OWN_LINE.match(line)):
            yield _indentation(wrapped[0]) + join_wrapped(wrapped)
            wrapped = []
        wrapped.append(line)
    yield _indentation(wrapped[0]) + join_wrapped(wrapped)


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
