"""serving_call and metadata, as a caller over a real channel sees them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import grpc
import pytest
import structlog
from structlog.testing import capture_logs

from groundwire_rpc.calls import current_call, serving_call
from groundwire_rpc.channels import open_channel
from groundwire_rpc.metadata import CallMetadata, new_call_metadata, remaining_seconds
from groundwire_rpc.server import RpcServer
from groundwire_rpc.status import FieldViolation, RichStatus, abort, from_rpc_error
from groundwire_rpc.validation import InvalidFields
from tests.support.scripted_service import SCRIPTED_METHOD, SCRIPTED_SERVICE, add_scripted_service

TRACEPARENT = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
REFUSED = RichStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, "Come back.", reason="QUEUE_FULL", retry_after_seconds=0.1)
NOT_FOUND = RichStatus(grpc.StatusCode.NOT_FOUND, "It is not there.", reason="NOT_THERE")


def table(error: Exception) -> RichStatus | None:
    return NOT_FOUND if isinstance(error, KeyError) else None


async def logged_call(logs: list[MutableMapping[str, Any]]) -> MutableMapping[str, Any]:
    """The line of the one call. It is written after the caller has its answer."""
    while not (calls := [entry for entry in logs if entry["event"] == "call"]):
        await asyncio.sleep(0.01)
    (line,) = calls
    return line


class Served:
    """A server whose method raises what the test says, inside serving_call."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.status: RichStatus | None = None
        self.waits = False
        self.seen: list[CallMetadata] = []
        self.remaining: list[float] = []
        self.channel: grpc.aio.Channel

    async def behave(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        async with serving_call("Do", context, table) as served:
            self.seen.append(served.metadata)
            self.remaining.append(remaining_seconds(context, 77.0))
            if self.waits:
                await asyncio.sleep(60)
            if self.status is not None:
                await abort(context, self.status)
            if self.error is not None:
                raise self.error
            return b"done"

    def call(
        self, metadata: tuple[tuple[str, str | bytes], ...] = (), timeout: float | None = 5.0
    ) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
        return self.channel.unary_unary(SCRIPTED_METHOD)(b"", timeout=timeout, metadata=metadata)

    async def failure(self) -> RichStatus:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call()
        return from_rpc_error(caught.value)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    made = Served()
    server = RpcServer("127.0.0.1:0", [SCRIPTED_SERVICE])
    add_scripted_service(server.grpc_server, made.behave)
    address = await server.start()
    async with open_channel(address) as channel:
        made.channel = channel
        yield made
    await server.stop(0)


async def test_ids_are_kept_and_sent_back(served: Served) -> None:
    with capture_logs() as logs:
        call = served.call((("x-request-id", "abc-123"), ("traceparent", TRACEPARENT)))
        assert await call == b"done"
        assert dict(await call.initial_metadata())["x-request-id"] == "abc-123"
        line = await logged_call(logs)
    assert served.seen == [CallMetadata("abc-123", TRACEPARENT)]
    assert (line["rpc"], line["code"], line["request_id"]) == ("Do", "OK", "abc-123")
    assert line["trace_id"] == "0123456789abcdef0123456789abcdef"


async def test_an_error_brings_the_id_behind_it_and_no_headers_before_it(served: Served) -> None:
    served.error = KeyError("unexpected")
    call = served.call((("x-request-id", "abc-123"),))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert dict(caught.value.trailing_metadata())["x-request-id"] == "abc-123"
    assert "x-request-id" not in dict(await call.initial_metadata())


async def test_grpcs_own_retries_obey_a_refusal() -> None:
    """A client with a retry policy tries again when the pushback says: headers before the refusal would forbid it."""
    attempts = 0

    async def refuse_once(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        nonlocal attempts
        async with serving_call("Do", context, lambda error: REFUSED if isinstance(error, KeyError) else None):
            attempts += 1
            if attempts == 1:
                raise KeyError
            return b"done"

    policy = {
        "maxAttempts": 3,
        "initialBackoff": "20s",  # only the pushback can bring the second attempt in time
        "maxBackoff": "20s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
    }
    config = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})
    server = RpcServer("127.0.0.1:0", [SCRIPTED_SERVICE])
    add_scripted_service(server.grpc_server, refuse_once)
    address = await server.start()
    try:
        async with grpc.aio.insecure_channel(address, options=[("grpc.service_config", config)]) as channel:
            assert await channel.unary_unary(SCRIPTED_METHOD)(b"", timeout=10) == b"done"
    finally:
        await server.stop(0)
    assert attempts == 2


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("x-request-id", ""), ("traceparent", "")),
        (("x-request-id", "a b"), ("traceparent", TRACEPARENT.replace("00-", "ff-"))),
        (("x-request-id", "x" * 129), ("traceparent", "00-" + "0" * 32 + "-0123456789abcdef-01")),
        (("x-request-id", "a;b"), ("traceparent", TRACEPARENT + "-more")),
    ],
)
async def test_ids_that_are_missing_or_malformed_are_made_anew(
    served: Served, metadata: tuple[tuple[str, str | bytes], ...]
) -> None:
    await served.call(metadata)
    (seen,) = served.seen
    assert re.fullmatch("[0-9a-f-]{36}", seen.request_id)
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", seen.traceparent)
    assert seen.traceparent != TRACEPARENT


