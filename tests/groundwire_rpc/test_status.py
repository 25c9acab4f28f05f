from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from groundwire_rpc.channels import open_channel
from groundwire_rpc.server import RpcServer
from groundwire_rpc.status import (
    MORE_FIELDS,
    PUSHBACK_TRAILER,
    FieldViolation,
    QuotaViolation,
    RichStatus,
    abort,
    from_rpc_error,
    invalid_fields,
)
from tests.support.scripted_service import SCRIPTED_METHOD, SCRIPTED_SERVICE, add_scripted_service

DETAILS_TRAILER = "grpc-status-details-bin"

EVERYTHING = RichStatus(
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    "Too much: 한국어, “quotes”.",
    reason="TOO_MUCH",
    metadata={"setting": "X", "service": "search"},
    field_violations=(FieldViolation("sources[2].title", "is empty"), FieldViolation("stop", "has 9 entries")),
    quota_violations=(QuotaViolation("brave:month", "Spent."),),
    retry_after_seconds=1.2345,
)


class Failing:
    """A server whose method ends every call as the test says."""

    def __init__(self) -> None:
        self.status: RichStatus | None = None
        self.raw: tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]] | None = None
        self.channel: grpc.aio.Channel

    async def behave(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        if self.raw is not None:
            await context.abort(*self.raw)
        assert self.status is not None
        await abort(context, self.status)

    async def received(self) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.channel.unary_unary(SCRIPTED_METHOD)(b"", timeout=5)
        return caught.value


@pytest.fixture
async def failing() -> AsyncIterator[Failing]:
    made = Failing()
    server = RpcServer("127.0.0.1:0", [SCRIPTED_SERVICE])
    add_scripted_service(server.grpc_server, made.behave)
    address = await server.start()
    async with open_channel(address) as channel:
        made.channel = channel
        yield made
    await server.stop(0)


@pytest.mark.parametrize(
    "status",
    [
        EVERYTHING,
        RichStatus(grpc.StatusCode.UNAVAILABLE, "Down."),
        RichStatus(grpc.StatusCode.UNAVAILABLE, "", reason="DOWN", retry_after_seconds=0.0),
        invalid_fields([FieldViolation("query", "is required")]),
    ],
)
async def test_every_detail_makes_the_round_trip(failing: Failing, status: RichStatus) -> None:
    failing.status = status
    assert from_rpc_error(await failing.received()) == status


@pytest.mark.parametrize(("seconds", "milliseconds"), [(0.0, "0"), (1.0, "1000"), (1.2345, "1235")])
async def test_the_pushback_trailer_goes_with_a_retry(failing: Failing, seconds: float, milliseconds: str) -> None:
    failing.status = RichStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, "Slowly.", retry_after_seconds=seconds)
    assert dict((await failing.received()).trailing_metadata() or ())[PUSHBACK_TRAILER] == milliseconds


async def test_no_retry_no_pushback(failing: Failing) -> None:
    failing.status = RichStatus(grpc.StatusCode.UNAVAILABLE, "Down.")
    assert PUSHBACK_TRAILER not in dict((await failing.received()).trailing_metadata() or ())


async def test_a_pushback_alone_is_understood(failing: Failing) -> None:
    failing.raw = (grpc.StatusCode.UNAVAILABLE, "Down.", ((PUSHBACK_TRAILER, "1500"),))
    assert from_rpc_error(await failing.received()).retry_after_seconds == 1.5


async def test_details_that_contradict_the_status_are_left_out(failing: Failing) -> None:
    other = status_pb2.Status(code=3, message="Something else.").SerializeToString()
    failing.raw = (grpc.StatusCode.UNAVAILABLE, "Down.", ((DETAILS_TRAILER, other),))
    assert from_rpc_error(await failing.received()) == RichStatus(grpc.StatusCode.UNAVAILABLE, "Down.")


async def test_details_that_do_not_parse_are_left_out(failing: Failing) -> None:
    failing.raw = (grpc.StatusCode.UNAVAILABLE, "Down.", ((DETAILS_TRAILER, b"\xff\xff\xff"),))
    assert from_rpc_error(await failing.received()) == RichStatus(grpc.StatusCode.UNAVAILABLE, "Down.")


@pytest.mark.parametrize("word", ["x", "한"])
async def test_a_client_takes_the_status_however_much_there_is_to_say(failing: Failing, word: str) -> None:
    fields = [FieldViolation(f"chat.documents[{index}].text", word * 60) for index in range(300)]
    failing.status = replace(invalid_fields(fields), metadata={"service": "inference"}, retry_after_seconds=1)
    received = from_rpc_error(await failing.received())
    assert received.code is grpc.StatusCode.INVALID_ARGUMENT
    *named, more = received.field_violations
    assert named == fields[: len(named)]
    assert len(named) >= 8
    assert more == FieldViolation(MORE_FIELDS, f"{300 - len(named)} more fields are not valid")
    assert received.message.startswith("The request is not valid. chat.documents[0].text: " + word)
    assert received.message.endswith(" …")


def test_invalid_fields_says_all_in_its_message_too() -> None:
    status = invalid_fields([FieldViolation("a", "is bad"), FieldViolation("b[0]", "is worse")])
    assert status.message == "The request is not valid. a: is bad; b[0]: is worse"
    assert status.reason == "INVALID_FIELDS"
