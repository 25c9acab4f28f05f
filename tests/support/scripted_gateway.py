"""A gateway that says what a test tells it to, over real gRPC on the loopback interface."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire_rpc.server import RpcServer
from groundwire_rpc.status import RichStatus, abort

GATEWAY = "groundwire.gateway.v1.AnswerService"


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


class UntilCancelled:
    """Wait until the caller cancels, as a model that never ends does."""


Step = gateway_pb2.AskResponse | RichStatus | Pause | UntilCancelled


class ScriptedGateway(gateway_pb2_grpc.AnswerServiceServicer):
    """Plays its script for every Ask, and remembers what it was asked."""

    def __init__(self, script: Sequence[Step] = (), status: gateway_pb2.GetStatusResponse | None = None) -> None:
        self.script = list(script)
        self.status = status or gateway_pb2.GetStatusResponse(version="0.0.0")
        self.requests: list[gateway_pb2.AskRequest] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.deadlines_seconds: list[float | None] = []
        self.cancelled = asyncio.Event()
        self.reached_the_wait = asyncio.Event()
        self.target = ""

    async def Ask(  # noqa: N802 - the name in the contract
        self, request: gateway_pb2.AskRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[gateway_pb2.AskResponse]:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        self.deadlines_seconds.append(context.time_remaining())
        try:
            for step in self.script:
                match step:
                    case RichStatus():
                        await abort(context, step)
                    case Pause():
                        await asyncio.sleep(step.seconds)
                    case UntilCancelled():
                        self.reached_the_wait.set()
                        await asyncio.Event().wait()
                    case _:
                        yield step
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    async def GetStatus(  # noqa: N802 - the name in the contract
        self, request: gateway_pb2.GetStatusRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> gateway_pb2.GetStatusResponse:
        return self.status


@asynccontextmanager
async def scripted_gateway(
    *script: Step, status: gateway_pb2.GetStatusResponse | None = None
) -> AsyncIterator[ScriptedGateway]:
    """A scripted gateway that listens on a free port; `target` says where."""
    server = RpcServer("127.0.0.1:0", [GATEWAY])
    gateway = ScriptedGateway(script, status)
    gateway_pb2_grpc.add_AnswerServiceServicer_to_server(gateway, server.grpc_server)
    gateway.target = await server.start()
    await server.set_serving(True)
    try:
        yield gateway
    finally:
        await server.stop(0)
