"""A real gateway that is full: what is refused, how, and what answers all the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway.adapters.api_keys import key_line, new_key
from gateway.core.admission import STREAM_BYTES
from groundwire.gateway.v1 import gateway_pb2
from groundwire_rpc.status import from_rpc_error
from tests.support.fake_services import HANG, answer_script, delta, started
from tests.support.wired_gateway import QUESTION, Wired, wired

ALICE, BOB = new_key(), new_key()


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.txt"
    path.write_text(f"{key_line('alice', ALICE)}\n{key_line('bob', BOB)}\n")
    return path


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),)


@asynccontextmanager
async def held(gateway: Wired, count: int, **call: Any) -> AsyncIterator[None]:
    """So many questions that are being answered for the length of a block."""
    before = await status(gateway)
    asks = [gateway.stub.Ask(QUESTION, timeout=60, **call) for _ in range(count)]
    reading = [asyncio.ensure_future(_read(ask)) for ask in asks]
    try:
        async with asyncio.timeout(10):
            while (await status(gateway)).running_asks < before.running_asks + count:
                await asyncio.sleep(0.01)
        yield
    finally:
        for ask in asks:
            ask.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


async def _read(ask: Any) -> None:
    async for _ in ask:
        pass


async def status(gateway: Wired) -> gateway_pb2.GetStatusResponse:
    # With a key where one is asked for; without one it is not looked at.
    return await gateway.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=5, metadata=bearer(BOB))


async def test_a_question_for_which_there_is_no_place_is_refused_at_once_and_told_when_to_come_back() -> None:
    async with wired(inference=[[started(1), HANG]], gateway_max_asks=2, gateway_caller_share=1) as gateway:
        async with held(gateway, 2):
            begun = time.monotonic()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await gateway.ask(timeout=30)
            assert time.monotonic() - begun < 5
            refused = from_rpc_error(caught.value)
            assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "GATEWAY_BUSY")
            assert refused.metadata == {"limit": "concurrent_asks", "value": "2"}
            assert refused.retry_after_seconds == 1.0
            assert dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await gateway.stub.Answer(gateway_pb2.AnswerRequest(ask=QUESTION), timeout=30)
            assert from_rpc_error(caught.value) == refused
            assert len(gateway.search.calls) == 2
        assert await gateway.idle()
        async with held(gateway, 2):
            pass


async def test_health_reflection_and_the_status_answer_while_the_gateway_is_full() -> None:
    async with (
        wired(inference=[[started(1), HANG]], gateway_max_asks=1) as gateway,
        held(gateway, 1),
    ):
        assert (await gateway.refused()).reason == "GATEWAY_BUSY"
        health = await health_pb2_grpc.HealthStub(gateway.channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        stub = reflection_pb2_grpc.ServerReflectionStub(gateway.channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        assert [answer async for answer in stub.ServerReflectionInfo(asked, timeout=5)]
        told = await status(gateway)
        assert (told.running_asks, told.max_asks) == (1, 1)
        assert (told.held_mib, told.held_limit_mib) == (1, 256)


async def test_one_caller_leaves_places_to_others(keys_file: Path) -> None:
    settings = {"gateway_api_keys_file": keys_file, "gateway_max_asks": 4, "gateway_caller_share": 0.5}
    async with (
        wired(inference=[[started(1), HANG]], **settings) as gateway,
        held(gateway, 2, metadata=bearer(ALICE)),
    ):
        refused = await gateway.refused(metadata=bearer(ALICE))
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "CALLER_BUSY")
        assert refused.metadata == {"limit": "concurrent_asks", "value": "2"}
        assert refused.retry_after_seconds == 1.0
        async with held(gateway, 2, metadata=bearer(BOB)):
            assert (await gateway.refused(metadata=bearer(BOB))).reason == "GATEWAY_BUSY"


async def test_bytes_are_counted_those_of_the_answer_too() -> None:
    long = [started(1), *(delta("x" * 10_000) for _ in range(80)), HANG]
    async with wired(inference=[long], gateway_max_held_bytes=1024 * 1024, gateway_caller_share=1) as gateway:
        async with held(gateway, 1):
            async with asyncio.timeout(10):
                while (await status(gateway)).held_mib < 2:
                    await asyncio.sleep(0.01)
            refused = await gateway.refused()
            assert (refused.reason, refused.metadata) == ("GATEWAY_BUSY", {"limit": "held_bytes", "value": "1048576"})
        async with asyncio.timeout(10):
            while (await status(gateway)).held_mib:
                await asyncio.sleep(0.01)


async def test_large_questions_count_for_what_they_are() -> None:
    large = gateway_pb2.AskRequest(question="Why?")
    for _ in range(10):
        large.sources.add(title="T", text="x" * 60_000)
    assert 2 * (large.ByteSize() + STREAM_BYTES) > 1024 * 1024
    settings = {"gateway_max_held_bytes": 1024 * 1024, "gateway_caller_share": 1}
    async with wired(inference=[[started(1), HANG], answer_script("Vienna [1].")], **settings) as gateway:
        first = gateway.stub.Ask(large, timeout=60)
        reading = asyncio.ensure_future(_read(first))
        await asyncio.wait_for(gateway.inference.arrived.wait(), 10)
        assert (await gateway.refused(large)).metadata["limit"] == "held_bytes"
        first.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert await gateway.idle()
        assert (await gateway.ask(large))[-1].HasField("finished")


async def test_answers_that_fail_or_are_not_valid_give_their_place_back() -> None:
    async with wired(inference=[[started(1), delta("a")]], gateway_max_asks=1) as gateway:
        for _ in range(3):
            assert (await gateway.refused(gateway_pb2.AskRequest())).code is grpc.StatusCode.INVALID_ARGUMENT
            assert (await gateway.refused()).reason == "BACKEND_BROKE_OFF"
        told = await status(gateway)
        assert (told.running_asks, told.held_mib) == (0, 0)
