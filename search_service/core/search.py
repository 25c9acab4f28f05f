"""One query, answered: choose the provider, spare it what is known or already asked, keep to the caller's deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from search_service.core.admission import Admission
from search_service.core.cache import AnswerCache, CacheKey
from search_service.core.callers import searching_for
from search_service.core.errors import ProviderNotSetUp, RateLimited, SearchTimeout
from search_service.core.flights import Flights
from search_service.core.ports import Clock, SearchProvider
from search_service.core.types import Provider, ProviderStatus, SearchAnswer, SearchPage, SearchQuery, ServiceStatus

DEFAULT_MAX_IN_FLIGHT: Final = 256
"""A search that waits holds little: this many take no more than a few MiB, and a provider is slow long before."""

_KEPT: Final = frozenset({Provider.BRAVE})
"""Whose answers are cached. A local index is quick to ask, and may be changed by another process at any time."""

_WORTH_ASKING_AGAIN_SECONDS: Final = 0.5
"""A caller with at least this much more time than the shared call had may try again where that ran out of time."""


class Searcher:
    """What the service does, whatever it is called through."""

    def __init__(
        self,
        providers: Sequence[SearchProvider],
        *,
        default: Provider,
        cache: AnswerCache,
        clock: Clock,
        max_in_flight: int = DEFAULT_MAX_IN_FLIGHT,
        caller_share: float = 1.0,
    ) -> None:
        """It owns the providers from here on: `close` closes them. At most `max_in_flight` searches run at once.

        One caller may have `caller_share` of them: above 0, to 1.
        """
        self._providers = {provider.provider: provider for provider in providers}
        self._default = default
        self._cache = cache
        self._clock = clock
        self._admission = Admission(max_in_flight, clock, caller_share=caller_share)
        self._flights: Flights[CacheKey, SearchPage] = Flights()

    async def search(
        self,
        query: SearchQuery,
        *,
        provider: Provider | None,
        bypass_cache: bool,
        timeout_seconds: float,
        caller: str = "",
    ) -> SearchAnswer:
        """Answer a query of this caller within the time. Raises SearchError.

        Identical queries at one time share one call to the provider, unless they bypass the cache. What the cache holds
        is answered however many searches run.
        """
        started = self._clock.monotonic()
        chosen = self._chosen(provider or self._default)
        key = (chosen.provider, query)
        kept = None if bypass_cache else self._cache.get(key)
        if kept is not None:
            return SearchAnswer(kept, from_cache=True, elapsed_seconds=self._clock.monotonic() - started)
        with self._admission.place(caller), searching_for(caller):
            try:
                # The provider keeps to the time by itself; this holds where it does not.
                async with asyncio.timeout(timeout_seconds):
                    if bypass_cache:
                        page, shared = await self._ask(chosen, query, timeout_seconds), False
                    else:
                        page, shared = await self._ask_once(chosen, query, started + timeout_seconds)
            except TimeoutError:
                raise SearchTimeout(
                    f"The {chosen.provider.value} search took longer than the deadline allows."
                ) from None
        return SearchAnswer(page, from_cache=shared, elapsed_seconds=self._clock.monotonic() - started)

    def status(self) -> ServiceStatus:
        """How the service is. Does not block."""
        statuses = tuple(provider.status() for provider in self._providers.values())
        admission = self._admission
        return ServiceStatus(self._default, statuses, len(self._cache), admission.running, admission.max_in_flight)

    async def close(self) -> None:
        """Close every provider."""
        for provider in self._providers.values():
            await provider.close()

    def _chosen(self, provider: Provider) -> SearchProvider:
        try:
            return self._providers[provider]
        except KeyError:
            raise ProviderNotSetUp(
                f"This server has no {provider.value} provider.", setting="GROUNDWIRE_SEARCH_PROVIDER"
            ) from None

    async def _ask_once(self, provider: SearchProvider, query: SearchQuery, deadline: float) -> tuple[SearchPage, bool]:
        """The page, and whether another caller's call brought it."""
        key = (provider.provider, query)
        while True:
            flight = self._flights.current(key)
            if flight is None:
                timeout_seconds = max(0.0, deadline - self._clock.monotonic())
                call = partial(self._ask, provider, query, timeout_seconds)
                flight = self._flights.start(key, call, ends_by=deadline)
                return await self._flights.join(key, flight), False
            try:
                return await self._flights.join(key, flight), True
            except (SearchTimeout, RateLimited):
                # It failed for want of the time that whoever started it had; this caller may have more.
                if deadline < flight.ends_by + _WORTH_ASKING_AGAIN_SECONDS:
                    raise

    async def _ask(self, provider: SearchProvider, query: SearchQuery, timeout_seconds: float) -> SearchPage:
        page = await provider.search(query, timeout_seconds=timeout_seconds)
        if provider.provider in _KEPT:
            self._cache.put((provider.provider, query), page)
        return page


class MissingProvider:
    """A provider whose setting is missing: it can be named and reported, and refuses every query."""

    def __init__(self, provider: Provider, *, reason: str, setting: str) -> None:
        """`reason` is a sentence that says what to set; `setting` is the environment variable."""
        self._provider = provider
        self._reason = reason
        self._setting = setting

    @property
    def provider(self) -> Provider:
        """Which one is missing."""
        return self._provider

    async def search(self, query: SearchQuery, *, timeout_seconds: float) -> SearchPage:  # noqa: ARG002 - it asks nobody
        """Raise ProviderNotSetUp."""
        raise ProviderNotSetUp(self._reason, setting=self._setting)

    def status(self) -> ProviderStatus:
        """Not available, and why."""
        return ProviderStatus(self._provider, available=False, detail=self._reason)

    async def close(self) -> None:
        """Nothing to give back."""
