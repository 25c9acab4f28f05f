"""Answers kept for a short while, in memory only: a provider's terms may forbid to store them."""

from __future__ import annotations

from cachetools import TTLCache

from search_service.core.ports import Clock
from search_service.core.types import Provider, SearchPage, SearchQuery

CacheKey = tuple[Provider, SearchQuery]


class AnswerCache:
    """Pages by provider and query; the least recently used goes first when it is full."""

    def __init__(self, *, max_entries: int, max_age_seconds: float, clock: Clock) -> None:
        """0 for max_entries or max_age_seconds turns it off."""
        enabled = max_entries > 0 and max_age_seconds > 0
        self._pages: TTLCache[CacheKey, SearchPage] | None = (
            TTLCache(maxsize=max_entries, ttl=max_age_seconds, timer=clock.monotonic) if enabled else None
        )

    def get(self, key: CacheKey) -> SearchPage | None:
        """The page, if there is a fresh one."""
        return None if self._pages is None else self._pages.get(key)

    def put(self, key: CacheKey, page: SearchPage) -> None:
        """Keep a page in place of an older one."""
        if self._pages is not None:
            self._pages[key] = page

    def __len__(self) -> int:
        if self._pages is None:
            return 0
        self._pages.expire()
        return len(self._pages)
