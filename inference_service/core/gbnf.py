"""GBNF text to a grammar, and a grammar to the plain GBNF that llama.cpp is given.

The text that reaches llama.cpp is always written here: one flat rule for each group, every character escaped
that could be read in two ways. llama.cpp's own parser then has nothing left to be surprised by.
"""

from __future__ import annotations

import re
from typing import Final

from inference_service.core.grammar import (
    LAST_CODE_POINT,
    ROOT,
    SURROGATES,
    UNWRITABLE,
    BadGrammar,
    CharacterClass,
    CharacterSet,
    Choice,
    Grammar,
    Literal,
    Node,
    Reference,
    Repeat,
    choice,
    sequence,
)

MAX_NESTING: Final = 32
"""Parentheses within parentheses."""

_NAME: Final = re.compile(r"[a-zA-Z0-9-]+")
_BLANKS: Final = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_BLANKS_AND_LINES: Final = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_COUNTS: Final = re.compile(r"\{[ \t]*(\d+)[ \t]*(,)?[ \t]*(\d+)?[ \t]*\}")
_HEX_ESCAPES: Final = {"x": 2, "u": 4, "U": 8}
_SIMPLE_ESCAPES: Final = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-"}
_REPEATS: Final[dict[str, tuple[int, int | None]]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


def parse_gbnf(text: str) -> Grammar:
    """Parse GBNF as llama.cpp reads it. Raises BadGrammar with line and column.

    Refused though llama.cpp takes them: a rule defined twice, classes that match nothing, characters that no text
    can hold, and token references (<...>, !<...>), which llama.cpp may allow at one step and throw on at the next.
    """
    return _Parser(text).grammar()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def grammar(self) -> Grammar:
        rules: dict[str, Node] = {}
        self._skip(lines=True)
        while self._at < len(self._text):
            start = self._at
            name = self._name()
            if name in rules:
                raise self._error(f"rule {name!r} is defined twice", start)
            self._skip()
            if not self._text.startswith("::=", self._at):
                raise self._error("expected ::= after a rule's name")
            self._at += 3
            self._skip(lines=True)
            rules[name] = self._alternatives()
            if self._at < len(self._text) and not _LINE_END.match(self._text, self._at):
                raise self._error(f"unexpected {self._peek()!r}")
            self._skip(lines=True)
        return Grammar(rules)

    def _alternatives(self) -> Node:
        alternatives = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            self._skip(lines=True)
            alternatives.append(self._sequence())
        return choice(*alternatives)

    def _sequence(self) -> Node:
        items: list[Node] = []
        while (item := self._item()) is not None:
            self._skip(lines=self._depth > 0)
            while (counts := self._counts()) is not None:
                item = Repeat(item, *counts)
                self._skip(lines=self._depth > 0)
            items.append(item)
        return sequence(*items) if items else Literal("")

    def _item(self) -> Node | None:
        match self._peek():
            case '"':
                return self._literal()
            case "[":
                return self._class()
            case "(":
                return self._group()
            case ".":
                self._at += 1
                return CharacterClass(CharacterSet.of((0, LAST_CODE_POINT)))
            case "<" | "!":
                raise self._error("token references (<...>) are not supported: write the text itself")
            case "*" | "+" | "?" | "{":
                raise self._error("nothing stands before this repetition")
            case c if _NAME.match(c):
                return Reference(self._name())
            case _:
                return None

    def _group(self) -> Node:
        start = self._at
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._error(f"groups are nested deeper than {MAX_NESTING}")
        self._at += 1
        self._skip(lines=True)
        node = self._alternatives()
        if self._peek() != ")":
            raise self._error("this group is not closed" if not self._peek() else f"unexpected {self._peek()!r}", start)
        self._at += 1
        self._depth -= 1
        return node

    def _counts(self) -> tuple[int, int | None] | None:
        c = self._peek()
        if c in _REPEATS:
            self._at += 1
            return _REPEATS[c]
        if c != "{":
            return None
        match = _COUNTS.match(self._text, self._at)
        if not match or (match[3] and not match[2]):
            raise self._error("a repetition is written {n}, {n,} or {n,m}")
        if max(len(match[1]), len(match[3] or "")) > 9:
            raise self._error("a repetition count is too large")
        low = int(match[1])
        high = int(match[3]) if match[3] else None if match[2] else low
        if high is not None and high < low:
            raise self._error(f"a repetition of at least {low} and at most {high} is impossible")
        self._at = match.end()
        return low, high

    def _literal(self) -> Node:
        start = self._at
        self._at += 1
        characters: list[str] = []
        while self._peek() != '"':
            before = self._at
            code_point = self._character(start, "string")
            if code_point in UNWRITABLE:
                raise self._error(f"no text can hold the character U+{code_point:04X}", before)
            characters.append(chr(code_point))
        self._at += 1
        return Literal("".join(characters))

    def _class(self) -> Node:
        start = self._at
        self._at += 1
        negated = self._peek() == "^"
        self._at += negated
        ranges: list[tuple[int, int]] = []
        while self._peek() != "]":
            before = self._at
            low = high = self._character(start, "character class")
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                high = self._character(start, "character class")
            if high < low:
                raise self._error("this range of characters runs backwards", before)
            if any(SURROGATES[0] <= end <= SURROGATES[1] for end in (low, high)):
                raise self._error("surrogates are no characters; write \\U0001F600 for one beyond U+FFFF", before)
            ranges.append((low, high))
        self._at += 1
        if not ranges:
            raise self._error("this character class is empty", start)
        characters = CharacterSet.of(*ranges)
        characters = characters.complement() if negated else characters
        if not characters - UNWRITABLE:
            raise self._error("no character is in this class", start)
        return CharacterClass(characters)

    def _character(self, start: int, what: str) -> int:
        c = self._peek()
        if not c:
            raise self._error(f"this {what} is not closed", start)
        if c != "\\":
            self._at += 1
            return ord(c)
        kind = self._text[self._at + 1 : self._at + 2]
        if kind in _SIMPLE_ESCAPES:
            self._at += 2
            return ord(_SIMPLE_ESCAPES[kind])
        digits = self._text[self._at + 2 : self._at + 2 + _HEX_ESCAPES.get(kind, 0)]
        if not re.fullmatch(r"[0-9a-fA-F]+", digits) or len(digits) != _HEX_ESCAPES[kind]:
            raise self._error('unknown escape; known are \\xHH \\uHHHH \\UHHHHHHHH \\t \\r \\n \\\\ \\" \\[ \\] \\-')
        code_point = int(digits, 16)
        if code_point > LAST_CODE_POINT:
            raise self._error("characters end at \\U0010FFFF")
        self._at += 2 + len(digits)
        return code_point

    def _name(self) -> str:
        match = _NAME.match(self._text, self._at)
        if not match:
            raise self._error(f"expected a rule's name (letters, digits and hyphens), found {self._peek()!r}")
        self._at = match.end()
        return match[0]

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, *, lines: bool = False) -> None:
        match = (_BLANKS_AND_LINES if lines else _BLANKS).match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _error(self, problem: str, at: int | None = None) -> BadGrammar:
        before = self._text[: self._at if at is None else at]
        line = len(_LINE_END.findall(before)) + 1
        column = len(_LINE_END.split(before)[-1]) + 1
        return BadGrammar(f"line {line}, column {column}: {problem}")


