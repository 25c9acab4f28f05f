"""Requests that are no message of their method at all: refused like any other mistake of the caller, and logged.

gRPC's own answer to them is UNKNOWN with the name of a Python exception, which looks like a fault of the server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import grpc
from google.protobuf.message import DecodeError

from groundwire_rpc.behaviours import answered
from groundwire_rpc.calls import serving_call
from groundwire_rpc.status import RichStatus


class Malformed(Exception):
    """The bytes of a request are no message of its type."""


REFUSAL: Final = RichStatus(
    grpc.StatusCode.INVALID_ARGUMENT,
    "The bytes of the request are no protobuf message of the type that this method takes. "
    "Generate the client from the service's own .proto files, or ask its reflection.",
    reason="MALFORMED_REQUEST",
)


@dataclass(frozen=True, slots=True)
class _Unread:
    """Stands for a request that could not be read."""


class MalformedRequests(grpc.aio.ServerInterceptor):
    """Answers requests that cannot be read. The innermost interceptor: what others refuse is not read at all."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The method's handler, which meets such a request with INVALID_ARGUMENT."""
        handler: Any = await continuation(handler_call_details)
        if handler is None or handler.request_streaming or handler.request_deserializer is None:
            return cast("grpc.RpcMethodHandler[Any, Any] | None", handler)
        return _reading(handler, handler_call_details.method.rpartition("/")[2])


def _reading(handler: Any, rpc: str) -> grpc.RpcMethodHandler[Any, Any]:
    kind = "unary_stream" if handler.response_streaming else "unary_unary"
    behaviour, deserialize = getattr(handler, kind), handler.request_deserializer

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except (DecodeError, ValueError):
            return _Unread()

    async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        if isinstance(request, _Unread):
            async with serving_call(rpc, context, lambda error: REFUSAL if isinstance(error, Malformed) else None):
                raise Malformed
        return await answered(behaviour, request, context)

    make = getattr(grpc, f"{kind}_rpc_method_handler")
    made: grpc.RpcMethodHandler[Any, Any] = make(answer, read, handler.response_serializer)
    return made
