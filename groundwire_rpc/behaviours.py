"""Runs what stands behind a method, for interceptors that put themselves in its place."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import grpc


async def answered(behaviour: Callable[..., Any], request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
    """The behaviour's response; None where it writes a stream, or yields one, which is written here.

    Raises CancelledError where the caller cancelled or was lost while a message waited to be written.
    """
    if not inspect.isasyncgenfunction(behaviour):
        return await behaviour(request, context)
    async with aclosing(behaviour(request, context)) as messages:
        async for message in messages:
            try:
                await context.write(message)
            except grpc.aio.InternalError:
                # What gRPC says of a write that waited when its call ended. It will cancel the call too.
                raise asyncio.CancelledError from None
    return None
