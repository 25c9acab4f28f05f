"""Writes an answer to its reader, who may take their time but not for ever."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from gateway.core.errors import ReaderTooSlow

STALL_SECONDS: Final = 0.1
"""A write that takes longer waited for the reader. A shorter one may have waited for this process."""


class StreamWriter:
    """Writes the messages of one call.

    gRPC takes what fits its buffer, 64 KiB, and then waits until the reader has taken of it. Meanwhile nothing is taken
    from the services behind either, so nothing piles up here.
    """

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any], *, max_stall_seconds: float) -> None:
        """`max_stall_seconds` is how long the writes of the call may wait for its reader, all together."""
        self._context = context
        self._max_stall_seconds = max_stall_seconds
        self._left = max_stall_seconds

    async def write(self, message: Message) -> None:
        """Write one message. Raises ReaderTooSlow, and CancelledError where the caller is gone."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._left):
                await self._context.write(message)
        except TimeoutError:
            raise ReaderTooSlow(self._max_stall_seconds) from None
        except grpc.aio.InternalError:
            # What gRPC says of a write that waited when its caller cancelled or was lost. It will cancel the call too.
            raise asyncio.CancelledError from None
        took = time.monotonic() - began
        if took > STALL_SECONDS:
            self._left -= took
