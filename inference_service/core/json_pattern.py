"""A JSON schema's `pattern`, an ECMAScript regular expression, to the JSON strings that it matches."""

from __future__ import annotations

import re
from typing import Final

from inference_service.core.grammar import (
    BadGrammar,
    CharacterSet,
    Literal,
    Node,
    Repeat,
    choice,
    sequence,
)
from inference_service.core.json_text import ANY_CHARACTER, CHARACTER, QUOTE, in_string

MAX_GROUPS: Final = 32
"""Groups within groups."""

_LINE_ENDS: Final = CharacterSet.characters("\n\r\u2028\u2029")
_SETS: Final = {
    "d": CharacterSet.of((0x30, 0x39)),
    "w": CharacterSet.of((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A), (0x5F, 0x5F)),
    "s": CharacterSet.characters("\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff")
    | CharacterSet.of((0x2000, 0x200A)),
}
_SETS_AND_OPPOSITES: Final = _SETS | {name.upper(): ANY_CHARACTER - s for name, s in _SETS.items()}
_CONTROL_ESCAPES: Final = {"t": 0x09, "n": 0x0A, "v": 0x0B, "f": 0x0C, "r": 0x0D}
_HEX: Final = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})")
_COUNTS: Final = re.compile(r"\{(\d{1,9})(,)?(\d{1,9})?\}")
_REPEATS: Final[dict[str, tuple[int, int | None]]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


def pattern_string(pattern: str) -> Node:
    """Build the JSON strings in which a pattern matches. Raises BadGrammar where it cannot be held to.

    Not supported: look-around, back-references, word borders, Unicode properties, and anchors inside groups. A
    pattern without anchors matches anywhere, so any text may surround it.
    """
    return sequence(QUOTE, _Parser(pattern).pattern(), QUOTE)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def pattern(self) -> Node:
        alternatives: list[Node] = []
        while True:
            anything = Repeat(CHARACTER)
            items: list[Node] = [] if self._take("^") else [anything]
            items += self._sequence()
            items += [] if self._take("$") else [anything]
            alternatives.append(sequence(*items) if items else Literal(""))
            if not self._take("|"):
                break
        if self._at < len(self._text):
            raise self._error(f"unexpected {self._peek()!r}")
        return choice(*alternatives)

    def _sequence(self) -> list[Node]:
        items: list[Node] = []
        while self._peek() not in ("", "|", ")") and not (self._peek() == "$" and not self._depth):
            item = self._item()
            counts = self._counts()
            items.append(item if counts is None else Repeat(item, *counts))
        return items

    def _item(self) -> Node:
        c = self._peek()
        if c == "(":
            return self._group()
        if c in ("^", "$"):
            raise self._error("anchors are supported only at the ends of the pattern")
        if c in ("*", "+", "?", "{"):
            raise self._error("nothing stands before this repetition")
        self._at += 1
        if c == "[":
            return in_string(self._class())
        if c == ".":
            return in_string(ANY_CHARACTER - _LINE_ENDS)
        if c == "\\":
            return in_string(self._escape())
        return in_string(CharacterSet.characters(c))

    def _group(self) -> Node:
        start = self._at
        self._depth += 1
        if self._depth > MAX_GROUPS:
            raise self._error(f"groups are nested deeper than {MAX_GROUPS}")
        self._at += 1
        if self._peek() == "?" and not self._take("?:"):
            raise self._error("of the (?…) groups only (?:…) is supported")
        alternatives = [sequence(*(self._sequence() or [Literal("")]))]
        while self._take("|"):
            alternatives.append(sequence(*(self._sequence() or [Literal("")])))
        if not self._take(")"):
            raise self._error("this group is not closed", start)
        self._depth -= 1
        return choice(*alternatives)

    def _counts(self) -> tuple[int, int | None] | None:
        c = self._peek()
        counts: tuple[int, int | None]
        if c in _REPEATS:
            self._at += 1
            counts = _REPEATS[c]
        elif c == "{":
            match = _COUNTS.match(self._text, self._at)
            if not match or (match[3] and not match[2]):
                raise self._error("a repetition is written {n}, {n,} or {n,m}; a plain brace \\{")
            low = int(match[1])
            counts = (low, int(match[3]) if match[3] else None if match[2] else low)
            if counts[1] is not None and counts[1] < low:
                raise self._error("this repetition's bounds run backwards")
            self._at = match.end()
        else:
            return None
        self._take("?")  # a lazy repetition matches the same strings
        return counts

    def _class(self) -> CharacterSet:
        start = self._at - 1
        negated = self._take("^")
        characters = CharacterSet(())
        while not self._take("]"):
            low = self._class_part(start)
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                high = self._class_part(start)
                ends = [part.ranges[0][0] for part in (low, high) if len(part.ranges) == 1]
                if len(ends) != 2 or ends[0] > ends[1]:
                    raise self._error("this range of characters runs backwards", start)
                low = CharacterSet.of((ends[0], ends[1]))
            characters |= low
        return ANY_CHARACTER - characters if negated else characters

    def _class_part(self, start: int) -> CharacterSet:
        c = self._peek()
        if not c:
            raise self._error("this character class is not closed", start)
        self._at += 1
        if c != "\\":
            return CharacterSet.characters(c)
        if self._take("b"):
            return CharacterSet.characters("\b")
        return self._escape()

    def _escape(self) -> CharacterSet:
        c = self._peek()
        if match := _HEX.match(self._text, self._at):
            self._at = match.end()
            code_point = int(match[1] or match[2], 16)
            return CharacterSet.of((code_point, code_point))
        if c in _SETS_AND_OPPOSITES and c:
            self._at += 1
            return _SETS_AND_OPPOSITES[c]
        if c in _CONTROL_ESCAPES:
            self._at += 1
            return CharacterSet.of((_CONTROL_ESCAPES[c], _CONTROL_ESCAPES[c]))
        if not c or c.isalnum():
            raise self._error(f"the escape \\{c} is not supported")
        self._at += 1
        return CharacterSet.characters(c)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, text: str) -> bool:
        taken = self._text.startswith(text, self._at)
        self._at += len(text) * taken
        return taken

    def _error(self, problem: str, at: int | None = None) -> BadGrammar:
        return BadGrammar(f"at character {(self._at if at is None else at) + 1}: {problem}")
