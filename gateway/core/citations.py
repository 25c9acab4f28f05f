"""Reads citations out of an answer while it streams.

A marker is a number of 1 to 3 digits in square brackets, or several with commas between: [1], [1, 2], [ 3 ]; digits of
any script count. [0] and numbers beyond the sources are citations too, unresolved ones. What stands in code is no
marker (see code_spans), nor is anything with a line break in it. `[1](https://…)` is a marker: the model cited, and
whether an address follows is not known when the bracket closes. A JSON answer's arrays of small numbers look
like markers as well.

The claim of a marker is the last sentence that has text before it. Where the sentence is not over yet ("… text [1]."),
the claim ends with the text before the marker: an event is never held back for a period that may still come.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from gateway.core.code_spans import CodeScanner, Kind, Piece
from gateway.core.events import Citation, CitationCounts
from gateway.core.prompt import says_not_in_sources
from gateway.core.sentences import LINE_ENDS, Sentence, SentenceTracker, utf8_size

MARKER: Final = re.compile(r"\[\s*\d{1,3}(?:\s*,\s*\d{1,3})*\s*\]")
"""A marker in prose."""

_NUMBER: Final = re.compile(r"\d+")

_MAX_MARKER: Final = 128
"""Characters of the longest marker: some 25 numbers. Beyond it a bracket is text."""


class CitationParser:
    """Feed it the answer's deltas. The citations do not depend on where the deltas are cut."""

    def __init__(self, sources_in_context: Collection[int]) -> None:
        """A citation is resolved where its number is in `sources_in_context`."""
        self._in_context = frozenset(sources_in_context)
        self._code = CodeScanner()
        self._sentences = SentenceTracker()
        self._at = 0
        """Bytes of the answer that were read."""
        self._candidate = ""
        """From an opening bracket to here, while it may be a marker."""
        self._settling: Sentence | None = None
        """The latest sentence that ended: a marker behind it may still claim it."""
        self._found: list[Citation] = []
        self._resolved = 0
        self._unresolved = 0
        self._uncited_sentences = 0

    @property
    def counts(self) -> CitationCounts:
        """The citations so far. Uncited sentences are whole after `finish`."""
        return CitationCounts(self._resolved, self._unresolved, self._uncited_sentences)

    def feed(self, text: str) -> list[Citation]:
        """Take the next delta. Returns the citations whose markers it completes."""
        self._read(self._code.feed(text))
        return self._take()

    def finish(self) -> list[Citation]:
        """The answer ends here. Returns the citations behind a backtick that nothing closed, and settles the counts."""
        self._read(self._code.finish())
        self._give_up_candidate()
        self._settle(self._sentences.line_end())
        self._settle(None)
        return self._take()

    def _take(self) -> list[Citation]:
        found, self._found = self._found, []
        return found

    def _read(self, pieces: list[Piece]) -> None:
        for text, kind in pieces:
            if kind is Kind.FENCED_CODE:
                self._read_fenced(text)
            elif kind is Kind.INLINE_CODE:
                self._give_up_candidate()
                self._read_text(text, code=True)
            else:
                for character in text:
                    self._read_prose(character)

    def _read_fenced(self, text: str) -> None:
        self._give_up_candidate()
        self._settle_if_ended(self._sentences.line_end())
        self._at += len(text.encode())

    def _read_prose(self, character: str) -> None:
        if self._candidate:
            if character == "]":
                self._close_candidate()
                return
            if len(self._candidate) < _MAX_MARKER and _may_be_in_marker(character):
                self._candidate += character
                return
            self._give_up_candidate()
        if character == "[":
            self._candidate = character
        else:
            self._read_text(character)

    def _read_text(self, text: str, *, code: bool = False) -> None:
        for character in text:
            size = utf8_size(character)
            self._settle_if_ended(self._sentences.text(character, self._at, size, code=code))
            self._at += size

    def _give_up_candidate(self) -> None:
        candidate, self._candidate = self._candidate, ""
        self._read_text(candidate)

    def _close_candidate(self) -> None:
        marker = self._candidate + "]"
        if not MARKER.fullmatch(marker):
            self._candidate = marker
            self._give_up_candidate()
            return
        self._candidate = ""
        start = self._at
        self._at += len(marker.encode())
        self._sentences.marker()
        # One event for each number, although a model may repeat itself.
        for number in dict.fromkeys(int(digits) for digits in _NUMBER.findall(marker)):
            self._found.append(self._cite(number, start))

    def _cite(self, number: int, start: int) -> Citation:
        resolved = number in self._in_context
        claim = self._sentences.current or self._sentences.last
        if resolved:
            self._resolved += 1
            if claim is not None:
                claim.cited = True
        else:
            self._unresolved += 1
        claim_start, claim_end = (claim.start, claim.end) if claim is not None else (start, start)
        return Citation(number, resolved, start, self._at, claim_start, claim_end)

    def _settle_if_ended(self, ended: Sentence | None) -> None:
        if ended is not None:
            self._settle(ended)

    def _settle(self, ended: Sentence | None) -> None:
        """A sentence ended, or the answer: the one before it can be claimed no more."""
        before, self._settling = self._settling, ended
        if before is not None and before.has_prose and not before.cited and not says_not_in_sources(before.opening):
            self._uncited_sentences += 1


def _may_be_in_marker(character: str) -> bool:
    return character.isdecimal() or character == "," or (character.isspace() and character not in LINE_ENDS)
