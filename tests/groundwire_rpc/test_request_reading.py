"""How a real server reads requests: a few of each caller at a time, and none that does not come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from groundwire_rpc.channels import open_channel
from groundwire_rpc.connections import Connections
from groundwire_rpc.request_reading import READS_AT_ONCE
from groundwire_rpc.security import ServerSecurity
from groundwire_rpc.server import RpcServer
from groundwire_rpc.status import RichStatus, from_rpc_error
from tests.support.scripted_service import SCRIPTED_METHOD, SCRIPTED_SERVICE, add_scripted_service

LARGE = b"0" * 4_000_000


class ByToken:
    """A Gate that takes every token for a caller of its own, whose calls it does not count."""

    def identify(self, token: str | None) -> _Named:
        return _Named(token or "")


class _Named:
    def __init__(self, name: str) -> None:
        self.label = self.secret = name

    def enter(self) -> None: ...

    def leave(self) -> None: ...


async def size(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    return str(len(request)).encode()


@asynccontextmanager
async def serving(*, request_seconds: float = 30.0, with_gate: bool = True) -> AsyncIterator[grpc.aio.Channel]:
    server = RpcServer(
        "127.0.0.1:0",
        [SCRIPTED_SERVICE],
        ServerSecurity(gate=ByToken() if with_gate else None),
        connections=Connections(request_seconds=request_seconds),
    )
    add_scripted_service(server.grpc_server, size)
    address = await server.start()
    await server.set_serving(True)
    try:
        async with open_channel(address) as channel:
            yield channel
    finally:
        await server.stop(0)


def bearer(name: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {name}"),)


async def call(channel: grpc.aio.Channel, request: bytes = b"abc", name: str = "alice") -> bytes:
    answer: bytes = await channel.unary_unary(SCRIPTED_METHOD)(request, timeout=30, metadata=bearer(name))
    return answer


def unsent(channel: grpc.aio.Channel, name: str = "alice") -> Any:
    """A call whose request does not come."""
    return channel.stream_unary(SCRIPTED_METHOD)(timeout=60, metadata=bearer(name))


async def test_requests_of_every_size_are_read() -> None:
    async with serving() as channel:
        for length in (0, 1, 100_000, 4_000_000, 16_000_000):
            assert await call(channel, b"0" * length) == str(length).encode()
        sizes = await asyncio.gather(*(call(channel, LARGE) for _ in range(20)))
        assert sizes == [b"4000000"] * 20


async def test_a_request_that_does_not_come_ends_its_call() -> None:
    with capture_logs() as logs:
        async with serving(request_seconds=0.3) as channel:
            begun = time.monotonic()
            asked = unsent(channel)
            assert await asked.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert 0.2 < time.monotonic() - begun < 10
            error = grpc.aio.AioRpcError(
                await asked.code(), grpc.aio.Metadata(), await asked.trailing_metadata(), await asked.details()
            )
            assert from_rpc_error(error) == RichStatus(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                "The request did not come within 0.3 s of its call.",
                reason="REQUEST_TOO_SLOW",
                metadata={"limit": "request_seconds", "value": "0.3"},
            )
            while not logs:
                await asyncio.sleep(0.01)
    assert (logs[0]["rpc"], logs[0]["code"]) == ("Do", "DEADLINE_EXCEEDED")


async def test_a_call_without_a_request_is_refused() -> None:
    async with serving() as channel:
        asked: Any = channel.stream_unary(SCRIPTED_METHOD)(iter(()), timeout=10, metadata=bearer("alice"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asked
        status = from_rpc_error(caught.value)
        assert (status.code, status.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_MISSING")


async def test_requests_that_do_not_come_hold_up_their_own_caller_and_nobody_else() -> None:
    async with serving(request_seconds=2) as channel:
        waiting = [unsent(channel) for _ in range(READS_AT_ONCE)]
        await asyncio.sleep(0.2)
        begun = time.monotonic()
        held_up = asyncio.ensure_future(call(channel))
        assert await asyncio.wait_for(call(channel, name="bob"), 1.5) == b"3"
        assert not held_up.done()
        assert [await each.code() for each in waiting] == [grpc.StatusCode.DEADLINE_EXCEEDED] * READS_AT_ONCE
        assert await held_up == b"3"
        assert time.monotonic() - begun < 20


async def test_health_answers_one_whose_other_requests_do_not_come() -> None:
    async with serving(with_gate=False) as channel:
        waiting = [unsent(channel) for _ in range(READS_AT_ONCE)]
        await asyncio.sleep(0.2)
        held_up = asyncio.ensure_future(call(channel))
        for _ in range(2 * READS_AT_ONCE):
            check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
            assert (await check).status == health_pb2.HealthCheckResponse.SERVING
        assert not held_up.done()
        for each in waiting:
            each.cancel()
        assert await held_up == b"3"


async def test_a_caller_that_leaves_gives_its_turn_to_the_next() -> None:
    async with serving() as channel:
        waiting = [unsent(channel) for _ in range(3 * READS_AT_ONCE)]
        await asyncio.sleep(0.2)
        for each in waiting:
            each.cancel()
        assert await asyncio.wait_for(call(channel), 10) == b"3"


async def test_what_is_not_read_yet_takes_no_more_than_its_streams_window() -> None:
    """The client's own sends tell how much the server has let through."""
    async with serving() as channel:
        held = [unsent(channel) for _ in range(READS_AT_ONCE)]
        await asyncio.sleep(0.2)
        asked: Any = channel.stream_unary(SCRIPTED_METHOD)(timeout=60, metadata=bearer("alice"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asked.write(LARGE), 1.5)
        asked.cancel()
        for each in held:
            each.cancel()
        assert await call(channel, LARGE) == b"4000000"
