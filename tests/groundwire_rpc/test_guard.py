"""Tokens before a real server: who is let in, what a refusal says, and how running calls are counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from pydantic import SecretStr
from structlog.testing import capture_logs

from groundwire_rpc.channels import ChannelSecurity, open_channel
from groundwire_rpc.connections import Connections
from groundwire_rpc.guard import CallRefused, Gate, SharedToken
from groundwire_rpc.security import ServerSecurity
from groundwire_rpc.server import RpcServer
from groundwire_rpc.status import RichStatus, from_rpc_error

SERVICE = "tests.Guarded"
TOKEN = "0123456789abcdef-made-up"
SETTING = "GROUNDWIRE_BACKEND_TOKEN"
BUSY = RichStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, "Later.", reason="KEY_BUSY", retry_after_seconds=1.0)
Context = grpc.aio.ServicerContext[Any, Any]


class OneCall:
    """A Caller of whom one call may run, and a Gate that takes everybody for it."""

    label = "alice"
    secret = "0" * 64

    def __init__(self) -> None:
        self.running = 0

    def identify(self, token: str | None) -> OneCall:
        return self

    def enter(self) -> None:
        if self.running:
            raise CallRefused(BUSY)
        self.running += 1

    def leave(self) -> None:
        self.running -= 1


async def unary(request: bytes, context: Context) -> bytes:
    await asyncio.sleep(float(request or b"0"))
    return b"done"


async def failing(request: bytes, context: Context) -> bytes:
    raise ZeroDivisionError


async def generated(request: bytes, context: Context) -> AsyncGenerator[bytes, None]:
    yield b"first"
    await asyncio.sleep(float(request or b"0"))
    yield b"last"


async def written(request: bytes, context: Context) -> None:
    async with aclosing(generated(request, context)) as messages:
        async for message in messages:
            await context.write(message)


@asynccontextmanager
async def guarded(gate: Gate | None, *, reflection: bool = True, request_seconds: float = 30.0) -> AsyncIterator[str]:
    server = RpcServer(
        "127.0.0.1:0",
        [SERVICE],
        ServerSecurity(gate=gate, reflection=reflection),
        connections=Connections(request_seconds=request_seconds),
    )
    handlers: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),  # type: ignore[arg-type]
        "Failing": grpc.unary_unary_rpc_method_handler(failing),  # type: ignore[arg-type]
        "Generated": grpc.unary_stream_rpc_method_handler(generated),  # type: ignore[arg-type]
        "Written": grpc.unary_stream_rpc_method_handler(written),  # type: ignore[arg-type]
    }
    server.grpc_server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    address = await server.start()
    await server.set_serving(True)
    try:
        yield address
    finally:
        await server.stop(0)


def with_token(token: str) -> ChannelSecurity:
    return ChannelSecurity(token=SecretStr(token))


async def call(channel: grpc.aio.Channel, request: bytes = b"", method: str = "Unary", **options: Any) -> bytes:
    return await channel.unary_unary(f"/{SERVICE}/{method}")(request, timeout=10, **options)


async def stream(channel: grpc.aio.Channel, method: str, request: bytes = b"") -> list[bytes]:
    return [message async for message in channel.unary_stream(f"/{SERVICE}/{method}")(request, timeout=10)]


async def test_the_token_lets_every_kind_of_call_in() -> None:
    gate = SharedToken(SecretStr(TOKEN), SETTING)
    async with guarded(gate) as address, open_channel(address, with_token(TOKEN)) as channel:
        assert await call(channel, metadata=(("x-more", "kept"),)) == b"done"
        assert await stream(channel, "Generated") == [b"first", b"last"]
        assert await stream(channel, "Written") == [b"first", b"last"]


@pytest.mark.parametrize("value", ["bearer " + TOKEN, "BEARER   " + TOKEN, "Bearer " + TOKEN + " "])
async def test_the_scheme_may_be_spelled_as_http_has_it(value: str) -> None:
    async with guarded(SharedToken(SecretStr(TOKEN), SETTING)) as address, open_channel(address) as channel:
        assert await call(channel, metadata=(("authorization", value),)) == b"done"


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", ""),),
        (("authorization", TOKEN),),
        (("authorization", f"Basic {TOKEN}"),),
        (("authorization", f"Bearer {TOKEN}x"),),
        (("authorization", f"Bearer {TOKEN[:-1]}"),),
        (("authorization-bin", f"Bearer {TOKEN}".encode()),),
    ],
)
async def test_whoever_has_no_token_is_refused(metadata: tuple[tuple[str, str | bytes], ...]) -> None:
    async with guarded(SharedToken(SecretStr(TOKEN), SETTING)) as address, open_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, metadata=metadata)
    status = from_rpc_error(caught.value)
    assert (status.code, status.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REFUSED")
    assert status.metadata == {"setting": SETTING}
    assert TOKEN not in status.message


@pytest.mark.parametrize("method", ["Unary", "Generated", "NoSuchMethod"])
async def test_every_method_is_guarded_even_one_that_is_not_there(method: str) -> None:
    async with guarded(SharedToken(SecretStr(TOKEN), SETTING)) as address:
        async with open_channel(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream(channel, method)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        async with open_channel(address, with_token(TOKEN)) as channel:
            if method == "NoSuchMethod":
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stream(channel, method)
                assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_stranger_is_refused_before_their_request_is_read() -> None:
    async with guarded(SharedToken(SecretStr(TOKEN), SETTING)) as address, open_channel(address) as channel:
        refused = channel.stream_unary(f"/{SERVICE}/Unary")(timeout=10)  # no request is ever sent
        assert await refused.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_refusal_brings_the_request_id_and_is_logged_without_the_token() -> None:
    async with guarded(SharedToken(SecretStr(TOKEN), SETTING)) as address:
        with capture_logs() as logs:
            async with open_channel(address, with_token("another-made-up-token")) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(channel, metadata=(("x-request-id", "abc-1"),))
            while not logs:
                await asyncio.sleep(0.01)
    assert dict(caught.value.trailing_metadata())["x-request-id"] == "abc-1"
    assert (logs[0]["rpc"], logs[0]["code"], logs[0]["request_id"]) == ("Unary", "UNAUTHENTICATED", "abc-1")
    assert "made-up" not in repr(logs)


async def test_health_and_reflection_answer_without_a_token() -> None:
    async with guarded(SharedToken(SecretStr(TOKEN), SETTING)) as address, open_channel(address) as channel:
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        assert SERVICE in await reflected(channel)


async def test_reflection_can_be_switched_off() -> None:
    async with guarded(None, reflection=False) as address, open_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reflected(channel)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await call(channel) == b"done"


async def reflected(channel: grpc.aio.Channel) -> set[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    (answer,) = [answer async for answer in stub.ServerReflectionInfo(asked, timeout=5)]
    return {service.name for service in answer.list_services_response.service}


@pytest.mark.parametrize("method", ["Unary", "Generated", "Written"])
async def test_running_calls_are_counted_until_they_end(method: str) -> None:
    caller = OneCall()
    async with guarded(caller) as address, open_channel(address) as channel:
        first = asyncio.create_task(call(channel, b"0.5") if method == "Unary" else stream(channel, method, b"0.5"))
        await until(caller, 1)
        for refusal in (call(channel), stream(channel, "Generated"), stream(channel, "Written")):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await refusal
            assert from_rpc_error(caught.value) == BUSY
        await first
        await until(caller, 0)
        assert await call(channel) == b"done"


async def test_a_call_beyond_the_limit_is_refused_before_its_request_is_read() -> None:
    caller = OneCall()
    async with guarded(caller) as address, open_channel(address) as channel:
        first = asyncio.create_task(call(channel, b"60"))
        await until(caller, 1)
        refused = channel.stream_unary(f"/{SERVICE}/Unary")(timeout=10)  # no request is ever sent
        assert await refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        first.cancel()
        await until(caller, 0)


@pytest.mark.parametrize("method", ["Unary", "Generated", "Written"])
async def test_a_request_that_does_not_come_holds_a_place_no_longer_than_it_may(method: str) -> None:
    caller = OneCall()
    async with guarded(caller, request_seconds=0.3) as address, open_channel(address) as channel:
        asked: Any = channel.stream_stream(f"/{SERVICE}/{method}")(timeout=10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asked.read()
        status = from_rpc_error(caught.value)
        assert (status.code, status.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "REQUEST_TOO_SLOW")
        assert status.metadata == {"limit": "request_seconds", "value": "0.3"}
        await until(caller, 0)
        assert await call(channel, b"0.5") == b"done"


async def test_a_call_without_a_request_is_refused() -> None:
    caller = OneCall()
    async with guarded(caller) as address, open_channel(address) as channel:
        asked: Any = channel.stream_unary(f"/{SERVICE}/Unary")(iter(()), timeout=10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asked
        status = from_rpc_error(caught.value)
        assert (status.code, status.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_MISSING")
        await until(caller, 0)


@pytest.mark.parametrize("method", ["Unary", "Generated", "Written"])
async def test_a_cancelled_call_counts_no_more(method: str) -> None:
    caller = OneCall()
    async with guarded(caller) as address, open_channel(address) as channel:
        make = channel.unary_unary if method == "Unary" else channel.unary_stream
        running: Any = make(f"/{SERVICE}/{method}")(b"60", timeout=60)
        await until(caller, 1)
        running.cancel()
        await until(caller, 0)


async def test_a_call_that_fails_counts_no_more() -> None:
    caller = OneCall()
    async with guarded(caller) as address, open_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await call(channel, method="Failing")
        await until(caller, 0)


async def until(caller: OneCall, running: int) -> None:
    async with asyncio.timeout(10):
        while caller.running != running:
            await asyncio.sleep(0.01)


async def test_a_stream_over_a_channel_with_a_token_can_be_closed_early() -> None:
    caller = OneCall()
    async with guarded(caller) as address, open_channel(address, with_token(TOKEN)) as channel:
        running = channel.unary_stream(f"/{SERVICE}/Generated")(b"60", timeout=60)
        assert await running.read() == b"first"
        running.cancel()
        await until(caller, 0)
