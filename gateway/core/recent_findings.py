"""What searches found a short while ago, in memory, for the time in which the search service is down."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Final

from gateway.core.errors import BackendUnavailable, CircuitOpen
from gateway.core.ports import Clock, Metadata, SourceFinder
from gateway.core.types import Findings, FoundResult, SourceQuery

MAX_CHARACTERS: Final = 16 * 1024 * 1024
"""Of all texts that are kept; the oldest go first. Python takes 1 to 4 bytes for each."""


class RecentFindings:
    """Findings by query; the least recently used go first when there are too many, and none outlives its age."""

    def __init__(self, *, max_age_seconds: float, max_entries: int, clock: Clock) -> None:
        """Both are above 0."""
        self._max_age_seconds = max_age_seconds
        self._max_entries = max_entries
        self._clock = clock
        self._kept: OrderedDict[SourceQuery, tuple[Findings, float, int]] = OrderedDict()
        self._characters = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, query: SourceQuery, findings: Findings) -> None:
        """Keep what was found in place of what was kept for that query. Nothing found is nothing to keep."""
        key = _key(query)
        self._drop(key)
        if not findings.results:
            return
        size = sum(map(_characters, findings.results))
        self._kept[key] = findings, self._clock(), size
        self._characters += size
        while len(self._kept) > self._max_entries or self._characters > MAX_CHARACTERS:
            self._drop(next(iter(self._kept)))

    def recall(self, query: SourceQuery) -> tuple[Findings, float] | None:
        """What was found for that query, and how many seconds ago. None where nothing is kept, or it is too old."""
        key = _key(query)
        if key not in self._kept:
            return None
        findings, found_at, _ = self._kept[key]
        age = self._clock() - found_at
        if age > self._max_age_seconds:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return findings, age

    def _drop(self, key: SourceQuery) -> None:
        if key in self._kept:
            *_, size = self._kept.pop(key)
            self._characters -= size


class BrownOutFinder:
    """A SourceFinder that gives what it found before, flagged with its age, where the service is down."""

    def __init__(self, finder: SourceFinder, recent: RecentFindings) -> None:
        self._finder = finder
        self._recent = recent

    async def find(self, query: SourceQuery, *, timeout_seconds: float, metadata: Metadata) -> Findings:
        """Search once. Raises BackendFailed, where the service is down only if nothing is kept for this query."""
        try:
            findings = await self._finder.find(query, timeout_seconds=timeout_seconds, metadata=metadata)
        except (CircuitOpen, BackendUnavailable):
            kept = self._recent.recall(query)
            if kept is None:
                raise
            findings, age = kept
            return replace(findings, from_cache=True, stale_age_seconds=age)
        self._recent.keep(query, findings)
        return findings


def _key(query: SourceQuery) -> SourceQuery:
    # Whoever would not have what is cached when all is well is better served by it than by nothing.
    return replace(query, options=replace(query.options, bypass_cache=False))


def _characters(result: FoundResult) -> int:
    return (
        len(result.title)
        + len(result.host)
        + len(result.description)
        + sum(map(len, result.extra_snippets))
        + len(result.url or "")
    )
