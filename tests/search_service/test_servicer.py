"""Statuses and details as a caller over a real channel sees them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from groundwire.search.v1 import search_pb2 as pb
from groundwire.search.v1 import search_pb2_grpc
from groundwire_rpc.channels import open_channel
from groundwire_rpc.server import RpcServer
from groundwire_rpc.status import PUSHBACK_TRAILER, RichStatus, from_rpc_error
from search_service.adapters.system_clock import SystemClock
from search_service.core import errors
from search_service.core.cache import AnswerCache
from search_service.core.search import Searcher
from search_service.core.types import Provider
from search_service.server import SERVICE_NAME
from search_service.servicer import SearchServicer, status_of
from tests.support.search_providers import FakeProvider

MAX_IN_FLIGHT = 120
"""More than any test needs but those of the limit."""
CALLER_MAX = 108


def caller(number: int) -> tuple[tuple[str, str], ...]:
    return (("x-groundwire-caller", f"caller-{number % 4}"),)


@dataclass
class Wire:
    stub: search_pb2_grpc.SearchServiceAsyncStub
    brave: FakeProvider
    local: FakeProvider
    health: health_pb2_grpc.HealthAsyncStub

    async def failure(self, request: pb.SearchRequest, timeout: float = 5.0) -> tuple[RichStatus, dict[str, str]]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.stub.Search(request, timeout=timeout)
        trailers = {key: value for key, value in caught.value.trailing_metadata() or () if isinstance(value, str)}
        return from_rpc_error(caught.value), trailers


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    clock = SystemClock()
    brave, local = FakeProvider(Provider.BRAVE), FakeProvider(Provider.LOCAL)
    cache = AnswerCache(max_entries=10, max_age_seconds=60, clock=clock)
    searcher = Searcher(
        [brave, local], default=Provider.BRAVE, cache=cache, clock=clock, max_in_flight=MAX_IN_FLIGHT, caller_share=0.9
    )
    server = RpcServer("127.0.0.1:0", [SERVICE_NAME])
    servicer = SearchServicer(searcher, default_timeout_seconds=7.5)
    search_pb2_grpc.add_SearchServiceServicer_to_server(servicer, server.grpc_server)
    address = await server.start()
    async with open_channel(address) as channel:
        yield Wire(search_pb2_grpc.SearchServiceStub(channel), brave, local, health_pb2_grpc.HealthStub(channel))
    await server.stop(0)


async def test_a_search(wire: Wire) -> None:
    response = await wire.stub.Search(pb.SearchRequest(query="cats"), timeout=5)
    assert response.results[0].title == "About cats"
    assert not response.from_cache
    assert (await wire.stub.Search(pb.SearchRequest(query="cats"), timeout=5)).from_cache
    local = await wire.stub.Search(pb.SearchRequest(query="cats", provider=pb.PROVIDER_LOCAL), timeout=5)
    assert local.provider == pb.PROVIDER_LOCAL
    assert local.results[0].location.path == "notes/a.md"


async def test_the_deadline_goes_down(wire: Wire) -> None:
    await wire.stub.Search(pb.SearchRequest(query="cats"), timeout=3)
    await wire.stub.Search(pb.SearchRequest(query="dogs"))
    given, default = (seconds for _, seconds in wire.brave.queries)
    assert 2 < given < 3
    assert default == pytest.approx(7.5, abs=0.05)


async def test_offending_fields(wire: Wire) -> None:
    status, _ = await wire.failure(pb.SearchRequest(page_size=99))
    assert status.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in status.field_violations] == ["query", "page_size"]
    assert "page_size: is 99" in status.message


async def test_fields_that_the_provider_refuses(wire: Wire) -> None:
    wire.brave.errors.append(errors.InvalidQuery([("country", "unknown"), ("page", "too far")]))
    status, _ = await wire.failure(pb.SearchRequest(query="x"))
    assert status.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [(v.field, v.description) for v in status.field_violations] == [("country", "unknown"), ("page", "too far")]


async def test_a_provider_that_is_not_set_up(wire: Wire) -> None:
    wire.brave.errors.append(errors.ProviderNotSetUp("Set it.", setting="BRAVE_API_KEY"))
    status, _ = await wire.failure(pb.SearchRequest(query="x"))
    assert status == RichStatus(
        grpc.StatusCode.FAILED_PRECONDITION,
        "Set it.",
        reason="PROVIDER_NOT_SET_UP",
        metadata={"setting": "BRAVE_API_KEY"},
    )


async def test_a_rate_limit(wire: Wire) -> None:
    wire.brave.errors.append(errors.RateLimited("Slowly.", retry_after_seconds=1.25))
    status, trailers = await wire.failure(pb.SearchRequest(query="x"))
    assert (status.code, status.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert status.retry_after_seconds == 1.25
    assert trailers[PUSHBACK_TRAILER] == "1250"
    assert status.metadata == {"limit": "provider_rate"}
    assert not status.quota_violations


@pytest.mark.parametrize("retry_after_seconds", [None, 60.0])
async def test_a_spent_quota(wire: Wire, retry_after_seconds: float | None) -> None:
    wire.brave.errors.append(
        errors.QuotaExhausted("Spent.", subject="brave:month", retry_after_seconds=retry_after_seconds)
    )
    status, _ = await wire.failure(pb.SearchRequest(query="x"))
    assert (status.code, status.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXHAUSTED")
    assert [(quota.subject, quota.description) for quota in status.quota_violations] == [("brave:month", "Spent.")]
    assert status.retry_after_seconds == retry_after_seconds
    assert status.metadata == {"limit": "brave:month"}


async def test_a_provider_that_is_down(wire: Wire) -> None:
    wire.brave.errors.append(errors.ProviderUnavailable("Down."))
    status, _ = await wire.failure(pb.SearchRequest(query="x"))
    assert (status.code, status.reason) == (grpc.StatusCode.UNAVAILABLE, "PROVIDER_UNAVAILABLE")


async def test_a_provider_that_is_too_slow_is_named_before_the_deadline(wire: Wire) -> None:
    wire.brave.gate.clear()
    status, _ = await wire.failure(pb.SearchRequest(query="x"), timeout=2)
    assert (status.code, status.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "SEARCH_TIMEOUT")
    assert "brave" in status.message


async def test_what_nobody_expected_shows_no_internals(wire: Wire) -> None:
    wire.brave.errors.append(ZeroDivisionError("secret detail"))
    status, _ = await wire.failure(pb.SearchRequest(query="x"))
    assert (status.code, status.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in status.message


async def test_a_cancelled_call_stops_the_provider(wire: Wire) -> None:
    wire.brave.gate.clear()
    call = wire.stub.Search(pb.SearchRequest(query="x"), timeout=5)
    while not wire.brave.queries:
        await asyncio.sleep(0.01)
    call.cancel()
    while not wire.brave.cancelled:
        await asyncio.sleep(0.01)
    assert call.cancelled()


async def test_a_hundred_callers_make_one_call_to_the_provider(wire: Wire) -> None:
    wire.brave.gate.clear()
    calls = [asyncio.ensure_future(wire.stub.Search(pb.SearchRequest(query="x"), timeout=5)) for _ in range(100)]
    while not wire.brave.queries:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    wire.brave.gate.set()
    responses = await asyncio.gather(*calls)
    assert len(wire.brave.queries) == 1
    assert sum(not response.from_cache for response in responses) == 1


async def test_a_full_server_refuses_at_once_and_still_tells_how_it_is(wire: Wire) -> None:
    await wire.stub.Search(pb.SearchRequest(query="kept"), timeout=5)
    wire.brave.gate.clear()
    calls = [
        asyncio.ensure_future(wire.stub.Search(pb.SearchRequest(query=f"x {n}"), timeout=20, metadata=caller(n)))
        for n in range(MAX_IN_FLIGHT)
    ]
    while len(wire.brave.queries) < MAX_IN_FLIGHT + 1:
        await asyncio.sleep(0.01)
    began = time.monotonic()
    status, trailers = await wire.failure(pb.SearchRequest(query="one more"), timeout=20)
    assert time.monotonic() - began < 5
    assert (status.code, status.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SEARCH_BUSY")
    assert status.metadata == {"limit": "searches_in_flight", "value": str(MAX_IN_FLIGHT)}
    assert status.retry_after_seconds
    assert int(trailers[PUSHBACK_TRAILER]) > 0
    assert (await wire.stub.Search(pb.SearchRequest(query="kept"), timeout=5)).from_cache
    state = await wire.stub.GetStatus(pb.GetStatusRequest(), timeout=5)
    assert (state.running_searches, state.max_searches) == (MAX_IN_FLIGHT, MAX_IN_FLIGHT)
    assert (await wire.health.Check(health_pb2.HealthCheckRequest(), timeout=5)).status
    calls[0].cancel()  # who leaves gives the place back
    while wire.brave.cancelled < 1:
        await asyncio.sleep(0.01)
    wire.brave.gate.set()
    assert (await wire.stub.Search(pb.SearchRequest(query="one more"), timeout=5)).results
    await asyncio.gather(*calls, return_exceptions=True)
    assert (await wire.stub.GetStatus(pb.GetStatusRequest(), timeout=5)).running_searches == 0


async def test_one_caller_leaves_places_to_the_others(wire: Wire) -> None:
    wire.brave.gate.clear()
    hog, other = ((("x-groundwire-caller", name),) for name in ("hog", "other"))
    calls = [
        asyncio.ensure_future(wire.stub.Search(pb.SearchRequest(query=f"x {n}"), timeout=20, metadata=hog))
        for n in range(MAX_IN_FLIGHT)
    ]
    while len(wire.brave.queries) < CALLER_MAX:
        await asyncio.sleep(0.01)
    refused = [call.exception() for call in (await asyncio.wait(calls, timeout=2))[0]]
    assert len(refused) == MAX_IN_FLIGHT - CALLER_MAX
    status = from_rpc_error(refused[0])  # type: ignore[arg-type]
    assert status.reason == "SEARCH_BUSY"
    assert status.metadata == {"limit": "caller_searches_in_flight", "value": str(CALLER_MAX)}
    answer = asyncio.ensure_future(wire.stub.Search(pb.SearchRequest(query="mine"), timeout=20, metadata=other))
    while len(wire.brave.queries) <= CALLER_MAX:
        await asyncio.sleep(0.01)
    wire.brave.gate.set()
    assert (await answer).results
    await asyncio.gather(*calls, return_exceptions=True)


async def test_status(wire: Wire) -> None:
    await wire.stub.Search(pb.SearchRequest(query="cats"), timeout=5)
    status = await wire.stub.GetStatus(pb.GetStatusRequest(), timeout=5)
    assert status.version
    assert status.default_provider == pb.PROVIDER_BRAVE
    assert [provider.provider for provider in status.providers] == [pb.PROVIDER_BRAVE, pb.PROVIDER_LOCAL]
    assert status.cached_queries == 1


def test_every_error_of_the_core_has_a_status() -> None:
    def concrete(error: type[errors.SearchError]) -> list[type[errors.SearchError]]:
        return [error, *(deeper for child in error.__subclasses__() for deeper in concrete(child))]

    for kind in concrete(errors.SearchError):
        if kind is not errors.SearchError and kind.__module__.startswith("search_service"):
            assert status_of(_example(kind)) is not None, kind
    assert status_of(ValueError()) is None


def _example(kind: type[errors.SearchError]) -> errors.SearchError:
    error = kind.__new__(kind, "An example.")
    for name, value in {
        "violations": (),
        "setting": "X",
        "retry_after_seconds": 1.0,
        "subject": "s",
        "limit": 1,
        "of_caller": False,
    }.items():
        setattr(error, name, value)
    return error
