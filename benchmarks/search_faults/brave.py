"""A Brave that misbehaves, behind the real search service: a status or an answer in time, and no call too many."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from pydantic import SecretStr

from groundwire.search.v1 import search_pb2, search_pb2_grpc
from groundwire_rpc.channels import open_channel
from groundwire_rpc.status import from_rpc_error
from search_service.adapters.brave import MAX_RETRIES
from search_service.adapters.brave_http import MAX_BODY_BYTES, MAX_REDIRECTS
from search_service.config import SearchConfig
from search_service.core.limiter import CONSERVATIVE_START
from search_service.server import build_searcher, build_server
from tests.support.brave_stand_in import BraveStandIn, Fault

TOKEN: Final = "made-up-token"  # noqa: S105 - of a stand-in
DEADLINE_SECONDS: Final = 4.0
MAX_LATE_SECONDS: Final = 0.5
"""What a caller on the same busy machine may take to notice that its deadline passed."""
_NEVER_ENDS: Final = frozenset({Fault.SLOW, Fault.TRICKLE})
_SHORT_DEADLINE_SECONDS: Final = 1.5
"""For what only the deadline ends."""
MAX_MEMORY_BYTES: Final = 8 * MAX_BODY_BYTES
"""What one answer may make the process take: its body as bytes, as text, and as what is read of it."""
_TRIES: Final = 1 + MAX_RETRIES

Expected = tuple[str, int]
"""(code and, where it failed, reason; the most calls to Brave)."""

EXPECTED: Final[dict[Fault, Expected]] = {
    Fault.SLOW: ("DEADLINE_EXCEEDED SEARCH_TIMEOUT", 1),
    Fault.TRICKLE: ("DEADLINE_EXCEEDED SEARCH_TIMEOUT", 1),
    Fault.CUT: ("UNAVAILABLE PROVIDER_UNAVAILABLE", _TRIES),
    Fault.RESET: ("UNAVAILABLE PROVIDER_UNAVAILABLE", _TRIES),
    Fault.RATE_LIMITED: ("RESOURCE_EXHAUSTED RATE_LIMITED", _TRIES),
    Fault.QUOTA_SPENT: ("RESOURCE_EXHAUSTED QUOTA_EXHAUSTED", 1),
    Fault.SERVER_ERROR: ("UNAVAILABLE PROVIDER_UNAVAILABLE", _TRIES),
    Fault.BAD_GATEWAY: ("UNAVAILABLE PROVIDER_UNAVAILABLE", _TRIES),
    Fault.JUNK: ("UNAVAILABLE PROVIDER_UNAVAILABLE", 1),
    Fault.NOT_AN_OBJECT: ("UNAVAILABLE PROVIDER_UNAVAILABLE", 1),
    Fault.DEEP: ("UNAVAILABLE PROVIDER_UNAVAILABLE", 1),
    Fault.A_PAGE: ("UNAVAILABLE PROVIDER_UNAVAILABLE", 1),
    Fault.DAMAGED_GZIP: ("UNAVAILABLE PROVIDER_UNAVAILABLE", 1),
    Fault.ODD_ENCODING: ("UNAVAILABLE PROVIDER_UNAVAILABLE", 1),
    Fault.ENDLESS: ("UNAVAILABLE PROVIDER_UNAVAILABLE", 1),
    Fault.BOMB: ("UNAVAILABLE PROVIDER_UNAVAILABLE", 1),
    Fault.TOO_MANY_HEADERS: ("UNAVAILABLE PROVIDER_UNAVAILABLE", _TRIES),
    Fault.REDIRECT_HOST: ("UNAVAILABLE PROVIDER_UNAVAILABLE", 1),
    Fault.REDIRECT_LOOP: ("UNAVAILABLE PROVIDER_UNAVAILABLE", 1 + MAX_REDIRECTS),
    Fault.WRONG_TYPE: ("OK", 1),
    Fault.WRONG_TYPES: ("OK", 1),
    Fault.BAD_UTF8: ("OK", 1),
    Fault.SURROGATES: ("OK", 1),
    Fault.INTERNAL_LINKS: ("OK", 1),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one search ended."""

    ended: str
    """As in Expected."""
    late_seconds: float
    """Beyond its deadline; below 0 where it ended in time."""
    calls: int
    """To Brave."""
    memory_bytes: int
    """The most that Python's objects took more than before."""
    sent_bytes: int
    """Of a body without end, as far as it was taken."""
    urls: tuple[str, ...]

    def problem(self, expected: Expected) -> str:
        """What is not as it must be; empty where all is."""
        ended, calls = expected
        if self.ended != ended:
            return f"ended {self.ended}, not {ended}"
        if self.calls > calls:
            return f"{self.calls} calls to Brave, not at most {calls}"
        if self.late_seconds > MAX_LATE_SECONDS:
            return f"took {self.late_seconds:.1f} s more than its deadline allows"
        if self.memory_bytes > MAX_MEMORY_BYTES:
            return f"took {self.memory_bytes:,} bytes, not at most {MAX_MEMORY_BYTES:,}"
        return ""


