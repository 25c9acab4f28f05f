"""HTTP to Brave: one pooled client, bounded answers, no redirect off the host, and a token that shows nowhere."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx
from pydantic import SecretStr

from search_service.adapters.brave_params import BraveRequest
from search_service.adapters.http_pool import HttpPool
from search_service.core.errors import ProviderUnavailable, SearchError, SearchTimeout

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""Of an answer, both as sent and unpacked. Twenty results with everything Brave adds stay far below."""
MAX_REDIRECTS: Final = 3
CONNECT_TIMEOUT_SECONDS: Final = 3.0
READ_TIMEOUT_SECONDS: Final = 10.0
"""Between two pieces of an answer, however far away the deadline is."""
_GZIP: Final = 31  # zlib's window bits for a gzip container
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class ConnectionLost(ProviderUnavailable):
    """The connection could not be made, or broke: worth another try."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    payload: object
    """The body as JSON; None where it is not JSON."""


class BraveHttp:
    """A pooled client for one base URL and token."""

    def __init__(self, base_url: str, token: SecretStr) -> None:
        """`base_url` without a trailing slash."""
        self._base_url = base_url
        self._token = token
        # At their debug level these print request headers, the token among them.
        for name in ("hpack", "h2", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._pool = HttpPool()

    async def get(self, request: BraveRequest, *, timeout_seconds: float) -> Reply:
        """One answer, whatever its status.

        Raises ConnectionLost, SearchTimeout, and ProviderUnavailable for an answer that is too large, damaged or leads
        elsewhere. The timeout is for each connect and read: the caller bounds the whole.
        """
        connect = min(CONNECT_TIMEOUT_SECONDS, timeout_seconds)
        timeout = httpx.Timeout(min(READ_TIMEOUT_SECONDS, timeout_seconds), connect=connect)
        url = httpx.URL(self._base_url + request.path, params=request.params)
        try:
            for _ in range(MAX_REDIRECTS + 1):
                answer = await self._get_once(url, timeout)
                if isinstance(answer, Reply):
                    return answer
                url = answer
            problem: SearchError = ProviderUnavailable("Brave Search redirects in circles.")
        except httpx.ConnectTimeout:
            problem = ConnectionLost(f"Brave Search could not be reached within {connect:g} s.")
        except httpx.TimeoutException:
            problem = SearchTimeout("Brave Search did not answer in time.")
        except httpx.HTTPError as error:
            problem = ConnectionLost(f"The connection to Brave Search failed ({type(error).__name__}).")
        # Raised out here: within the handler it would carry the request, and its headers, as its context.
        raise problem

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    async def _get_once(self, url: httpx.URL, timeout: httpx.Timeout) -> Reply | httpx.URL:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "Cache-Control": "no-cache",
            "User-Agent": "groundwire",
            "X-Subscription-Token": self._token.get_secret_value(),
        }
        async with self._pool.get(url, headers=headers, timeout=timeout) as response:
            if response.status_code in _REDIRECTS:
                return _same_origin(url, response.headers.get("location", ""))
            body = await _read(response)
        received = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status_code, received, json_of(body, self._token.get_secret_value()))


def _same_origin(url: httpx.URL, location: str) -> httpx.URL:
    try:
        target = url.join(location)
    except httpx.InvalidURL:
        target = None
    if target is None or not location or (target.scheme, target.host, target.port) != (url.scheme, url.host, url.port):
        raise ProviderUnavailable("Brave Search redirects to another host, which is not followed.")
    return target


async def _read(response: httpx.Response) -> bytes:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise ProviderUnavailable("Brave Search answered in an encoding that was not asked for.")
    unpack = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
    body = bytearray()
    received = 0
    async for chunk in response.aiter_raw():
        received += len(chunk)
        try:
            # Bounded while it is unpacked: a small chunk may hold a thousand times its size.
            body += unpack.decompress(chunk, MAX_BODY_BYTES + 1 - len(body)) if unpack else chunk
        except zlib.error:
            raise ProviderUnavailable("Brave Search sent a damaged answer.") from None
        if max(received, len(body)) > MAX_BODY_BYTES:
            raise ProviderUnavailable(f"Brave Search sent an answer of more than {MAX_BODY_BYTES // 2**20} MiB.")
    if unpack is not None and received and not unpack.eof:
        raise ProviderUnavailable("Brave Search sent a damaged answer.")
    return bytes(body)


def json_of(body: bytes, token: str) -> object:
    """The body as JSON, without the token; None where it is not JSON."""
    # An answer that quotes the request must not bring the token back into a message.
    text = body.decode("utf-8", errors="replace").replace(token, "[token]")
    try:
        payload: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return payload