def write_gbnf(grammar: Grammar) -> str:
    """Write a grammar as GBNF. Its rules must be whole: see grammar_limits.check_grammar."""
    return _Writer(grammar).text()


class _Writer:
    def __init__(self, grammar: Grammar) -> None:
        others = (name for name in grammar.rules if name != ROOT)
        self._names = {ROOT: ROOT} | {name: f"r{i}" for i, name in enumerate(others)}
        self._grammar = grammar
        self._groups: dict[Node, str] = {}
        self._lines: list[str] = []

    def text(self) -> str:
        for name, node in self._grammar.rules.items():
            self._rule(self._names[name], node)
        return "\n".join(self._lines) + "\n"

    def _rule(self, name: str, node: Node) -> None:
        alternatives = node.alternatives if isinstance(node, Choice) else (node,)
        self._lines.append(f"{name} ::= {' | '.join(self._sequence(a) for a in alternatives)}")

    def _sequence(self, node: Node) -> str:
        match node:
            case Literal() | CharacterClass() | Reference():
                return self._atom(node)
            case Repeat(item, minimum, maximum):
                return self._repeat(item, minimum, maximum)
            case Choice():
                return self._group(node)
            case _:
                return " ".join(self._sequence(item) for item in node.items) or '""'

    def _atom(self, node: Node) -> str:
        match node:
            case Literal(text) if text:
                return '"' + "".join(_escaped(ord(c)) for c in text) + '"'
            case CharacterClass(characters):
                return _class_text(characters)
            case Reference(rule):
                return self._names[rule]
            case Literal():
                return '""'
            case _:
                return self._group(node)

    def _group(self, node: Node) -> str:
        if node not in self._groups:
            self._groups[node] = f"g{len(self._groups)}"
            self._rule(self._groups[node], node)
        return self._groups[node]

    def _repeat(self, item: Node, minimum: int, maximum: int | None) -> str:
        if maximum == 0:
            return '""'
        atom = self._group(item) if item == Literal("") else self._atom(item)
        for sign, counts in _REPEATS.items():
            if counts == (minimum, maximum):
                return atom + sign
        return (
            atom
            + "{"
            + (f"{minimum},{'' if maximum is None else maximum}" if maximum != minimum else str(minimum))
            + "}"
        )


def _class_text(characters: CharacterSet) -> str:
    # Of a set and its complement, llama.cpp takes the shorter one faster.
    inverse = characters.complement()
    negated = 0 < len(inverse.ranges) < len(characters.ranges)
    if not inverse:
        return "."
    ranges = inverse.ranges if negated else characters.ranges
    parts = (_escaped(low) if low == high else f"{_escaped(low)}-{_escaped(high)}" for low, high in ranges)
    return f"[{'^' if negated else ''}{''.join(parts)}]"


def _escaped(code_point: int) -> str:
    c = chr(code_point)
    if c.isascii() and c.isalnum():
        return c
    return f"\\x{code_point:02X}" if code_point < 0x100 else f"\\U{code_point:08X}"