@asynccontextmanager
async def search_behind(brave: BraveStandIn, folder: Path) -> AsyncIterator[search_pb2_grpc.SearchServiceAsyncStub]:
    """The real search service on that Brave, and a client of it."""
    config = SearchConfig(
        search_listen="127.0.0.1:0",
        BRAVE_API_KEY=SecretStr(brave.token),
        brave_base_url=brave.base_url,
        index_path=folder / "index.sqlite3",
        search_cache_entries=0,
    )
    searcher = build_searcher(config)
    server = build_server(config, searcher)
    address = await server.start()
    try:
        async with open_channel(address) as channel:
            yield search_pb2_grpc.SearchServiceStub(channel)
    finally:
        await server.stop(0)
        await searcher.close()


async def one_fault(fault: Fault, folder: Path, *, redirect_to: str = "") -> Outcome:
    """One search that meets the fault, on a service of its own."""
    async with BraveStandIn(token=TOKEN) as brave, search_behind(brave, folder) as stub:
        if redirect_to:
            brave.redirect_to = redirect_to
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        began = time.monotonic()
        urls: tuple[str, ...] = ()
        deadline = _SHORT_DEADLINE_SECONDS if fault in _NEVER_ENDS else DEADLINE_SECONDS
        try:
            response = await stub.Search(search_pb2.SearchRequest(query=f"fault:{fault}"), timeout=deadline)
            ended, urls = "OK", tuple(result.url for result in response.results)
        except grpc.aio.AioRpcError as error:
            ended = f"{error.code().name} {from_rpc_error(error).reason}"
        seconds = time.monotonic() - began
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return Outcome(ended, seconds - deadline, len(brave.requests), peak - before, brave.bytes_sent, urls)


@dataclass(frozen=True, slots=True)
class StormTally:
    """What came of many callers whom Brave refuses all."""

    callers: int
    seconds: float
    calls: int
    permitted: int
    """By the smallest plan there is, in that time."""
    untyped: int
    late: int


async def storm(folder: Path, callers: int, seconds: float) -> StormTally:
    """So many callers ask again and again, each as soon as it was refused, while Brave answers 429 only."""
    untyped = late = 0
    async with BraveStandIn(token=TOKEN) as brave, search_behind(brave, folder) as stub:
        began = time.monotonic()

        async def ask(number: int) -> None:
            nonlocal untyped, late
            while (left := began + seconds - time.monotonic()) > 0:
                asked = time.monotonic()
                request = search_pb2.SearchRequest(query=f"fault:rate-limited-bare {number}")
                try:
                    await stub.Search(request, timeout=max(0.5, left))
                    untyped += 1
                except grpc.aio.AioRpcError as error:
                    # Of a deadline the caller's own gRPC may tell first, and then gives no reason.
                    reasons = ("RATE_LIMITED", "SEARCH_TIMEOUT", "SEARCH_BUSY")
                    told = from_rpc_error(error).reason in reasons
                    untyped += not told and error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
                    late += time.monotonic() - asked > max(0.5, left) + 1.0
                await asyncio.sleep(0.02)

        await asyncio.gather(*(ask(number) for number in range(callers)))
        took = time.monotonic() - began
        permitted = 1 + int(took / CONSERVATIVE_START.window_seconds)
        return StormTally(callers, took, len(brave.requests), permitted, untyped, late)
