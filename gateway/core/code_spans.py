"""Tells code from prose in streamed Markdown, since what looks like a citation in code is none.

Code is what stands between a run of backticks and the next run of the same length on the same line, and the lines of a
fenced block: from a line that begins with three or more backticks or tildes to one that holds nothing but as many of
them, or to the end. Any indentation is allowed before a fence, as in list items, and text, where nothing but
the language's name follows; a merely indented line is prose.
A run of backticks that nothing on its line closes is a run of backticks: the line's rest is held until that is known.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from gateway.core.sentences import LINE_ENDS

_RUNS: Final = re.compile("`+")
_FENCE_LENGTH: Final = 3
_LANGUAGE: Final = re.compile(r"[\w+#.-]*\s*")


class Kind(Enum):
    """What a piece of text is."""

    PROSE = "prose"
    INLINE_CODE = "inline code"
    FENCED_CODE = "fenced code"


Piece = tuple[str, Kind]
"""Some text of one kind. The pieces of a text put together are the text."""


class CodeScanner:
    """Cuts streamed text into pieces. O(1) amortised for each character."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self._line_is_blank = True
        self._run = ""
        """Backticks or tildes read in prose that may yet grow."""
        self._held: list[str] = []
        """From a run that may open code to here. Empty: prose."""
        self._opener_length = 0
        self._may_be_fence = False
        self._begins_line = False
        self._inner_run = 0
        """Length of the run of backticks that ends what is held."""
        self._fence = ""
        """What closes the fenced block that the text is in. Empty: it is in none."""
        self._fence_line: list[str] = []

    def feed(self, text: str) -> list[Piece]:
        """Take more text. Returns what is decided now."""
        for character in text:
            if self._fence:
                self._in_fence(character)
            elif self._held:
                self._in_held(character)
            else:
                self._in_prose(character)
        return self._take()

    def finish(self) -> list[Piece]:
        """The text ends here. Returns what was held."""
        if self._run:
            self._end_run()
        if self._held:
            self._end_held_line(at_end=True)
        return self._take()

    def _take(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces

    def _in_prose(self, character: str) -> None:
        may_grow = character == self._run[-1] if self._run else character == "`" or self._tilde_fence(character)
        if may_grow:
            self._run += character
            return
        if self._run:
            self._end_run()
            if self._held:
                self._in_held(character)
                return
            if self._fence:
                self._in_fence(character)
                return
            if character == "`":
                self._run = character
                return
        self._emit(character, Kind.PROSE)
        self._line_is_blank = character in LINE_ENDS or (self._line_is_blank and character.isspace())

    def _tilde_fence(self, character: str) -> bool:
        return character == "~" and self._line_is_blank

    def _end_run(self) -> None:
        run, self._run = self._run, ""
        if run[0] == "~":
            if len(run) >= _FENCE_LENGTH:
                self._open_fence(run, run)
            else:
                self._emit(run, Kind.PROSE)
                self._line_is_blank = False
            return
        self._held = [run]
        self._opener_length = len(run)
        self._may_be_fence = len(run) >= _FENCE_LENGTH
        self._begins_line = self._line_is_blank
        self._inner_run = 0
        self._line_is_blank = False

    def _in_held(self, character: str) -> None:
        if character == "`":
            self._held.append(character)
            self._inner_run += 1
        elif self._inner_run == self._opener_length:
            self._close_held()
            self._in_prose(character)
        elif character in LINE_ENDS:
            self._end_held_line(at_end=False)
            (self._in_fence if self._fence else self._in_prose)(character)
        else:
            # A fence's first line holds no backticks behind the fence.
            self._may_be_fence = self._may_be_fence and self._inner_run == 0
            self._inner_run = 0
            self._held.append(character)

    def _close_held(self) -> None:
        held, self._held = "".join(self._held), []
        self._emit(held, Kind.INLINE_CODE)

    def _end_held_line(self, *, at_end: bool) -> None:
        if self._inner_run == self._opener_length:
            self._close_held()
            return
        held, self._held = "".join(self._held), []
        info = held[self._opener_length :]
        is_fence = self._may_be_fence and self._inner_run == 0 and (self._begins_line or _LANGUAGE.fullmatch(info))
        if is_fence and (info or not at_end):
            self._open_fence("`" * self._opener_length, held)
        else:
            self._emit_unclosed(held)

    def _open_fence(self, fence: str, line: str) -> None:
        self._fence = fence
        self._fence_line = ["its first line closes nothing"]
        self._emit(line, Kind.FENCED_CODE)

    def _in_fence(self, character: str) -> None:
        self._emit(character, Kind.FENCED_CODE)
        if character not in LINE_ENDS:
            self._fence_line.append(character)
            return
        line = "".join(self._fence_line).strip()
        self._fence_line = []
        if len(line) >= len(self._fence) and set(line) == {self._fence[0]}:
            self._fence = ""
            self._line_is_blank = True

    def _emit_unclosed(self, line: str) -> None:
        """The line's rest, whose first run of backticks is none of code. Others in it may still close each other."""
        runs = list(_RUNS.finditer(line))
        last_of_length = {len(run[0]): number for number, run in enumerate(runs)}
        at = 0
        number = 0
        while number < len(runs):
            opener = runs[number]
            length = len(opener[0])
            if last_of_length[length] > number:
                number += 1
                while len(runs[number][0]) != length:
                    number += 1
                self._emit(line[at : opener.start()], Kind.PROSE)
                self._emit(line[opener.start() : runs[number].end()], Kind.INLINE_CODE)
                at = runs[number].end()
            number += 1
        self._emit(line[at:], Kind.PROSE)

    def _emit(self, text: str, kind: Kind) -> None:
        if not text:
            return
        if self._pieces and self._pieces[-1][1] is kind:
            self._pieces[-1] = (self._pieces[-1][0] + text, kind)
        else:
            self._pieces.append((text, kind))
