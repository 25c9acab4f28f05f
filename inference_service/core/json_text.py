"""The JSON text that grammars allow: strings, numbers, white space, and values of any shape."""

from __future__ import annotations

import json
from typing import Final

from inference_service.core.grammar import (
    LAST_CODE_POINT,
    SURROGATES,
    BadGrammar,
    CharacterClass,
    CharacterSet,
    Choice,
    Literal,
    Node,
    Reference,
    Repeat,
    Sequence,
    choice,
    one_of,
    optional,
    sequence,
)

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

MAX_DIGITS: Final = 16
"""Digits of an integer part; more would not survive a reader that keeps numbers as doubles."""
MAX_INDENT: Final = 8
"""Blanks behind a line break. A bound, so that a model cannot emit white space for ever."""

QUOTE: Final = Literal('"')
ANY_CHARACTER: Final = CharacterSet.of((0, SURROGATES[0] - 1), (SURROGATES[1] + 1, LAST_CODE_POINT))
_CONTROLS: Final = CharacterSet.of((0, 0x1F), (0x7F, 0x7F))
_SHORT_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\f": "\\f", "\b": "\\b"}
_DIGIT: Final = CharacterClass(CharacterSet.of((0x30, 0x39)))
_NONZERO: Final = CharacterClass(CharacterSet.of((0x31, 0x39)))
_HEX: Final = CharacterClass(CharacterSet.characters("0123456789abcdefABCDEF"))

_UNSIGNED: Final = choice(Literal("0"), Sequence((_NONZERO, Repeat(_DIGIT, 0, MAX_DIGITS - 1))))
_FRACTION: Final = optional(Sequence((Literal("."), Repeat(_DIGIT, 1, MAX_DIGITS))))
_EXPONENT: Final = optional(
    Sequence(
        (
            CharacterClass(CharacterSet.characters("eE")),
            optional(CharacterClass(CharacterSet.characters("+-"))),
            Repeat(_DIGIT, 1, 2),
        )
    )
)


def _two(low: int, high: int) -> Node:
    return one_of([f"{n:02}" for n in range(low, high + 1)])


_DATE: Final = sequence(
    Repeat(_DIGIT, 4, 4),
    Literal("-"),
    choice(
        Sequence((one_of(["01", "03", "05", "07", "08", "10", "12"]), Literal("-"), _two(1, 31))),
        Sequence((one_of(["04", "06", "09", "11"]), Literal("-"), _two(1, 30))),
        Sequence((Literal("02-"), _two(1, 28))),
    ),
)
_TIME: Final = sequence(
    _two(0, 23),
    Literal(":"),
    _two(0, 59),
    Literal(":"),
    _two(0, 59),
    optional(Sequence((Literal("."), Repeat(_DIGIT, 1, 6)))),
    choice(
        Literal("Z"), Sequence((CharacterClass(CharacterSet.characters("+-")), _two(0, 23), Literal(":"), _two(0, 59)))
    ),
)
FORMATS: Final[dict[str, Node]] = {
    "date": sequence(QUOTE, _DATE, QUOTE),
    "time": sequence(QUOTE, _TIME, QUOTE),
    "date-time": sequence(QUOTE, _DATE, Literal("T"), _TIME, QUOTE),
    "uuid": sequence(
        QUOTE,
        *(part for n in (8, 4, 4, 4) for part in (Repeat(_HEX, n, n), Literal("-"))),
        Repeat(_HEX, 12, 12),
        QUOTE,
    ),
}
"""String formats that are held to; any other is a remark, as the standard has it."""

SPACE: Final = Reference("space")
VALUE: Final = Reference("value")
STRING: Final = Reference("string")
CHARACTER: Final = Reference("character")
INTEGER: Final = Sequence((optional(Literal("-")), _UNSIGNED))
NUMBER: Final = Sequence((optional(Literal("-")), _UNSIGNED, _FRACTION, _EXPONENT))
NUMBER_FROM_ZERO: Final = Sequence((_UNSIGNED, _FRACTION, _EXPONENT))


def list_of(item: Node, minimum: int = 0, maximum: int | None = None) -> Node:
    """Write items with commas between; minimum 0 allows none."""
    if maximum == 0:
        return Literal("")
    more = Repeat(Sequence((Literal(","), SPACE, item)), max(minimum - 1, 0), None if maximum is None else maximum - 1)
    items = Sequence((item, more))
    return optional(items) if minimum == 0 else items


def array(items: Node) -> Node:
    """Put brackets around items that list_of made."""
    return Sequence((Literal("["), SPACE, items, SPACE, Literal("]")))


