"""A stream whose client stops reading, over a real connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import pytest
from structlog.testing import capture_logs

import groundwire_rpc.slow_readers
from groundwire_rpc.calls import serving_call
from groundwire_rpc.server import RpcServer
from groundwire_rpc.slow_readers import ReaderWatch
from groundwire_rpc.status import RichStatus, from_rpc_error

STALLED = RichStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, "You take nothing.", "READER_TOO_SLOW", {"limit": "test"})
SMALL_WINDOW = (("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0))
MESSAGE = b"x" * 10_000
MESSAGES = 500


class Streams:
    """Sends MESSAGES messages, and notes what becomes of its streams."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.sent = 0
        self.closed = asyncio.Event()

    async def stream(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
        async with serving_call("Stream", context, lambda error: None) as call:
            reader = ReaderWatch(call, context, seconds=self.seconds, status=STALLED)
            try:
                for _ in range(MESSAGES):
                    await call.send_headers()
                    with reader.writing():
                        yield MESSAGE
                    self.sent += 1
            finally:
                self.closed.set()


@contextlib.asynccontextmanager
async def serving(streams: Streams) -> AsyncIterator[grpc.aio.Channel]:
    server = RpcServer("127.0.0.1:0", [])
    handler = grpc.unary_stream_rpc_method_handler(streams.stream)
    server.grpc_server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Stream": handler}),))
    address = await server.start()
    try:
        async with grpc.aio.insecure_channel(address, options=SMALL_WINDOW) as channel:
            yield channel
    finally:
        await server.stop(0)


async def count_on(counted: list[int], messages: AsyncIterator[bytes]) -> None:
    async for message in messages:
        assert message == MESSAGE
        counted[0] += 1


async def test_a_client_that_stops_reading_loses_its_stream_and_is_told_why() -> None:
    streams = Streams(seconds=0.3)
    with capture_logs() as logs:
        async with serving(streams) as channel:
            call = channel.unary_stream("/test/Stream")(b"", timeout=60)
            messages = aiter(call)
            assert await anext(messages) == MESSAGE
            counted = [1]
            async with asyncio.timeout(20):
                await streams.closed.wait()
            assert streams.sent < MESSAGES, "it was not sent to its end"
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await count_on(counted, messages)
            assert counted[0] < MESSAGES
            status = from_rpc_error(ended.value)
            assert (status.code, status.reason, status.metadata) == (STALLED.code, STALLED.reason, STALLED.metadata)
            assert "x-request-id" in dict(ended.value.trailing_metadata() or ())
            async with asyncio.timeout(20):
                while groundwire_rpc.slow_readers._ending:
                    await asyncio.sleep(0.01)
    assert [line["code"] for line in logs if line["event"] == "call"] == ["RESOURCE_EXHAUSTED"]


async def test_a_slow_client_that_goes_on_reading_gets_everything() -> None:
    streams = Streams(seconds=0.5)
    async with serving(streams) as channel:
        received = 0
        async for _ in channel.unary_stream("/test/Stream")(b"", timeout=60):
            received += 1
            await asyncio.sleep(0.002)
        assert received == MESSAGES


async def test_a_client_that_leaves_while_its_stream_is_ended_leaves_nothing_behind() -> None:
    streams = Streams(seconds=0.2)
    async with serving(streams) as channel:
        call = channel.unary_stream("/test/Stream")(b"", timeout=60)
        await call.read()
        async with asyncio.timeout(20):
            await streams.closed.wait()
            call.cancel()
            while groundwire_rpc.slow_readers._ending:
                await asyncio.sleep(0.01)


async def test_a_client_that_never_reads_on_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groundwire_rpc.slow_readers, "LINGER_SECONDS", 0.3)
    streams = Streams(seconds=0.2)
    async with serving(streams) as channel:
        call = channel.unary_stream("/test/Stream")(b"", timeout=60)
        messages = aiter(call)
        await anext(messages)
        async with asyncio.timeout(20):
            await streams.closed.wait()
            while groundwire_rpc.slow_readers._ending:
                await asyncio.sleep(0.01)
            with pytest.raises(grpc.aio.AioRpcError):
                await count_on([0], messages)
