"""Pooled HTTP connections that stay usable after requests were cut short."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx

_LIMITS: Final = httpx.Limits(max_connections=20, max_keepalive_connections=10, keepalive_expiry=30.0)


@dataclass(slots=True, eq=False)
class _Lease:
    client: httpx.AsyncClient
    requests: int = 0
    """Under way."""


class HttpPool:
    """One client for all requests, replaced by a fresh one after a request that did not read its answer to the end.

    httpcore never resets the HTTP/2 stream of such a request (https://github.com/encode/httpcore/issues/943). Streams,
    and data that nobody acknowledged, would add up until the connection takes no further request. Other requests that
    run on the replaced client end in peace; the last of them closes it.
    """

    def __init__(self) -> None:
        """Speaks HTTP/2 where a server offers it over TLS, else HTTP/1.1."""
        self._ssl_context = httpx.create_ssl_context()  # loading it takes a while: once is enough
        self._current = self._new()
        self._leases = {self._current}

    @asynccontextmanager
    async def get(
        self, url: httpx.URL, *, headers: Mapping[str, str], timeout: httpx.Timeout
    ) -> AsyncIterator[httpx.Response]:
        """One answer to a GET, its body not yet read. No redirect is followed. Raises httpx.HTTPError."""
        lease = self._current
        lease.requests += 1
        is_whole = False
        try:
            async with lease.client.stream("GET", url, headers=headers, timeout=timeout) as response:
                yield response
                is_whole = response.is_closed  # reading the body to its end closes it
        finally:
            lease.requests -= 1
            if not is_whole and lease is self._current:
                self._current = self._new()
                self._leases.add(self._current)
            if lease is not self._current and not lease.requests:
                await self._close(lease)

    async def close(self) -> None:
        """Close every connection."""
        for lease in tuple(self._leases):
            await self._close(lease)

    async def _close(self, lease: _Lease) -> None:
        self._leases.discard(lease)
        await lease.client.aclose()

    def _new(self) -> _Lease:
        return _Lease(httpx.AsyncClient(verify=self._ssl_context, http2=True, follow_redirects=False, limits=_LIMITS))
