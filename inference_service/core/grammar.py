"""A grammar as a tree: what GBNF text is parsed into, what a JSON schema is turned into, and what is written out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

LAST_CODE_POINT: Final = 0x10FFFF
SURROGATES: Final = (0xD800, 0xDFFF)


class BadGrammar(ValueError):
    """A grammar, or the schema it comes from, cannot be used. The message says where and why."""


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """Code points, as ranges that are sorted, apart and inclusive."""

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, *ranges: tuple[int, int]) -> CharacterSet:
        """Build a set from ranges in any order, overlapping or not."""
        merged: list[tuple[int, int]] = []
        for low, high in sorted(ranges):
            if merged and low <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
            else:
                merged.append((low, high))
        return cls(tuple(merged))

    @classmethod
    def characters(cls, text: str) -> CharacterSet:
        """Build the set of the characters of a text."""
        return cls.of(*((ord(c), ord(c)) for c in text))

    def __or__(self, other: CharacterSet) -> CharacterSet:
        return CharacterSet.of(*self.ranges, *other.ranges)

    def __sub__(self, other: CharacterSet) -> CharacterSet:
        return (self.complement() | other).complement()

    def __contains__(self, code_point: int) -> bool:
        return any(low <= code_point <= high for low, high in self.ranges)

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def complement(self) -> CharacterSet:
        """Every other code point."""
        gaps: list[tuple[int, int]] = []
        start = 0
        for low, high in self.ranges:
            if low > start:
                gaps.append((start, low - 1))
            start = high + 1
        if start <= LAST_CODE_POINT:
            gaps.append((start, LAST_CODE_POINT))
        return CharacterSet(tuple(gaps))


UNWRITABLE: Final = CharacterSet.of((0, 0), SURROGATES)
"""No token's text holds these: llama.cpp ends a piece at NUL, and UTF-8 has no surrogates."""


@dataclass(frozen=True, slots=True)
class Literal:
    """Exactly this text; empty text matches nothing at all."""

    text: str


@dataclass(frozen=True, slots=True)
class CharacterClass:
    """One character of a set."""

    characters: CharacterSet


@dataclass(frozen=True, slots=True)
class Reference:
    """What another rule matches."""

    rule: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """One thing after the other."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these."""

    alternatives: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """The item, at least `minimum` and at most `maximum` times."""

    item: Node
    minimum: int = 0
    maximum: int | None = None
    """None: no bound."""


Node = Literal | CharacterClass | Reference | Sequence | Choice | Repeat

ROOT: Final = "root"
"""Where every grammar starts."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """Rules by name. The names are for messages: what is written out has its own."""

    rules: dict[str, Node] = field(default_factory=dict)


def sequence(*items: Node) -> Node:
    """Join items one after the other; a single one stands alone."""
    return items[0] if len(items) == 1 else Sequence(items)


def choice(*alternatives: Node) -> Node:
    """Offer alternatives, without doubles; a single one stands alone."""
    apart = tuple(dict.fromkeys(alternatives))
    return apart[0] if len(apart) == 1 else Choice(apart)


def optional(node: Node) -> Node:
    """Allow a node to be left out."""
    return Repeat(node, 0, 1)


def one_of(texts: list[str]) -> Node:
    """Offer texts, common beginnings shared: llama.cpp follows every alternative at once, so fewer are faster."""
    groups: dict[str, list[str]] = {}
    for text in dict.fromkeys(texts):
        groups.setdefault(text[:1], []).append(text)
    alternatives: list[Node] = []
    for first, group in groups.items():
        shared = _common_beginning(group)
        if not first or len(group) == 1:
            alternatives.append(Literal(group[0]))
        else:
            alternatives.append(Sequence((Literal(shared), one_of([text[len(shared) :] for text in group]))))
    return choice(*alternatives)


def _common_beginning(texts: list[str]) -> str:
    first, last = min(texts), max(texts)
    length = next((i for i, c in enumerate(first) if last[i] != c), len(first))
    return first[:length]
