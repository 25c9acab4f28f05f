"""Reads the requests of each caller a few at a time, and none that does not come.

gRPC reads the request of a call before the call's method begins, and of all calls at once. A caller with a thousand
calls on a connection could so make a server hold a thousand of the largest messages before any limit of the service is
asked. Here a method begins with the call, and its request is read once its turn comes. Until then it takes no more
memory than the flow control of its stream lets through, which groundwire_rpc.connections bounds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

import grpc

from groundwire_rpc.behaviours import answered
from groundwire_rpc.callers import identity_of
from groundwire_rpc.calls import serving_call
from groundwire_rpc.guard import OPEN_PREFIXES, CallRefused
from groundwire_rpc.status import RichStatus

READS_AT_ONCE: Final = 16
"""Requests of one caller that are read at a time. Most are read as soon as they are looked at."""


@dataclass(slots=True)
class _Line:
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READS_AT_ONCE))
    users: int = 0


class RequestReading(grpc.aio.ServerInterceptor):
    """Makes methods that take one request take it when its turn comes."""

    def __init__(self, request_seconds: float) -> None:
        """`request_seconds` is how long a request may take to come, with its turn."""
        self._seconds = request_seconds
        self._lines: dict[tuple[bool, str, str], _Line] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The method's handler as one for a stream of requests, which gRPC leaves to be read."""
        handler: Any = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return cast("grpc.RpcMethodHandler[Any, Any] | None", handler)
        return self._reading(handler, handler_call_details.method)

    def _reading(self, handler: Any, method: str) -> grpc.RpcMethodHandler[Any, Any]:
        kind = "stream" if handler.response_streaming else "unary"
        behaviour = getattr(handler, f"unary_{kind}")

        async def answer(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                request = await self._read(requests, method, context)
            except CallRefused as refused:
                async with serving_call(method.rpartition("/")[2], context, _refusal):
                    raise refused
            return await answered(behaviour, request, context)

        make = getattr(grpc, f"stream_{kind}_rpc_method_handler")
        made: grpc.RpcMethodHandler[Any, Any] = make(answer, handler.request_deserializer, handler.response_serializer)
        return made

    async def _read(
        self, requests: AsyncIterator[Any], method: str, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        """The one request of a call. Raises CallRefused where none comes, or not in time."""
        identity = identity_of(context)
        # Health has a line of its own, so that it answers one whose other requests do not come.
        who = (method.startswith(OPEN_PREFIXES), identity.kind.value, identity.value)
        try:
            async with asyncio.timeout(self._seconds), self._turn(who):
                return await anext(requests)
        except TimeoutError:
            limit = {"limit": "request_seconds", "value": f"{self._seconds:g}"}
            told = f"The request did not come within {self._seconds:g} s of its call."
            code = grpc.StatusCode.DEADLINE_EXCEEDED
            raise CallRefused(RichStatus(code, told, reason="REQUEST_TOO_SLOW", metadata=limit)) from None
        except StopAsyncIteration:
            told = "The call brought no request."
            code = grpc.StatusCode.INVALID_ARGUMENT
            raise CallRefused(RichStatus(code, told, reason="REQUEST_MISSING")) from None

    @asynccontextmanager
    async def _turn(self, who: tuple[bool, str, str]) -> AsyncIterator[None]:
        line = self._lines.setdefault(who, _Line())
        line.users += 1
        try:
            async with line.places:
                yield
        finally:
            line.users -= 1
            if not line.users:
                del self._lines[who]  # else every caller that ever was would be remembered


def _refusal(error: Exception) -> RichStatus | None:
    return error.status if isinstance(error, CallRefused) else None
