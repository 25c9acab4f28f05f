"""Ends a stream whose client does not take what it is sent.

A stream waits in its write while the client's flow control window is full. All that it holds meanwhile (a slot of the
model, a call to another service) would be held for as long as the client likes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc

from groundwire_rpc.calls import ServedCall
from groundwire_rpc.status import RichStatus, abort

LINGER_SECONDS: Final = 30.0
"""How long the status of a stream that was ended waits for its client. Then the client is reset."""

_ending: set[asyncio.Task[None]] = set()
"""Tasks that nobody else refers to."""


class ReaderWatch:
    """Watches the writes of one stream. Made in the task that serves it."""

    def __init__(
        self, call: ServedCall, context: grpc.aio.ServicerContext[Any, Any], *, seconds: float, status: RichStatus
    ) -> None:
        """A write may take so many seconds. Then the stream ends with `status`, behind what it has sent already."""
        self._call = call
        self._context = context
        self._seconds = seconds
        self._status = status
        self._serving = asyncio.current_task()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Put this around each `yield` of a message: it lasts as long as the write."""
        timer = asyncio.get_running_loop().call_later(self._seconds, self._give_up)
        try:
            yield
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        self._call.ended_with = self._status
        ending = asyncio.get_running_loop().create_task(self._end())
        _ending.add(ending)
        ending.add_done_callback(_ending.discard)

    async def _end(self) -> None:
        # gRPC takes the status now and sends it behind the pending message. The serving task is cancelled only then:
        # its generator is closed and gives back what it holds.
        sending = asyncio.ensure_future(abort(self._context, self._status, self._call.request_id_entry))
        await asyncio.sleep(0)
        if self._serving is not None:
            self._serving.cancel()
        await asyncio.wait({sending}, timeout=LINGER_SECONDS)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
