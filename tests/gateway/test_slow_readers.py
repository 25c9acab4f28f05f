"""Callers that stop reading: how much piles up for them, and when their answers end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from structlog.testing import capture_logs

from gateway.core.admission import STREAM_BYTES
from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire_rpc.channels import CHANNEL_OPTIONS
from groundwire_rpc.status import from_rpc_error
from tests.support.fake_services import HANG, answer_script, delta, started
from tests.support.wired_gateway import QUESTION, Wired, wired

PIECE = "x" * 1_000
FLOOD = [started(1), *(delta(PIECE) for _ in range(20_000)), HANG]
"""Twenty megabytes."""

HUNGRY = (("grpc.http2.bdp_probe", 1), ("grpc.http2.lookahead_bytes", 8 * 1024 * 1024))
"""A caller whose own buffer takes megabytes that nobody reads: that is theirs to decide."""


@asynccontextmanager
async def unread(gateway: Wired, *, options: Any = CHANNEL_OPTIONS) -> AsyncIterator[Any]:
    """An answer of which its caller has read the first delta and nothing since, on a connection of its own."""
    alone = (*options, ("grpc.use_local_subchannel_pool", 1))
    async with grpc.aio.insecure_channel(gateway.address, alone) as channel:
        ask = gateway_pb2_grpc.AnswerServiceStub(channel).Ask(QUESTION)
        while not (await ask.read()).HasField("delta"):
            pass
        yield ask
        ask.cancel()


async def read_on(ask: Any, pause_seconds: float = 0.0) -> tuple[int, grpc.aio.AioRpcError]:
    """Read to the end, with a pause after every 40 KB. Returns the bytes of text, and how it failed as it must."""
    read = pieces = 0
    try:
        while True:
            read += len((await ask.read()).delta.text)
            pieces += 1
            if pieces % 40 == 0:
                await asyncio.sleep(pause_seconds)
    except grpc.aio.AioRpcError as error:
        return read, error


async def written(gateway: Wired) -> int:
    """How many bytes of deltas the gateway has passed on of the one answer, once it passes on no more."""
    counts = [-1]
    async with asyncio.timeout(20):
        while len(counts) < 10 or len(set(counts[-10:])) > 1:
            await asyncio.sleep(0.05)
            status = await gateway.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=5)
            counts.append(status.held_mib)
    return counts[-1] * 1024 * 1024


async def test_nothing_piles_up_for_one_who_does_not_read() -> None:
    async with wired(inference=[FLOOD]) as gateway, unread(gateway):
        # What is counted: the buffers of gRPC, and what has been passed on to them so far. Of twenty megabytes.
        assert await written(gateway) <= 1024 * 1024
        assert STREAM_BYTES < 1024 * 1024


async def test_after_a_while_the_answer_ends_with_a_status_behind_what_was_sent() -> None:
    async with wired(inference=[FLOOD], gateway_stream_stall_seconds=0.5) as gateway, unread(gateway) as ask:
        begun = time.monotonic()
        await asyncio.wait_for(gateway.inference.calls[0].cancelled.wait(), 20)
        assert 0.3 < time.monotonic() - begun < 15
        assert await gateway.idle()
        read, error = await read_on(ask)
        status = from_rpc_error(error)
        assert (status.code, status.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "READER_TOO_SLOW")
        assert status.metadata == {"limit": "stream_stall_seconds", "value": "0.5"}
        assert 0 < read < 1024 * 1024


async def test_one_who_never_reads_again_holds_nothing_but_bytes_until_they_go() -> None:
    async with wired(inference=[FLOOD], gateway_stream_stall_seconds=0.3, gateway_max_asks=1) as gateway:
        async with unread(gateway):
            await asyncio.wait_for(gateway.inference.calls[0].cancelled.wait(), 20)
            assert await gateway.idle()
            gateway.inference.scripts = [answer_script("Vienna [1].")]
            assert (await gateway.ask())[-1].HasField("finished")
            status = await gateway.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=5)
            assert status.held_mib == 1
        async with asyncio.timeout(20):
            while (await gateway.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=5)).held_mib:
                await asyncio.sleep(0.02)


async def test_one_who_reads_a_little_now_and_then_is_not_served_for_ever() -> None:
    async with wired(inference=[FLOOD], gateway_stream_stall_seconds=1) as gateway, unread(gateway) as ask:
        async with asyncio.timeout(60):
            read, error = await read_on(ask, pause_seconds=0.3)
        assert from_rpc_error(error).reason == "READER_TOO_SLOW"
        assert read < 10_000_000
        assert await gateway.idle()


async def test_one_who_reads_slowly_what_fits_the_buffers_is_served_to_the_end() -> None:
    script = answer_script(*("word " for _ in range(300)))
    async with wired(inference=[script], gateway_stream_stall_seconds=0.3) as gateway:
        ask = gateway.stub.Ask(QUESTION, timeout=60)
        kinds = []
        while (event := await ask.read()) is not grpc.aio.EOF:
            kinds.append(event.WhichOneof("event"))
            await asyncio.sleep(0.01)
        assert kinds[-1] == "finished"
        assert kinds.count("delta") == 300


async def test_others_are_served_meanwhile() -> None:
    async with wired(inference=[FLOOD, answer_script("Vienna [1].")]) as gateway, unread(gateway, options=HUNGRY):
        for _ in range(20):
            assert (await gateway.ask(timeout=20))[-1].HasField("finished")


async def test_a_caller_that_leaves_while_its_answer_waits_has_cancelled_it() -> None:
    with capture_logs() as logs:
        async with wired(inference=[FLOOD]) as gateway:
            async with unread(gateway):
                await asyncio.sleep(0.3)
            await asyncio.wait_for(gateway.inference.calls[0].cancelled.wait(), 20)
            assert await gateway.idle()
            async with asyncio.timeout(10):
                while not (asks := [entry for entry in logs if entry.get("rpc") == "Ask"]):
                    await asyncio.sleep(0.01)
    assert [entry["code"] for entry in asks] == ["CANCELLED"]
    assert not [entry for entry in logs if entry["log_level"] == "error"]
