"""The Brave Search API as a SearchProvider: paced, retried within the deadline, its errors turned into the core's."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from pydantic import SecretStr

from search_service.adapters.brave_errors import OptionNotInPlan, ServerFailed, brave_error
from search_service.adapters.brave_http import BraveHttp, ConnectionLost, Reply
from search_service.adapters.brave_params import BraveRequest, brave_request
from search_service.adapters.brave_parse import parse_news, parse_web
from search_service.adapters.brave_rates import rate_windows
from search_service.core.callers import current_caller
from search_service.core.errors import ProviderNotSetUp, ProviderUnavailable, QuotaExhausted, RateLimited, SearchTimeout
from search_service.core.limiter import Limiter
from search_service.core.ports import Clock
from search_service.core.types import Provider, ProviderStatus, SearchPage, SearchQuery

MAX_RETRIES: Final = 2
FIRST_BACKOFF_SECONDS: Final = 0.2
"""Doubled with each try, and spread by half to one and a half of it."""


class BraveProvider:
    """Brave Search. One for a process: its limiter must see every call made with the token."""

    def __init__(
        self,
        token: SecretStr,
        *,
        base_url: str,
        clock: Clock,
        limiter: Limiter | None = None,
        jitter: Callable[[], float] = random.random,
        on_reply: Callable[[str], None] | None = None,
    ) -> None:
        """`limiter` is for others that use the token in this process; `jitter` gives numbers in [0, 1).

        `on_reply` is told of each call that was made: its HTTP status, or lost, timeout, junk or cancelled.
        """
        self._http = BraveHttp(base_url.rstrip("/"), token)
        self._limiter = limiter or Limiter("brave", clock)
        self._clock = clock
        self._jitter = jitter
        self._on_reply = on_reply
        # Learned from the first refusal and kept until a restart: asking each time would double every call.
        self._extra_snippets_in_plan = True
        self._refused = ""

    @property
    def provider(self) -> Provider:
        """Brave."""
        return Provider.BRAVE

    async def search(self, query: SearchQuery, *, timeout_seconds: float) -> SearchPage:
        """Answer one query within the time, waiting for its turn included. Raises SearchError."""
        extra_snippets = query.extra_snippets and self._extra_snippets_in_plan
        request = brave_request(query, extra_snippets=extra_snippets)
        deadline = self._clock.monotonic() + timeout_seconds
        try:
            async with asyncio.timeout(timeout_seconds):
                try:
                    payload = await self._answer(request, deadline)
                except OptionNotInPlan:
                    if not extra_snippets:
                        raise
                    payload = await self._answer(brave_request(query, extra_snippets=False), deadline)
                    self._extra_snippets_in_plan = False  # it was this option that the plan lacks
        except TimeoutError:
            raise SearchTimeout("Brave Search took longer than the deadline allows.") from None
        return parse_news(payload, query) if request.path == "/news/search" else parse_web(payload, query)

    def status(self) -> ProviderStatus:
        """How it is, as of the last answer."""
        spent = self._limiter.quota_error()
        problem = self._refused or (str(spent) if spent else "")
        return ProviderStatus(
            Provider.BRAVE,
            available=not problem,
            detail=problem or "Brave Search: the web and news.",
            quotas=self._limiter.quotas(),
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._http.close()

    async def _answer(self, request: BraveRequest, deadline: float) -> object:
        """The JSON of an answer with status 200. What may pass is tried again, the limiter's pace kept."""
        tries_left = MAX_RETRIES
        while True:
            await self._limiter.acquire(timeout_seconds=self._remaining(deadline), caller=current_caller())
            try:
                return self._payload(await self._get(request, timeout_seconds=self._remaining(deadline)))
            except (ConnectionLost, ServerFailed, RateLimited) as error:
                if isinstance(error, RateLimited):
                    self._limiter.pause(error.retry_after_seconds)  # for every caller, also where this one gives up
                backoff = FIRST_BACKOFF_SECONDS * 2 ** (MAX_RETRIES - tries_left) * (0.5 + self._jitter())
                if not tries_left or backoff >= self._remaining(deadline):
                    raise
            tries_left -= 1
            await self._clock.sleep(backoff)

    async def _get(self, request: BraveRequest, *, timeout_seconds: float) -> Reply:
        """One call, told of however it ends."""
        outcome = "cancelled"
        try:
            reply = await self._http.get(request, timeout_seconds=timeout_seconds)
            outcome = str(reply.status)
            return reply
        except ConnectionLost:
            outcome = "lost"
            raise
        except SearchTimeout:
            outcome = "timeout"
            raise
        except ProviderUnavailable:
            outcome = "junk"
            raise
        finally:
            if self._on_reply is not None:
                self._on_reply(outcome)

    def _payload(self, reply: Reply) -> object:
        self._limiter.observe(rate_windows(reply.headers))
        if reply.status != 200:
            error = brave_error(reply.status, reply.payload)
            if isinstance(error, QuotaExhausted):
                self._limiter.exhausted(error)
            if isinstance(error, (RateLimited, QuotaExhausted)):
                # The headers know when the month ends; the body may only know that it is spent.
                raise self._limiter.quota_error() or error
            if isinstance(error, ProviderNotSetUp) and not isinstance(error, OptionNotInPlan):
                self._refused = str(error)
            raise error
        self._limiter.answered()
        if not isinstance(reply.payload, dict):
            raise ProviderUnavailable("Brave Search answered with something that is not a JSON object.")
        self._refused = ""
        return reply.payload

    def _remaining(self, deadline: float) -> float:
        return max(0.0, deadline - self._clock.monotonic())