def entry(key: Node, value: Node) -> Node:
    """Write one key and its value."""
    return Sequence((key, Literal(":"), SPACE, value))


def map_of(value: Node) -> Node:
    """Write an object of any keys."""
    return Sequence((Literal("{"), SPACE, list_of(entry(STRING, value)), SPACE, Literal("}")))


BASE_RULES: Final[dict[str, Node]] = {
    "space": optional(choice(Literal(" "), Sequence((Literal("\n"), Repeat(Literal(" "), 0, MAX_INDENT))))),
    "character": Choice(
        (
            CharacterClass(ANY_CHARACTER - _CONTROLS - CharacterSet.characters('"\\')),
            Sequence(
                (
                    Literal("\\"),
                    choice(
                        CharacterClass(CharacterSet.characters('"\\/bfnrt')),
                        # Half a surrogate pair is no text: \ud800 to \udfff are left out.
                        Sequence(
                            (
                                Literal("u"),
                                CharacterClass(CharacterSet.characters("0123456789abcefABCEF")),
                                _HEX,
                                _HEX,
                                _HEX,
                            )
                        ),
                        Sequence((Literal("u"), one_of([d + n for d in "dD" for n in "01234567"]), _HEX, _HEX)),
                    ),
                )
            ),
        )
    ),
    "string": Sequence((QUOTE, Repeat(CHARACTER), QUOTE)),
    "object": map_of(VALUE),
    "array": array(list_of(VALUE)),
    "value": Choice((Reference("object"), Reference("array"), STRING, NUMBER, one_of(["true", "false", "null"]))),
}


def constant(value: JsonValue) -> str:
    """Write a JSON value in the one form that a grammar for it allows."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))
    if any(SURROGATES[0] <= ord(c) <= SURROGATES[1] for c in text):
        raise BadGrammar("a string in it holds half a surrogate pair, which is no character")
    return text


def in_string(characters: CharacterSet) -> Node:
    """Write one character of a set as it stands inside a JSON string, escaped where JSON wants it."""
    plain = characters - _CONTROLS - CharacterSet.characters('"\\') - CharacterSet.of(SURROGATES)
    escaped: list[Node] = [Literal(escape) for c, escape in _SHORT_ESCAPES.items() if ord(c) in characters]
    if not plain and not escaped:
        raise BadGrammar("no character that JSON can hold is in a class of the pattern")
    return choice(*([CharacterClass(plain)] if plain else []), *escaped)


def integer_between(low: int | None, high: int | None) -> Node:
    """Write the integers of a range, bounds included; None is no bound but MAX_DIGITS. Raises BadGrammar."""
    most = 10**MAX_DIGITS - 1
    low, high = (-most if low is None else low), (most if high is None else high)
    if not -most <= low <= most or not -most <= high <= most:
        raise BadGrammar(f"integer bounds of more than {MAX_DIGITS} digits are not supported")
    if low > high:
        raise BadGrammar(f"no integer is at least {low} and at most {high}")
    if (low, high) == (-most, most):
        return INTEGER
    parts: list[Node] = []
    if low < 0:
        parts.append(Sequence((Literal("-"), _digits_between(max(-high, 1), -low))))
    if high >= 0:
        parts.append(_digits_between(max(low, 0), high))
    return choice(*parts)


def _digits_between(low: int, high: int) -> Node:
    """Both not below zero."""
    parts: list[Node] = []
    for length in range(len(str(low)), len(str(high)) + 1):
        first = max(low, 10 ** (length - 1) if length > 1 else 0)
        parts.append(_same_length(str(first), str(min(high, 10**length - 1))))
    return choice(*parts)


def _same_length(low: str, high: str) -> Node:
    if low == high:
        return Literal(low)
    rest = len(low) - 1
    if low[0] == high[0]:
        return sequence(Literal(low[0]), _same_length(low[1:], high[1:]))
    # The lowest and the highest first digit may bound what follows; between them anything may.
    first, last, parts = int(low[0]), int(high[0]), []
    if low[1:] != "0" * rest:
        parts.append(sequence(Literal(low[0]), _same_length(low[1:], "9" * rest)))
        first += 1
    if high[1:] != "9" * rest:
        parts.append(sequence(Literal(high[0]), _same_length("0" * rest, high[1:])))
        last -= 1
    if first <= last:
        free = CharacterClass(CharacterSet.of((ord(str(first)), ord(str(last)))))
        parts.append(sequence(free, Repeat(_DIGIT, rest, rest)) if rest else free)
    return choice(*parts)
