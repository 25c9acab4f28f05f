"""Cutting a document into passages of about 200 tokens, each with the headings it stands under."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from search_service.core.sentences import split_sentences

TARGET_TOKENS: Final = 200
"""A passage is closed when it has this many."""
MAX_TOKENS: Final = 260
"""A paragraph that fits into this is never cut; no passage is longer, but for a short end joined to it."""
MIN_TOKENS: Final = 40
"""A shorter end of a section is joined to the passage before it."""
MAX_HEADING_CHARACTERS: Final = 200
"""Of one heading; what poses as a longer one is cut."""

_WIDE: Final = re.compile(
    r"[\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading in a document."""

    level: int
    """1 for the topmost."""
    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph, list item, code block or table, as plain text. Its line ends mean something."""

    text: str


Block = Heading | Paragraph


@dataclass(frozen=True, slots=True)
class Document:
    """A document's text."""

    title: str
    """One line; empty where the document names none."""
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a document."""

    heading: str
    """Headings above it, joined by " > "; may be empty."""
    text: str
    """Not empty."""


def estimated_tokens(text: str) -> int:
    """About how many tokens a model makes of a text: one a wide (East Asian) character, else one every four."""
    wide = 0 if text.isascii() else len(_WIDE.findall(text))
    return wide + (len(text) - wide + 3) // 4


def chunk_blocks(blocks: Iterable[Block]) -> Iterator[Chunk]:
    """Cut a document at its headings and paragraphs; a long paragraph is cut at lines, sentences, then words."""
    trail: list[Heading] = []
    section = _Section("")
    found = False
    for block in blocks:
        if isinstance(block, Paragraph):
            section.add(block.text)
            continue
        for text in section.close():
            found = True
            yield Chunk(section.heading, text)
        while trail and trail[-1].level >= block.level:
            trail.pop()
        trail.append(block)
        headings = (heading.text[:MAX_HEADING_CHARACTERS].strip() for heading in trail)
        section = _Section(" > ".join(text for text in headings if text))
    for text in section.close():
        found = True
        yield Chunk(section.heading, text)
    if not found and section.heading:  # a document of headings alone is found by them
        yield Chunk("", section.heading)


@dataclass(slots=True)
class _Section:
    """What stands under one heading, packed into passages."""

    heading: str
    passages: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    open_tokens: int = 0

    def add(self, paragraph: str) -> None:
        for piece in _pieces(paragraph):
            tokens = estimated_tokens(piece)
            if self.open and (self.open_tokens >= TARGET_TOKENS or self.open_tokens + tokens > MAX_TOKENS):
                self._flush()
            self.open.append(piece)
            self.open_tokens += tokens

    def close(self) -> list[str]:
        """All passages of the section."""
        if self.passages and self.open and self.open_tokens < MIN_TOKENS:
            self.passages[-1] += "\n" + "\n".join(self.open)
        elif self.open:
            self._flush()
        return self.passages

    def _flush(self) -> None:
        self.passages.append("\n".join(self.open))
        self.open, self.open_tokens = [], 0


def _pieces(paragraph: str) -> Iterator[str]:
    """The paragraph, or its parts where it is longer than MAX_TOKENS."""
    paragraph = paragraph.strip("\n").rstrip()
    if not paragraph.strip():
        return
    if estimated_tokens(paragraph) <= MAX_TOKENS:
        yield paragraph
        return
    parts: list[str] = []
    tokens = 0
    for separator, unit in _units(paragraph):
        cost = estimated_tokens(unit)
        if parts and tokens + cost > TARGET_TOKENS:
            yield "".join(parts)
            parts, tokens = [], 0
        parts.append((separator if parts else "") + unit)
        tokens += cost
    if parts:
        yield "".join(parts)


def _units(paragraph: str) -> Iterator[tuple[str, str]]:
    """(what joins it to the one before, unit): lines, sentences of long lines, words of long sentences."""
    for line in paragraph.splitlines():
        if estimated_tokens(line) <= TARGET_TOKENS:
            if line.strip():
                yield "\n", line.rstrip()
            continue
        separator = "\n"
        for sentence in split_sentences(line):
            for part in _parts_of_sentence(sentence):
                yield separator, part
                separator = " "


def _parts_of_sentence(sentence: str) -> Iterator[str]:
    if estimated_tokens(sentence) <= TARGET_TOKENS:
        yield sentence
        return
    part: list[str] = []
    tokens = 0
    for word in sentence.split():
        for start in range(0, len(word), TARGET_TOKENS):  # a "word" may be a whole text without spaces
            piece = word[start : start + TARGET_TOKENS]
            cost = estimated_tokens(piece + " ")
            if part and tokens + cost > TARGET_TOKENS:
                yield " ".join(part)
                part, tokens = [], 0
            part.append(piece)
            tokens += cost
    if part:
        yield " ".join(part)
