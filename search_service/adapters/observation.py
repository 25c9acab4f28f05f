"""Searches and providers that tell what happens to them: in the call's log line, its span and the metrics."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, Protocol

from groundwire_rpc.calls import current_call
from groundwire_rpc.tracing import CANCELLED, NO_SPAN
from search_service.core.errors import (
    InvalidQuery,
    ProviderNotSetUp,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
    SearchTimeout,
)
from search_service.core.ports import SearchProvider
from search_service.core.search import Searcher
from search_service.core.types import Provider, ProviderStatus, SearchAnswer, SearchPage, SearchQuery

_OUTCOMES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (asyncio.CancelledError, "cancelled"),
    (InvalidQuery, "invalid_query"),
    (ProviderNotSetUp, "not_set_up"),
    (RateLimited, "rate_limited"),
    (QuotaExhausted, "quota_exhausted"),
    (SearchTimeout, "timeout"),
    (ProviderUnavailable, "unavailable"),
)
"""How a provider may fail to answer. Anything else: error."""


class SearchCounts(Protocol):
    """Counts searches."""

    def answered(self, answer: SearchAnswer) -> None:
        """A search was answered."""

    def asked(self, provider: Provider, outcome: str, seconds: float) -> None:
        """A provider was asked."""


class ObservedSearcher(Searcher):
    """A Searcher that tells of its answers."""

    def __init__(self, *core: Any, counts: SearchCounts | None, **settings: Any) -> None:
        """`counts` counts them; None: nobody does. The rest is the Searcher's own."""
        super().__init__(*core, **settings)
        self._counts = counts

    async def search(self, query: SearchQuery, **options: Any) -> SearchAnswer:
        """As the Searcher has it."""
        call = current_call()
        answer = await super().search(query, **options)
        told = {"provider": answer.page.provider.value, "from_cache": answer.from_cache}
        if call is not None:
            call.note(**told, results=len(answer.page.results))
            call.span.set(
                {f"groundwire.search.{name}": value for name, value in told.items()}
                | {"groundwire.search.results": len(answer.page.results)}
            )
        if self._counts is not None:
            self._counts.answered(answer)
        return answer


class ObservedProvider:
    """A SearchProvider that tells how each query went and how long it took."""

    def __init__(self, inner: SearchProvider, counts: SearchCounts | None) -> None:
        self._inner = inner
        self._counts = counts

    @property
    def provider(self) -> Provider:
        """Which one it is."""
        return self._inner.provider

    async def search(self, query: SearchQuery, *, timeout_seconds: float) -> SearchPage:
        """Answer one query within the time. Raises SearchError."""
        # Also in a flight that several callers share: the one who began it is found, as its task began it.
        call = current_call()
        name = self.provider.value
        parent = call.span if call is not None else NO_SPAN
        span = parent.child(f"search {name}", kind="client", attributes={"groundwire.search.provider": name})
        started = time.monotonic()
        outcome = "error"
        try:
            page = await self._inner.search(query, timeout_seconds=timeout_seconds)
            outcome = "ok"
            span.set({"groundwire.search.results": len(page.results)})
            return page
        except BaseException as error:
            outcome = next((word for kind, word in _OUTCOMES if isinstance(error, kind)), "error")
            raise
        finally:
            span.set({"groundwire.outcome": outcome})
            span.end(error={"ok": "", "cancelled": CANCELLED}.get(outcome, outcome))
            if self._counts is not None:
                self._counts.asked(self.provider, outcome, time.monotonic() - started)

    def status(self) -> ProviderStatus:
        """How it is."""
        return self._inner.status()

    async def close(self) -> None:
        """Give back what it holds."""
        await self._inner.close()
