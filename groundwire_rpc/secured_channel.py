"""A client channel that sends a token with each call, and that takes up certificates which were replaced.

It is a channel of its own and no interceptor, because a call through grpc.aio's client interceptors is another kind of
call, which handles the cancellation of a stream differently.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc

Metadata = tuple[tuple[str, str], ...]


class _Generation:
    """One channel of grpc.aio and the calls on it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.running = 0
        self.methods: dict[tuple[str, str], Any] = {}  # what grpc.aio makes for a method, by its kind and name


class SecuredChannel(grpc.aio.Channel):
    """Opens channels as `open_inner` does: one at first, and another one for new calls whenever `is_renewed` says so.

    Calls that run stay on the channel that they began on, which is closed when the last of them ends.
    """

    def __init__(
        self, open_inner: Callable[[], grpc.aio.Channel], is_renewed: Callable[[], bool], metadata: Metadata
    ) -> None:
        """`metadata` goes out with every call, behind the call's own."""
        self._open_inner = open_inner
        self._is_renewed = is_renewed
        self._metadata = metadata
        self._current = _Generation(open_inner())
        self._retired: set[_Generation] = set()
        self._closing: set[asyncio.Task[None]] = set()

    def _latest(self) -> _Generation:
        if self._is_renewed():
            self._retired.add(self._current)
            self._close_if_idle(self._current)
            self._current = _Generation(self._open_inner())
        return self._current

    def _close_if_idle(self, generation: _Generation) -> None:
        if generation in self._retired and not generation.running:
            self._retired.discard(generation)
            task = asyncio.ensure_future(generation.channel.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _ended(self, generation: _Generation) -> None:
        generation.running -= 1
        self._close_if_idle(generation)

    def _method(self, kind: str, method: str, options: dict[str, Any]) -> Any:
        def call(*request: Any, metadata: Metadata | None = None, **call_options: Any) -> Any:
            generation = self._latest()
            made = generation.methods.get((kind, method))
            if made is None:
                made = generation.methods[kind, method] = getattr(generation.channel, kind)(method, **options)
            begun = made(*request, metadata=(*(metadata or ()), *self._metadata), **call_options)
            generation.running += 1
            begun.add_done_callback(lambda _: self._ended(generation))
            return begun

        return call

    # Any: what grpc.aio's own channel takes and returns, private options of the generated stubs among it.

    def unary_unary(self, method: str, *serializers: Any, **options: Any) -> Any:
        """As grpc.aio.Channel has it; serializers by name."""
        return self._method("unary_unary", method, _named(serializers, options))

    def unary_stream(self, method: str, *serializers: Any, **options: Any) -> Any:
        """As grpc.aio.Channel has it; serializers by name."""
        return self._method("unary_stream", method, _named(serializers, options))

    def stream_unary(self, method: str, *serializers: Any, **options: Any) -> Any:
        """As grpc.aio.Channel has it; serializers by name."""
        return self._method("stream_unary", method, _named(serializers, options))

    def stream_stream(self, method: str, *serializers: Any, **options: Any) -> Any:
        """As grpc.aio.Channel has it; serializers by name."""
        return self._method("stream_stream", method, _named(serializers, options))

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The state of the channel that new calls go to."""
        return self._current.channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the channel that new calls go to has another state."""
        await self._current.channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the channel that new calls go to is connected."""
        await self._current.channel.channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Close all of it; running calls get the grace in seconds."""
        generations = [self._current, *self._retired]
        await asyncio.gather(*(each.channel.close(grace) for each in generations), *self._closing)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.close()


def _named(serializers: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    return {**dict(zip(("request_serializer", "response_deserializer"), serializers, strict=False)), **options}
