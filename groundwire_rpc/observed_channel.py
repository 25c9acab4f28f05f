"""A client channel that tells of the calls made on it: a span for each, and how long it took.

It is a channel of its own and no interceptor, for the reason that `secured_channel.py` gives.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any, Final, Self

import grpc

from groundwire_rpc.metadata import TRACEPARENT_KEY
from groundwire_rpc.telemetry import Telemetry
from groundwire_rpc.tracing import NO_SPAN, RPC_METHOD, RPC_STATUS, RPC_SYSTEM, Span

Metadata = tuple[tuple[str, str], ...]

_UNTOLD_PREFIX: Final = "/grpc."
"""Methods of gRPC's own: health checks would drown what matters."""


class ObservedChannel(grpc.aio.Channel):
    """Makes each call on `inner`, with the call's own span as its `traceparent`. Owns the channel and closes it."""

    def __init__(self, inner: grpc.aio.Channel, telemetry: Telemetry) -> None:
        self._inner = inner
        self._telemetry = telemetry
        self._endings: set[asyncio.Task[None]] = set()

    def _method(self, kind: str, method: str, serializers: tuple[Any, ...], options: dict[str, Any]) -> Any:
        made = getattr(self._inner, kind)(method, *serializers, **options)
        if method.startswith(_UNTOLD_PREFIX):
            return made
        name = method.removeprefix("/")

        def call(*request: Any, metadata: Metadata | None = None, **call_options: Any) -> Any:
            span, sent = self._begin(name, tuple(metadata or ()))
            started = time.monotonic()
            try:
                begun = made(*request, metadata=sent, **call_options)
            except BaseException:
                span.end(error="INTERNAL")
                raise
            begun.add_done_callback(lambda ended: self._ended(ended, name, span, started))
            return begun

        return call

    def _begin(self, name: str, metadata: Metadata) -> tuple[Span, Metadata]:
        tracer = self._telemetry.tracer
        if tracer is None:
            return NO_SPAN, metadata
        parent = next((value for key, value in metadata if key == TRACEPARENT_KEY), None)
        span = tracer.start(name, kind="client", traceparent=parent, attributes={RPC_SYSTEM: "grpc", RPC_METHOD: name})
        if not span.traceparent:
            return span, metadata
        others = tuple(entry for entry in metadata if entry[0] != TRACEPARENT_KEY)
        return span, (*others, (TRACEPARENT_KEY, span.traceparent))

    def _ended(self, call: Any, name: str, span: Span, started: float) -> None:
        # The code can only be awaited, also when it is known; the time is taken now.
        seconds, end_ns = time.monotonic() - started, time.time_ns()

        async def tell() -> None:
            code = (await call.code()).name
            span.set({RPC_STATUS: code})
            span.end(error=code, end_ns=end_ns)
            if self._telemetry.calls is not None:
                self._telemetry.calls.made(name, code, seconds)

        task = asyncio.ensure_future(tell())
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    # Any: what grpc.aio's own channel takes and returns, private options of the generated stubs among it.

    def unary_unary(self, method: str, *serializers: Any, **options: Any) -> Any:
        """As grpc.aio.Channel has it."""
        return self._method("unary_unary", method, serializers, options)

    def unary_stream(self, method: str, *serializers: Any, **options: Any) -> Any:
        """As grpc.aio.Channel has it."""
        return self._method("unary_stream", method, serializers, options)

    def stream_unary(self, method: str, *serializers: Any, **options: Any) -> Any:
        """As grpc.aio.Channel has it."""
        return self._method("stream_unary", method, serializers, options)

    def stream_stream(self, method: str, *serializers: Any, **options: Any) -> Any:
        """As grpc.aio.Channel has it."""
        return self._method("stream_stream", method, serializers, options)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The inner channel's state."""
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the inner channel has another state."""
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the inner channel is connected."""
        await self._inner.channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Close the inner channel; running calls get the grace in seconds."""
        await self._inner.close(grace)
        await asyncio.gather(*self._endings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.close()


def observed(channel: grpc.aio.Channel, telemetry: Telemetry) -> grpc.aio.Channel:
    """The channel, observed where there is anyone to tell."""
    return ObservedChannel(channel, telemetry) if telemetry.is_on else channel
