"""Calls on an observed channel: they go out with their span's context, and however they end is told once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import SecretStr

from groundwire_rpc.channels import ChannelSecurity, open_channel
from groundwire_rpc.guard import SharedToken
from groundwire_rpc.observed_channel import ObservedChannel, observed
from groundwire_rpc.security import ServerSecurity
from groundwire_rpc.server import RpcServer
from groundwire_rpc.telemetry import OFF, Telemetry
from groundwire_rpc.tracing import Attributes, Span, SpanKind
from tests.support.wired_gateway import unused_target

SERVICE = "tests.Observed"
Context = grpc.aio.ServicerContext[Any, Any]


class RecordedSpan:
    """A Span that a test looks at."""

    def __init__(self, name: str, traceparent: str | None) -> None:
        self.name, self.parent = name, traceparent
        self.attributes: dict[str, Any] = {}
        self.endings: list[str] = []

    @property
    def traceparent(self) -> str:
        return "00-" + "1" * 32 + "-" + "2" * 16 + "-01"

    def set(self, attributes: Attributes) -> None:
        self.attributes.update(attributes)

    def child(self, name: str, **options: Any) -> Span:
        raise AssertionError("a channel makes no children")

    def end(self, *, error: str = "", end_ns: int | None = None) -> None:
        self.endings.append(error)


class Recorder:
    """A Tracer and the metrics of calls."""

    def __init__(self) -> None:
        self.spans: list[RecordedSpan] = []
        self.calls: list[tuple[str, str]] = []

    def start(
        self, name: str, *, kind: SpanKind, traceparent: str | None, attributes: Attributes | None = None
    ) -> RecordedSpan:
        assert kind == "client"
        self.spans.append(RecordedSpan(name, traceparent))
        return self.spans[-1]

    def served(self, method: str, code: str, seconds: float, reason: str = "") -> None:
        raise AssertionError("a channel serves nothing")

    def made(self, method: str, code: str, seconds: float) -> None:
        assert seconds >= 0
        self.calls.append((method, code))

    async def ended(self, count: int) -> None:
        """Wait until so many calls have ended."""
        async with asyncio.timeout(10):
            while len(self.calls) < count:
                await asyncio.sleep(0.01)


async def answer(request: bytes, context: Context) -> bytes:
    if request == b"fail":
        await context.abort(grpc.StatusCode.NOT_FOUND, "It is not there.")
    return dict(context.invocation_metadata() or ()).get("traceparent", "").encode()


async def stream(request: bytes, context: Context) -> AsyncGenerator[bytes, None]:
    yield b"1"
    if request == b"hang":
        await asyncio.sleep(60)
    yield b"2"


@asynccontextmanager
async def observing() -> AsyncIterator[tuple[grpc.aio.Channel, Recorder]]:
    server = RpcServer("127.0.0.1:0", [SERVICE])
    handlers: dict[str, Any] = {
        "Answer": grpc.unary_unary_rpc_method_handler(answer),  # type: ignore[arg-type]
        "Stream": grpc.unary_stream_rpc_method_handler(stream),  # type: ignore[arg-type]
    }
    server.grpc_server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    address = await server.start()
    recorder = Recorder()
    try:
        async with observed(open_channel(address), Telemetry(tracer=recorder, calls=recorder)) as channel:
            yield channel, recorder
    finally:
        await server.stop(0)


async def test_a_call_carries_its_own_span_on() -> None:
    parent = "00-" + "1" * 32 + "-" + "3" * 16 + "-01"
    async with observing() as (channel, recorder):
        metadata = (("x-request-id", "7"), ("traceparent", parent))
        seen = await channel.unary_unary(f"/{SERVICE}/Answer")(b"", timeout=10, metadata=metadata)
        await recorder.ended(1)
    (span,) = recorder.spans
    assert (span.name, span.parent) == (f"{SERVICE}/Answer", parent)
    assert seen.decode() == span.traceparent
    assert span.attributes["rpc.response.status_code"] == "OK"
    assert span.endings == ["OK"]
    assert recorder.calls == [(f"{SERVICE}/Answer", "OK")]


async def test_failures_are_told_with_their_code() -> None:
    async with observing() as (channel, recorder):
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(f"/{SERVICE}/Answer")(b"fail", timeout=10)
        await recorder.ended(1)
    assert recorder.calls == [(f"{SERVICE}/Answer", "NOT_FOUND")]
    assert recorder.spans[0].endings == ["NOT_FOUND"]


async def test_streams_are_told_when_they_end_or_are_cancelled() -> None:
    async with observing() as (channel, recorder):
        method = channel.unary_stream(f"/{SERVICE}/Stream")
        assert [message async for message in method(b"", timeout=10)] == [b"1", b"2"]
        await recorder.ended(1)
        call = method(b"hang", timeout=10)
        assert await call.read() == b"1"
        call.cancel()
        await recorder.ended(2)
    assert [code for _, code in recorder.calls] == ["OK", "CANCELLED"]
    assert [span.endings for span in recorder.spans] == [["OK"], ["CANCELLED"]]


async def test_a_service_that_is_not_there_is_told() -> None:
    recorder = Recorder()
    async with ObservedChannel(open_channel(unused_target()), Telemetry(tracer=recorder, calls=recorder)) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(f"/{SERVICE}/Answer")(b"", timeout=10, wait_for_ready=False)
        await recorder.ended(1)
    assert recorder.calls == [(f"{SERVICE}/Answer", "UNAVAILABLE")]


async def test_health_checks_are_not_told() -> None:
    async with observing() as (channel, recorder):
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert (recorder.spans, recorder.calls) == ([], [])


async def test_a_channel_that_nobody_observes_stays_as_it_is() -> None:
    async with open_channel(unused_target()) as channel:
        assert observed(channel, OFF) is channel


async def test_a_channel_with_a_token_is_observed_too() -> None:
    token = SecretStr("0123456789abcdef-made-up")

    async def answer_behind_a_guard(request: bytes, context: Context) -> bytes:
        return request

    server = RpcServer("127.0.0.1:0", [SERVICE], ServerSecurity(gate=SharedToken(token, "A_SETTING")))
    handlers: dict[str, Any] = {"Answer": grpc.unary_unary_rpc_method_handler(answer_behind_a_guard)}  # type: ignore[arg-type]
    server.grpc_server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    address = await server.start()
    recorder = Recorder()
    telemetry = Telemetry(tracer=recorder, calls=recorder)
    try:
        async with observed(open_channel(address, ChannelSecurity(token=token)), telemetry) as channel:
            assert await channel.unary_unary(f"/{SERVICE}/Answer")(b"in", timeout=10) == b"in"
            await recorder.ended(1)
    finally:
        await server.stop(0)
    assert recorder.calls == [(f"{SERVICE}/Answer", "OK")]
    assert "made-up" not in str(recorder.spans[0].attributes)
