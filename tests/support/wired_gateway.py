"""A real gateway between a scripted search and a scripted inference service, and a client of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest

from gateway.config import GatewayConfig
from gateway.server import build_server
from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire_rpc.channels import open_channel
from groundwire_rpc.status import RichStatus, from_rpc_error
from groundwire_rpc.telemetry import OFF, Telemetry
from tests.support.fake_services import FakeInference, FakeSearch, answer_script, found, serving

QUESTION = gateway_pb2.AskRequest(question="What is the capital of Austria?")
TWO_SOURCES = found("Vienna is the capital of Austria.", "Austria lies in Europe.")
BUSY = RichStatus(
    grpc.StatusCode.RESOURCE_EXHAUSTED, "The queue is full.", reason="QUEUE_FULL", retry_after_seconds=0.05
)
DOWN = RichStatus(grpc.StatusCode.UNAVAILABLE, "The engine is restarting.", reason="ENGINE_RESTARTING")


class Wired:
    """A gateway between the two fakes, and a client of it."""

    def __init__(
        self, channel: grpc.aio.Channel, search: FakeSearch, inference: FakeInference, address: str = ""
    ) -> None:
        self.address = address
        self.channel = channel
        self.stub = gateway_pb2_grpc.AnswerServiceStub(channel)
        self.search = search
        self.inference = inference

    async def ask(self, request: gateway_pb2.AskRequest = QUESTION, **call: Any) -> list[gateway_pb2.AskResponse]:
        """All events of an answer."""
        return [event async for event in self.stub.Ask(request, timeout=call.pop("timeout", 5), **call)]

    async def refused(self, request: gateway_pb2.AskRequest = QUESTION, **call: Any) -> RichStatus:
        """How a question fails that must."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.ask(request, **call)
        return from_rpc_error(caught.value)

    async def backend(self, name: str) -> gateway_pb2.BackendStatus:
        """How the gateway says that a service behind it is."""
        status = await self.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=5)
        (backend,) = (each for each in status.backends if each.name == name)
        return backend

    async def running_asks(self) -> int:
        """How many questions it says it is answering."""
        status = await self.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=5)
        return status.running_asks

    async def idle(self) -> bool:
        """Whether no question is being answered, soon."""
        for _ in range(2000):
            if await self.running_asks() == 0:
                return True
            await asyncio.sleep(0.01)
        return False


@asynccontextmanager
async def wired(
    search: Sequence[Sequence[object]] = ([TWO_SOURCES],),
    inference: Sequence[Sequence[object]] = (answer_script("Vienna [1]."),),
    telemetry: Telemetry = OFF,
    **settings: Any,
) -> AsyncIterator[Wired]:
    """Start all three; `settings` are the gateway's."""
    fake_search, fake_inference = FakeSearch(*search), FakeInference(*inference)
    async with AsyncExitStack() as resources:
        settings.setdefault("search_target", await resources.enter_async_context(serving(fake_search)))
        settings.setdefault("inference_target", await resources.enter_async_context(serving(fake_inference)))
        config = GatewayConfig(gateway_listen="127.0.0.1:0", **settings)
        server = build_server(config, resources, telemetry)
        address = await server.start()
        await server.set_serving(True)
        resources.push_async_callback(server.stop, 0)
        channel = await resources.enter_async_context(open_channel(address))
        yield Wired(channel, fake_search, fake_inference, address)


def kinds(events: Sequence[gateway_pb2.AskResponse]) -> list[str]:
    """The events' names in order."""
    return [str(event.WhichOneof("event")) for event in events]


def unused_target() -> str:
    """An address of this host that nothing listens on."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{reserved.getsockname()[1]}"
