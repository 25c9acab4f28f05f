"""Evaluation items: questions with pinned sources, and what a right answer to each must hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

MAX_SOURCES: Final = 32
"""Of an item: what the gateway takes with a question."""


class Kind(StrEnum):
    """What it takes to answer an item."""

    SINGLE = "single"
    """One sentence of one source. Where several hold it, any of them will do."""
    DOUBLE = "double"
    """A sentence each of two sources."""
    UNANSWERABLE = "unanswerable"
    """No source answers; the right answer is to say so."""


@dataclass(frozen=True, slots=True)
class PinnedSource:
    """A source that the question is asked with."""

    title: str
    url: str
    """http or https; may be empty."""
    text: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sentence that answers, or half of what does."""

    source: int
    """The source's number, from 1."""
    sentence: str
    """As it stands in the source's text."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question. Without a kind, only what needs no reference is measured."""

    id: str
    question: str
    sources: tuple[PinnedSource, ...]
    kind: Kind | None = None
    evidence: tuple[Evidence, ...] = ()
    answers: tuple[tuple[str, ...], ...] = ()
    """For each fact that is asked for, the strings of which one must occur in a right answer."""
    subject: str = ""
    language: str = "en"
    traits: frozenset[str] = frozenset()
    held_aside: bool = False
    """Never trained or tuned on, and reported apart."""


class BadItems(ValueError):
    """A file of items that cannot be used. Says which line and field, and what is wrong."""


def load_items(paths: Iterable[Path]) -> list[Item]:
    """The items of JSON Lines files, in order. Raises BadItems, also for an id that occurs twice and for no items."""
    items: list[Item] = []
    places: dict[str, str] = {}
    for path in paths:
        for number, line in _lines(path):
            where = f"{path}, line {number}"
            item = _parse(line, where)
            if item.id in places:
                raise BadItems(f"{where}: the id {item.id!r} is that of {places[item.id]}")
            places[item.id] = where
            items.append(item)
    if not items:
        raise BadItems("there is no item to ask")
    return items


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        # Not splitlines, which also parts at separators that JSON strings may hold.
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise BadItems(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadItems(f"{path}: is not UTF-8 text") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, line


class _Fields:
    """The fields of a JSON object, checked as they are taken."""

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, Mapping):
            raise BadItems(f"{where}: is no JSON object")
        self._values = values
        self._where = where

    def fault(self, name: str, what: str) -> BadItems:
        """An error that names the place and the field."""
        return BadItems(f"{self._where}: {name}: {what}")

    def text(self, name: str, default: str | None = None) -> str:
        """A string; without a default, one that is not blank."""
        value = self._values.get(name, default)
        if not isinstance(value, str):
            raise self.fault(name, "is missing" if value is None else "is no string")
        if default is None and not value.strip():
            raise self.fault(name, "is empty")
        self._check_unicode(name, value)
        return value

    def flag(self, name: str) -> bool:
        """true or false; false where it is absent."""
        value = self._values.get(name, False)
        if not isinstance(value, bool):
            raise self.fault(name, "is neither true nor false")
        return value

    def number(self, name: str) -> int:
        """A whole number."""
        value = self._values.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.fault(name, "is no whole number")
        return value

    def entries(self, name: str, *, least: int = 0) -> list[object]:
        """A list, empty where it is absent."""
        value = self._values.get(name, [])
        if not isinstance(value, list):
            raise self.fault(name, "is no list")
        if len(value) < least:
            raise self.fault(name, f"has fewer than {least} entries")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of strings."""
        return self.strings(self.entries(name), name)

    def strings(self, values: Sequence[object], name: str) -> list[str]:
        """The values, all of which must be strings that are not blank."""
        texts = [value for value in values if isinstance(value, str) and value.strip()]
        if len(texts) != len(values):
            raise self.fault(name, "holds something else than texts")
        for text in texts:
            self._check_unicode(name, text)
        return texts

    def _check_unicode(self, name: str, text: str) -> None:
        """JSON can write half of a character, which no message can carry."""
        try:
            text.encode()
        except UnicodeEncodeError:
            raise self.fault(name, "is not valid Unicode text") from None

    def below(self, name: str, number: int, value: object) -> _Fields:
        """The fields of a list's entry."""
        return _Fields(value, f"{self._where}: {name}[{number}]")


def _parse(line: str, where: str) -> Item:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadItems(f"{where}: is not JSON: {error}") from None
    fields = _Fields(values, where)
    sources = tuple(
        _source(fields.below("sources", number, value))
        for number, value in enumerate(fields.entries("sources", least=1), start=1)
    )
    if len(sources) > MAX_SOURCES:
        raise fields.fault("sources", f"has {len(sources)} entries; at most {MAX_SOURCES} can be given to a question")
    return Item(
        id=fields.text("id"),
        question=fields.text("question"),
        sources=sources,
        kind=_kind(fields),
        evidence=_evidence(fields, sources),
        answers=_answers(fields),
        subject=fields.text("subject", ""),
        language=fields.text("language", "en"),
        traits=frozenset(fields.texts("traits")),
        held_aside=fields.flag("held_aside"),
    )


def _source(fields: _Fields) -> PinnedSource:
    return PinnedSource(fields.text("title"), fields.text("url", ""), fields.text("text"))


def _kind(fields: _Fields) -> Kind | None:
    name = fields.text("kind", "")
    if not name:
        return None
    try:
        kind = Kind(name)
    except ValueError:
        raise fields.fault("kind", f"is {name!r}, which is none of {', '.join(Kind)}") from None
    counts = {Kind.SINGLE: range(1, MAX_SOURCES + 1), Kind.DOUBLE: range(2, 3), Kind.UNANSWERABLE: range(1)}
    found = len(fields.entries("evidence"))
    if found not in counts[kind]:
        raise fields.fault("evidence", f"has {found} entries, which does not suit the kind {kind}")
    return kind


def _evidence(fields: _Fields, sources: Sequence[PinnedSource]) -> tuple[Evidence, ...]:
    found = []
    for number, value in enumerate(fields.entries("evidence"), start=1):
        entry = fields.below("evidence", number, value)
        source, sentence = entry.number("source"), entry.text("sentence")
        if not 1 <= source <= len(sources):
            raise entry.fault("source", f"is {source}; there are {len(sources)} sources")
        if sentence not in sources[source - 1].text:
            raise entry.fault("sentence", f"does not occur in the text of source {source}")
        found.append(Evidence(source, sentence))
    return tuple(found)


def _answers(fields: _Fields) -> tuple[tuple[str, ...], ...]:
    facts = []
    for number, value in enumerate(fields.entries("answers"), start=1):
        name = f"answers[{number}]"
        if not isinstance(value, list) or not value:
            raise fields.fault(name, "is no list of strings")
        facts.append(tuple(fields.strings(value, name)))
    return tuple(facts)
