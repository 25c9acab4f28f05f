"""A SearchProvider that tests script."""

from __future__ import annotations

import asyncio
from collections import deque

from search_service.core.errors import SearchError
from search_service.core.types import (
    Location,
    Provider,
    ProviderStatus,
    Quota,
    SearchPage,
    SearchQuery,
    SearchResult,
    Vertical,
)


def page_for(query: SearchQuery, provider: Provider = Provider.BRAVE) -> SearchPage:
    result = SearchResult(
        rank=1,
        vertical=Vertical.WEB,
        title=f"About {query.text}",
        host="example.org",
        url="https://example.org/",
        description="A passage.",
    )
    if provider is Provider.LOCAL:
        location = Location("notes/a.md", "Top > Deeper")
        result = SearchResult(rank=1, vertical=Vertical.LOCAL, title="Notes", host="local", location=location)
    return SearchPage((result,), provider)


class FakeProvider:
    """Answers at once, or when `gate` opens; raises what is queued in `errors` first."""

    def __init__(self, provider: Provider = Provider.BRAVE) -> None:
        self._provider = provider
        self.queries: list[tuple[SearchQuery, float]] = []
        self.errors: deque[SearchError | Exception] = deque()
        self.gate = asyncio.Event()
        self.gate.set()
        self.cancelled = 0
        self.closed = False
        self.quotas: tuple[Quota, ...] = ()

    @property
    def provider(self) -> Provider:
        return self._provider

    async def search(self, query: SearchQuery, *, timeout_seconds: float) -> SearchPage:
        self.queries.append((query, timeout_seconds))
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.errors:
            raise self.errors.popleft()
        return page_for(query, self._provider)

    def status(self) -> ProviderStatus:
        return ProviderStatus(self._provider, available=True, detail="A fake.", quotas=self.quotas)

    async def close(self) -> None:
        self.closed = True
