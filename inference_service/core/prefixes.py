"""Which beginnings of earlier requests are kept, and what a new request can take from them: pure policy.

What is kept is a tree of segments, each some tokens long, that hang on one another where requests parted: the system
message is kept once, whatever followed it. What a segment's KV cells look like is none of this module's business: it
keeps a handle, and counts its bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

SEGMENT_TOKENS = 64
"""Tokens in a segment at most. Copying one out must be short beside a forward pass: 25 MB of Phi-3's cells."""

Handle = TypeVar("Handle")


@dataclass(slots=True, eq=False)
class Segment(Generic[Handle]):
    """Tokens behind a known prefix, and their KV cells."""

    salt: str
    parent: Segment[Handle] | None
    start: int
    """Position of its first token. Where its parent reaches further, they share no token from here on."""
    tokens: tuple[int, ...]
    handle: Handle
    size_bytes: int
    children: dict[tuple[int, int], Segment[Handle]] = field(default_factory=dict)
    """By their start and first token: at most one can continue a given text."""


@dataclass(frozen=True, slots=True)
class Match(Generic[Handle]):
    """What is kept of a text's beginning."""

    length: int
    """Tokens that are kept, from position 0."""
    segments: tuple[Segment[Handle], ...]
    """In order; each holds from its own start to the start of the next, the last one up to `length`."""


class PrefixTree(Generic[Handle]):
    """Kept segments under a limit of bytes. The least recently used go first."""

    def __init__(self, *, limit_bytes: int) -> None:
        """`limit_bytes` of 0 keeps nothing."""
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        self._roots: dict[tuple[str, int], Segment[Handle]] = {}
        # In order of use. A segment's ancestors are always touched after it, so the first one has no children.
        self._by_use: OrderedDict[Segment[Handle], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_use)

    def match(self, salt: str, tokens: Sequence[int]) -> Match[Handle]:
        """Return the longest beginning of `tokens` that is kept under this salt, and count it as used."""
        found: list[Segment[Handle]] = []
        length = 0
        while length < len(tokens):
            segment = self._next(salt, tokens, length, found[-1] if found else None)
            if segment is None:
                break
            found.append(segment)
            length += _common_prefix(segment.tokens, tokens, length)
        for segment in reversed(found):
            self._by_use.move_to_end(segment)
        return Match(length, tuple(found))

    def _next(self, salt: str, tokens: Sequence[int], at: int, last: Segment[Handle] | None) -> Segment[Handle] | None:
        if last is None:
            return self._roots.get((salt, tokens[at]))
        return last.children.get((at, tokens[at]))

    def add(
        self, salt: str, behind: Match[Handle], tokens: tuple[int, ...], handle: Handle, size_bytes: int
    ) -> Segment[Handle] | None:
        """Keep `tokens`, which follow `behind`, the longest match of their text. None: there is no room for them."""
        for segment in reversed(behind.segments):  # what they hang on must not go to make room for them
            self._by_use.move_to_end(segment)
        if not self._make_room(size_bytes, frozenset(behind.segments)):
            return None
        parent = behind.segments[-1] if behind.segments else None
        segment = Segment(salt, parent, behind.length, tokens, handle, size_bytes)
        if parent is None:
            self._roots[salt, tokens[0]] = segment
        else:
            parent.children[behind.length, tokens[0]] = segment
        self._by_use[segment] = None
        for ancestor in reversed(behind.segments):
            self._by_use.move_to_end(ancestor)
        self.size_bytes += size_bytes
        return segment

    def _make_room(self, size_bytes: int, needed: frozenset[Segment[Handle]]) -> bool:
        while self.size_bytes + size_bytes > self.limit_bytes:
            oldest = next(iter(self._by_use), None)
            if oldest is None or oldest in needed:
                return False
            self._forget(oldest)
        return True

    def _forget(self, segment: Segment[Handle]) -> None:
        del self._by_use[segment]
        self.size_bytes -= segment.size_bytes
        if segment.parent is None:
            del self._roots[segment.salt, segment.tokens[0]]
        else:
            del segment.parent.children[segment.start, segment.tokens[0]]

    def clear(self) -> None:
        """Forget everything."""
        self._roots.clear()
        self._by_use.clear()
        self.size_bytes = 0


def common_prefix_length(left: Sequence[int], right: Sequence[int]) -> int:
    """Tokens that both begin with."""
    shorter = min(len(left), len(right))
    if left[:shorter] == right[:shorter]:
        return shorter
    return next(index for index in range(shorter) if left[index] != right[index])


def _common_prefix(segment: tuple[int, ...], tokens: Sequence[int], at: int) -> int:
    return common_prefix_length(segment, tuple(tokens[at : at + len(segment)]))
