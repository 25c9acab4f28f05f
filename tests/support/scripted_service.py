"""A gRPC service without a domain, whose one method does what a test says. Messages are plain bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

SCRIPTED_SERVICE = "tests.Scripted"
SCRIPTED_METHOD = f"/{SCRIPTED_SERVICE}/Do"

Behaviour = Callable[[bytes, grpc.aio.ServicerContext[Any, Any]], Awaitable[bytes]]


def add_scripted_service(server: grpc.aio.Server, behaviour: Behaviour) -> None:
    async def do(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        return await behaviour(request, context)

    handler = grpc.unary_unary_rpc_method_handler(do)  # type: ignore[arg-type]
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SCRIPTED_SERVICE, {"Do": handler}),))
