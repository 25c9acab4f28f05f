"""How sources and a question become the text of a user message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from inference_service.core.types import Document, DocumentUse

GROUNDING_INSTRUCTIONS = (
    "You are a search assistant. Answer the question using only the numbered sources below, in the language of the "
    "question. Cite every sentence with its source number in square brackets, like [1]. If the sources do not answer "
    "the question, reply exactly: The sources do not answer this question."
)
"""The system message where documents are given and the caller wrote none."""

SOURCE_SEPARATOR = "\n\n"

_LINE_BREAKS_AND_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MARKER = re.compile(r"\[(\s*\d[\s\d,;\u060c\u3001\uff0c\uff1b\u2013\u2014-]*)\]")


def one_line(text: str) -> str:
    """Return `text` such that it can neither begin a line of its own nor cite a source.

    Two replacements, in this order, and nothing else (no trimming, no collapsing):

    1. Every character of U+0000-U+001F, U+007F-U+009F, U+2028 and U+2029 (all that Unicode breaks lines at, and all
       controls) becomes one space: `[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]` to `" "`.
    2. Square brackets that hold only digits (of any script), white space, commas, semicolons and dashes, a digit
       first, become round ones: `\\[(\\s*\\d[\\s\\d,;،、，；–—-]*)\\]` to `(\\1)`. So `[1]`, `[ 1, 2 ]`, `[1-3]` and
       `[١]` are markers; `[a1]`, `[]` and `[1.5]` are not.

    The number of characters stays the same, and the result is a fixed point. The gateway holds the same rule, so that
    the text it reports for a source is the text that is offered to the model.
    """
    return _MARKER.sub(r"(\1)", _LINE_BREAKS_AND_CONTROLS.sub(" ", text))


def sources_heading(question: str) -> str:
    """Return what stands before the first source."""
    return f"Question: {question}\n\nSources:\n"


@dataclass(frozen=True, slots=True)
class Sources:
    """Documents as they are rendered, numbered from 1."""

    headings: tuple[str, ...]
    """`[number] title (host)` and a line end; without the host where there is none."""
    texts: tuple[str, ...]

    @classmethod
    def of(cls, documents: Sequence[Document]) -> Sources:
        """Render `documents`."""
        return cls(
            headings=tuple(_heading(number, document) for number, document in enumerate(documents, start=1)),
            texts=tuple(one_line(document.text) for document in documents),
        )

    def user_content(self, question: str, ends: Sequence[int] | None = None) -> str:
        """Return the last user message: the question as it is, or with the sources behind it.

        `ends` are the offsets at which the first documents are cut; the others are left out. None: all are whole.
        """
        if not self.texts:
            return question
        shown = [
            heading + text[:end]
            for heading, text, end in zip(self.headings, self.texts, self._ends(ends), strict=False)
        ]
        return sources_heading(question) + SOURCE_SEPARATOR.join(shown)

    def uses(self, ends: Sequence[int] | None = None) -> tuple[DocumentUse, ...]:
        """Return what became of the documents in `user_content` with the same `ends`."""
        return tuple(
            DocumentUse(number, cut=end < len(text), text_bytes=len(text[:end].encode()))
            for number, (text, end) in enumerate(zip(self.texts, self._ends(ends), strict=False), start=1)
        )

    def _ends(self, ends: Sequence[int] | None) -> Sequence[int]:
        return [len(text) for text in self.texts] if ends is None else ends


def _heading(number: int, document: Document) -> str:
    host = f" ({one_line(document.host)})" if document.host else ""
    return f"[{number}] {one_line(document.title)}{host}\n"
