"""Streams of methods that yield their messages, over a real connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from groundwire.gateway.v1 import gateway_pb2 as pb
from groundwire.gateway.v1 import gateway_pb2_grpc
from groundwire_rpc.channels import open_channel
from groundwire_rpc.server import RpcServer

SERVICE = "groundwire.gateway.v1.AnswerService"
LARGE = pb.AskResponse(delta=pb.Delta(text="0" * 1_000_000))


class Endless(gateway_pb2_grpc.AnswerServiceServicer):
    def __init__(self) -> None:
        self.yielded = 0
        self.closed = asyncio.Event()

    async def Ask(self, request: pb.AskRequest, context: object) -> AsyncIterator[pb.AskResponse]:  # noqa: N802
        try:
            while True:
                self.yielded += 1
                yield LARGE
        finally:
            self.closed.set()


@pytest.mark.parametrize("lost", [False, True])
async def test_a_caller_who_leaves_while_a_message_waits_is_no_error(
    lost: bool, caplog: pytest.LogCaptureFixture
) -> None:
    servicer = Endless()
    server = RpcServer("127.0.0.1:0", [SERVICE])
    gateway_pb2_grpc.add_AnswerServiceServicer_to_server(servicer, server.grpc_server)
    address = await server.start()
    try:
        with caplog.at_level(logging.WARNING):
            async with open_channel(address) as channel:
                call = gateway_pb2_grpc.AnswerServiceStub(channel).Ask(pb.AskRequest(), timeout=30)
                await call.read()
                while (before := servicer.yielded) == 0 or not await _still(servicer, before):
                    pass
                if not lost:
                    call.cancel()
                    await asyncio.wait_for(servicer.closed.wait(), 10)
            await asyncio.wait_for(servicer.closed.wait(), 10)
            await asyncio.sleep(0.2)
        assert [record.getMessage() for record in caplog.records] == []
        async with open_channel(address) as channel:
            assert await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    finally:
        await server.stop(0)


async def _still(servicer: Endless, before: int) -> bool:
    """Whether no further message was taken for a while: one waits to be written."""
    await asyncio.sleep(0.3)
    return servicer.yielded == before
