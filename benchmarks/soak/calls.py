"""Makes one planned call the way its caller behaves, and tells what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any, Self

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from benchmarks.soak.outcome import Outcome, Received, Status
from benchmarks.soak.plan import End, Ending, PlannedCall
from groundwire.inference.v1 import inference_pb2 as pb
from groundwire.inference.v1 import inference_pb2_grpc
from groundwire_rpc.channels import CHANNEL_OPTIONS
from groundwire_rpc.metadata import REQUEST_ID_KEY
from groundwire_rpc.status import PUSHBACK_TRAILER

SHARED_CHANNELS = 4

_SLOW_READING_SECONDS = 4.0
"""A slow reader reads on at full speed then."""
_HUNG_SECONDS = 10.0
"""How long behind its deadline a call counts as hung."""
_CANCELLED_BY_TIME = frozenset({Ending.CANCEL_EARLY, Ending.CANCEL_TIMED})


def request_id(seed: int, index: int) -> str:
    """The x-request-id of a planned call, as the service's log shows it."""
    return f"soak-{seed}-{index}"


class Caller:
    """Makes calls over a few shared channels. Use as an async context manager."""

    def __init__(self, address: str, *, seed: int, patience_seconds: float) -> None:
        """`patience_seconds` is the deadline of a caller that waits for the end."""
        self._address = address
        self._seed = seed
        self._patience_seconds = patience_seconds
        self._channels: list[grpc.aio.Channel] = []

    async def __aenter__(self) -> Self:
        # Each has a connection of its own: channels of equal options would share one.
        self._channels = [self._open(number) for number in range(SHARED_CHANNELS)]
        for channel in self._channels:
            await channel.channel_ready()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for channel in self._channels:
            await channel.close()

    def _open(self, number: int) -> grpc.aio.Channel:
        options = (*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1), ("soak.channel", number))
        return grpc.aio.insecure_channel(self._address, options=options)

    async def make(self, planned: PlannedCall, request: pb.GenerateRequest) -> Outcome:
        """Send the request as planned and behave as planned. `request` may differ from the planned one in its turns."""
        started = time.monotonic()
        received = Received()
        try:
            async with asyncio.timeout(self._timeout_seconds(planned.end) + _HUNG_SECONDS):
                status = await self._run(planned, request, received)
        except TimeoutError:
            status = Status(None, "it did not end")
        return Outcome(status, received, time.monotonic() - started)

    def _timeout_seconds(self, end: End) -> float:
        return end.seconds if end.ending is Ending.DEADLINE else self._patience_seconds

    async def _run(self, planned: PlannedCall, request: pb.GenerateRequest, received: Received) -> Status:
        async with self._channel(planned) as channel:
            stub = inference_pb2_grpc.InferenceServiceStub(channel)
            metadata = ((REQUEST_ID_KEY, request_id(self._seed, planned.index)),)
            timeout = self._timeout_seconds(planned.end)
            call: Any  # the stubs have no common type of both kinds of call
            if planned.gathered:
                call = stub.Complete(pb.CompleteRequest(generate=request), metadata=metadata, timeout=timeout)
            else:
                call = stub.Generate(request, metadata=metadata, timeout=timeout)
            return await _attend(call, planned, received, channel)

    @contextlib.asynccontextmanager
    async def _channel(self, planned: PlannedCall) -> AsyncIterator[grpc.aio.Channel]:
        if planned.end.ending is not Ending.CLOSE:
            yield self._channels[planned.index % len(self._channels)]
            return
        async with self._open(SHARED_CHANNELS + planned.index) as channel:
            yield channel


async def _attend(call: Any, planned: PlannedCall, received: Received, channel: grpc.aio.Channel) -> Status:
    """Read the call as planned up to its end, whatever that is."""
    end = planned.end
    loop = asyncio.get_running_loop()
    timer = loop.call_later(end.seconds, call.cancel) if end.ending in _CANCELLED_BY_TIME else None
    ended = asyncio.Event()
    closing = asyncio.create_task(_close_later(channel, end.seconds, ended)) if end.ending is Ending.CLOSE else None
    try:
        if planned.gathered:
            received.add_gathered(await call)
        else:
            await _read(call, end, received)
    except grpc.aio.AioRpcError as error:
        # The error itself must not be kept: with its traceback it would keep the call, and that the connection.
        return Status(error.code(), error.details() or "", _details(error), _pushback_ms(error))
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # not the call was cancelled, but this reader
            raise
    finally:
        if timer is not None:
            timer.cancel()
        if closing is not None:
            ended.set()
            await closing
    return Status(await call.code())


async def _read(call: Any, end: End, received: Received) -> None:
    started = time.monotonic()
    async for message in call:
        seconds = time.monotonic() - started
        received.add(message, seconds)
        if end.ending is Ending.SLOW and seconds < _SLOW_READING_SECONDS:
            await asyncio.sleep(end.seconds)
        elif end.messages and len(received.events) >= end.messages:
            await asyncio.sleep(end.seconds)
            call.cancel()


async def _close_later(channel: grpc.aio.Channel, seconds: float, ended: asyncio.Event) -> None:
    """Close the channel after a time, or at the call's end where that is earlier."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), seconds)
    await channel.close()


def _details(error: grpc.aio.AioRpcError) -> frozenset[str]:
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # AioRpcError has the methods it calls
    except (ValueError, DecodeError):
        return frozenset({"details that contradict the status"})
    if status is None:
        return frozenset()
    return frozenset(packed.type_url.rpartition(".")[2] for packed in status.details)


def _pushback_ms(error: grpc.aio.AioRpcError) -> int | None:
    for key, value in error.trailing_metadata() or ():
        if key == PUSHBACK_TRAILER and str(value).isdigit():
            return int(value)
    return None