def test_new_ids_differ_and_travel_on() -> None:
    one, other = new_call_metadata(), new_call_metadata()
    assert one.request_id != other.request_id
    assert one.trace_id != other.trace_id
    assert dict(one.outgoing()) == {"x-request-id": one.request_id, "traceparent": one.traceparent}


async def test_the_deadline(served: Served) -> None:
    await served.call(timeout=3)
    await served.call(timeout=None)
    given, default = served.remaining
    assert 2 < given < 3.5  # gRPC counts deadlines in ticks of its own
    assert default == 77.0


async def test_an_error_of_the_table(served: Served) -> None:
    served.error = KeyError("x")
    assert await served.failure() == NOT_FOUND


async def test_invalid_fields_need_no_table(served: Served) -> None:
    served.error = InvalidFields([FieldViolation("a", "is bad")])
    status = await served.failure()
    assert status.code is grpc.StatusCode.INVALID_ARGUMENT
    assert status.field_violations == (FieldViolation("a", "is bad"),)


async def test_a_body_may_abort_by_itself(served: Served) -> None:
    served.status = NOT_FOUND
    with capture_logs() as logs:
        assert await served.failure() == NOT_FOUND
        assert (await logged_call(logs))["code"] == "NOT_FOUND"


async def test_what_nobody_expected_is_logged_and_hidden(served: Served) -> None:
    served.error = ZeroDivisionError("inner workings")
    with capture_logs() as logs:
        status = await served.failure()
        await logged_call(logs)
    assert (status.code, status.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "inner workings" not in status.message
    assert [entry["event"] for entry in logs] == ["unexpected error", "call"]


async def test_a_cancelled_call_is_logged_as_one(served: Served) -> None:
    served.waits = True
    with capture_logs() as logs:
        call = served.call()
        while not served.seen:
            await asyncio.sleep(0.01)
        call.cancel()
        while not logs:
            await asyncio.sleep(0.01)
    assert logs[0]["code"] == "CANCELLED"


async def test_every_line_of_a_call_bears_its_ids_and_the_last_one_what_was_noted() -> None:
    log = structlog.get_logger("test")

    async def behave(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        async with serving_call("Do", context, table) as served:
            assert current_call() is served
            served.note(tokens=7, seconds_waited=0.123456, left_out=None, rpc="forged")
            log.info("in between")
            await asyncio.gather(asyncio.create_task(later()))
        return b""

    async def later() -> None:
        log.info("in a task of its own")

    server = RpcServer("127.0.0.1:0", [SCRIPTED_SERVICE])
    add_scripted_service(server.grpc_server, behave)
    address = await server.start()
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        async with open_channel(address) as channel:
            for number in range(2):
                await channel.unary_unary(SCRIPTED_METHOD)(b"", timeout=10, metadata=(("x-request-id", str(number)),))
        await server.stop(1)
    assert current_call() is None
    for number in range(2):
        lines = [entry for entry in logs if entry.get("request_id") == str(number)]
        assert [line["event"] for line in lines] == ["in between", "in a task of its own", "call"]
        assert len({line["trace_id"] for line in lines}) == 1
        last = lines[-1]
        assert (last["rpc"], last["code"], last["tokens"], last["seconds_waited"]) == ("Do", "OK", 7, 0.1235)
        assert "left_out" not in last


@pytest.mark.parametrize(
    ("rpc", "fails", "level"), [("Do", False, "info"), ("GetStatus", False, "debug"), ("GetStatus", True, "info")]
)
async def test_what_is_polled_is_logged_only_where_it_fails(rpc: str, fails: bool, level: str) -> None:
    async def behave(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        async with serving_call(rpc, context, table):
            if fails:
                raise KeyError("x")
        return b""

    server = RpcServer("127.0.0.1:0", [SCRIPTED_SERVICE])
    add_scripted_service(server.grpc_server, behave)
    address = await server.start()
    with capture_logs() as logs:
        async with open_channel(address) as channel:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await channel.unary_unary(SCRIPTED_METHOD)(b"", timeout=10)
        await server.stop(1)
    assert [entry["log_level"] for entry in logs if entry["event"] == "call"] == [level]
