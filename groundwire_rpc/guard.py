"""Who may call a server: bearer tokens, checked before a call's request is even read.

Every method is guarded, those that are added later too, but for health and reflection, which load balancers and
grpcurl use without a token.
"""

from __future__ import annotations

import hmac
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, NoReturn, Protocol, cast

import grpc
from pydantic import SecretStr

from groundwire_rpc.callers import let_in
from groundwire_rpc.calls import serving_call
from groundwire_rpc.status import RichStatus

AUTHORIZATION_KEY: Final = "authorization"
SCHEME: Final = "bearer"

OPEN_PREFIXES: Final = ("/grpc.health.v1.", "/grpc.reflection.")
"""What answers without a token."""


class CallRefused(Exception):
    """The caller may not make this call, or not now."""

    def __init__(self, status: RichStatus) -> None:
        super().__init__(status.message)
        self.status = status


UNCOUNTED_METHODS: Final = ("GetStatus",)
"""What a known caller may always ask, however many calls of theirs run."""


class Caller(Protocol):
    """Someone who is known, and whose calls are counted."""

    @property
    def label(self) -> str:
        """What logs call them."""
        ...

    @property
    def secret(self) -> str:
        """What tells them from others: hard to guess, and told to nobody."""
        ...

    def enter(self) -> None:
        """A call of theirs begins. Raises CallRefused where too many run, or have begun of late."""
        ...

    def leave(self) -> None:
        """A call that has entered ends."""
        ...


class Gate(Protocol):
    """Tells callers by the token that they send."""

    def identify(self, token: str | None) -> Caller | None:
        """Who sends this token; None of `token`: none was sent. None: someone whose calls are not counted.

        Raises CallRefused.
        """
        ...


class SharedToken:
    """A Gate that takes one token, which all callers share."""

    def __init__(self, token: SecretStr, setting: str) -> None:
        """`setting` is the variable that holds it, on both sides."""
        self._token = token.get_secret_value().encode()
        self._setting = setting

    def identify(self, token: str | None) -> None:
        """Compared in constant time. Raises CallRefused."""
        if token is None or not hmac.compare_digest(token.encode(), self._token):
            given = "a token, and none was sent" if token is None else "another token than the one that was sent"
            raise CallRefused(
                RichStatus(
                    grpc.StatusCode.UNAUTHENTICATED,
                    f"This service wants {given}. Set {self._setting} to the same value on both sides.",
                    reason="TOKEN_REFUSED",
                    metadata={"setting": self._setting},
                )
            )


class Guard(grpc.aio.ServerInterceptor):
    """Puts a Gate before every method of a server."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The method's handler, or one that refuses the call. None: there is no such method, which gRPC says itself."""
        method = handler_call_details.method
        if method.startswith(OPEN_PREFIXES):
            return await continuation(handler_call_details)
        rpc = method.rpartition("/")[2]
        try:
            caller = self._gate.identify(bearer_token(handler_call_details.invocation_metadata))
        except CallRefused as refusal:
            return _refusing(rpc, refusal)
        if caller is None:
            let_in()
        else:
            let_in(caller.label, caller.secret)
        handler = await continuation(handler_call_details)
        if caller is None or handler is None or rpc in UNCOUNTED_METHODS:
            return handler
        return _counting(handler, rpc, caller)


def bearer_token(metadata: Any) -> str | None:
    """The token in a call's metadata. None where there is none, or one of another scheme."""
    for key, value in metadata or ():
        if key == AUTHORIZATION_KEY and isinstance(value, str):
            scheme, _, token = value.strip().partition(" ")
            if scheme.lower() == SCHEME and token.strip():
                return token.strip()
    return None


def bearer_metadata(token: SecretStr) -> tuple[tuple[str, str], ...]:
    """The metadata that a caller sends."""
    return ((AUTHORIZATION_KEY, f"Bearer {token.get_secret_value()}"),)


def _refusing(rpc: str, refusal: CallRefused) -> grpc.RpcMethodHandler[Any, Any]:
    async def refuse(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await _refuse(rpc, context, refusal)

    # As for a stream of requests, whatever the method takes: so that no request of a stranger is waited for or read.
    return grpc.stream_stream_rpc_method_handler(cast("Any", refuse))


async def _refuse(rpc: str, context: grpc.aio.ServicerContext[Any, Any], refusal: CallRefused) -> NoReturn:
    """End the call as serving_call ends one: with the request id, and one line in the log."""
    async with serving_call(rpc, context, lambda error: error.status if isinstance(error, CallRefused) else None):
        raise refusal
    raise AssertionError("a refused call always raises")


def _counting(handler: Any, rpc: str, caller: Caller) -> grpc.RpcMethodHandler[Any, Any]:
    """The handler, counted as one of the caller's running calls."""
    kind = ("stream_" if handler.request_streaming else "unary_") + (
        "stream" if handler.response_streaming else "unary"
    )
    behaviour = getattr(handler, kind)

    async def counted(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            caller.enter()
        except CallRefused as refusal:
            await _refuse(rpc, context, refusal)
        try:
            if not inspect.isasyncgenfunction(behaviour):
                return await behaviour(request, context)
            messages: AsyncGenerator[Any, None] = behaviour(request, context)
            async with aclosing(messages):
                async for message in messages:
                    await context.write(message)
            return None
        finally:
            caller.leave()

    make = getattr(grpc, f"{kind}_rpc_method_handler")
    made: grpc.RpcMethodHandler[Any, Any] = make(counted, handler.request_deserializer, handler.response_serializer)
    return made
