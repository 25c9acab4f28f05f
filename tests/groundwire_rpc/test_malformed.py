"""Bytes that are no message, over a real connection."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from groundwire.gateway.v1 import gateway_pb2 as pb
from groundwire.gateway.v1 import gateway_pb2_grpc
from groundwire_rpc.channels import open_channel
from groundwire_rpc.server import RpcServer
from groundwire_rpc.status import from_rpc_error

SERVICE = "groundwire.gateway.v1.AnswerService"


class Servicer(gateway_pb2_grpc.AnswerServiceServicer):
    async def Ask(self, request: pb.AskRequest, context: object) -> AsyncIterator[pb.AskResponse]:  # noqa: N802
        for text in ("a", "b"):
            yield pb.AskResponse(delta=pb.Delta(text=text))

    async def Answer(self, request: pb.AnswerRequest, context: object) -> pb.AnswerResponse:  # noqa: N802
        return pb.AnswerResponse(text=request.ask.question)


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    server = RpcServer("127.0.0.1:0", [SERVICE])
    gateway_pb2_grpc.add_AnswerServiceServicer_to_server(Servicer(), server.grpc_server)
    address = await server.start()
    async with open_channel(address) as opened:
        yield opened
    await server.stop(0)


async def first_of(channel: grpc.aio.Channel, path: str, data: bytes) -> object:
    return await channel.unary_stream(path)(data, timeout=5).read()


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x02\xff\xfe", b"\x0a\xff\x01a"])
@pytest.mark.parametrize("method", ["Ask", "Answer"])
async def test_they_are_refused_as_the_callers_mistake(channel: grpc.aio.Channel, method: str, data: bytes) -> None:
    if method == "Answer":
        data = b"\x0a" + bytes([len(data)]) + data  # the message inside
    path = f"/{SERVICE}/{method}"
    call = channel.unary_unary(path)(data, timeout=5) if method == "Answer" else first_of(channel, path, data)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = from_rpc_error(caught.value)
    assert (status.code, status.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")
    assert "x-request-id" in dict(caught.value.trailing_metadata() or ())


async def test_others_are_answered(channel: grpc.aio.Channel) -> None:
    stub = gateway_pb2_grpc.AnswerServiceStub(channel)
    assert [event.delta.text async for event in stub.Ask(pb.AskRequest(), timeout=5)] == ["a", "b"]
    answer = await stub.Answer(pb.AnswerRequest(ask=pb.AskRequest(question="c")), timeout=5)
    assert answer.text == "c"


async def test_health_too(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/grpc.health.v1.Health/Check")(b"\xff", timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    health = health_pb2_grpc.HealthStub(channel)
    assert (await health.Check(health_pb2.HealthCheckRequest(), timeout=5)).status
