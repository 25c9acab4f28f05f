"""Ask and Answer over real servers: deadlines, cancellation and slow readers."""

from __future__ import annotations

import asyncio
import socket
import time

import grpc
import pytest

from groundwire.gateway.v1 import gateway_pb2
from groundwire_rpc.status import RichStatus
from tests.support.fake_services import HANG, answer_script, delta, started
from tests.support.wired_gateway import QUESTION, wired


async def test_ids_and_deadline_go_down_to_both_services() -> None:
    trace = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
    async with wired() as gateway:
        call = gateway.stub.Ask(QUESTION, timeout=7, metadata=(("x-request-id", "abc"), ("traceparent", trace)))
        returned = dict(await call.initial_metadata())
        async for _ in call:
            pass
        below = [gateway.search.calls[0], gateway.inference.calls[0]]

    assert returned["x-request-id"] == "abc"
    for received in below:
        assert received.metadata["x-request-id"] == "abc"
        assert received.metadata["traceparent"] == trace
        assert received.seconds_left is not None
        assert 5 < received.seconds_left < 7.1  # gRPC rounds it up


async def test_without_a_deadline_the_default_ones_apply() -> None:
    async with wired(ask_timeout_seconds=33, gateway_search_timeout_seconds=4) as gateway:
        await gateway.ask(timeout=None)
        search, inference = gateway.search.calls[0].seconds_left, gateway.inference.calls[0].seconds_left
    assert search is not None
    assert inference is not None
    assert 3 < search < 4.1
    assert 30 < inference < 33.1


async def test_cancelling_while_searching_cancels_the_search() -> None:
    async with wired(search=[[HANG]]) as gateway:
        call = gateway.stub.Ask(QUESTION, timeout=30)
        await asyncio.wait_for(gateway.search.arrived.wait(), 20)
        call.cancel()
        await asyncio.wait_for(gateway.search.calls[0].cancelled.wait(), 20)
        assert await gateway.idle()


@pytest.mark.parametrize("script", [[HANG], [started(1), HANG], [started(1), delta("a"), HANG]])
async def test_cancelling_while_answering_cancels_the_generation(script: list[object]) -> None:
    async with wired(inference=[script]) as gateway:
        call = gateway.stub.Ask(QUESTION, timeout=30)
        await asyncio.wait_for(gateway.inference.arrived.wait(), 20)
        await asyncio.sleep(0.02)
        call.cancel()
        await asyncio.wait_for(gateway.inference.calls[0].cancelled.wait(), 20)
        assert await gateway.idle()


async def test_cancelling_a_reader_that_stopped_reading_cancels_the_generation() -> None:
    flood = [started(1), *(delta("x" * 10_000) for _ in range(500)), HANG]
    async with wired(inference=[flood]) as gateway:
        call = gateway.stub.Ask(QUESTION, timeout=30)
        async for event in call:
            if event.WhichOneof("event") == "delta":
                break
        await asyncio.sleep(0.1)  # the gateway is now held up in a write
        call.cancel()
        await asyncio.wait_for(gateway.inference.calls[0].cancelled.wait(), 20)
        assert await gateway.idle()


async def test_a_reader_that_stopped_reading_holds_the_model_no_longer_than_the_deadline() -> None:
    flood = [started(1), *(delta("x" * 10_000) for _ in range(500)), HANG]
    async with wired(inference=[flood], ask_timeout_seconds=0.5) as gateway:
        call = gateway.stub.Ask(QUESTION)
        async for event in call:
            if event.WhichOneof("event") == "delta":
                break
        await asyncio.wait_for(gateway.inference.calls[0].cancelled.wait(), 20)
        call.cancel()
        assert await gateway.idle()


@pytest.mark.parametrize("answer", [True, False])
async def test_the_callers_deadline_ends_everything(answer: bool) -> None:
    async with wired(search=[[HANG]]) as gateway:
        begun = time.monotonic()
        request = gateway_pb2.AnswerRequest(ask=QUESTION)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await (gateway.stub.Answer(request, timeout=1) if answer else gateway.ask(timeout=1))
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - begun < 20
        await asyncio.wait_for(gateway.search.calls[0].cancelled.wait(), 20)


async def test_the_default_deadline_ends_a_generation_that_hangs() -> None:
    async with wired(inference=[[started(1), delta("a"), HANG]], ask_timeout_seconds=1) as gateway:
        status = await gateway.refused(timeout=None)
        assert status.code is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(gateway.inference.calls[0].cancelled.wait(), 20)


async def test_a_search_may_take_only_its_share_of_the_time() -> None:
    async with wired(search=[[HANG]], gateway_search_timeout_seconds=0.2) as gateway:
        status = await gateway.refused()
    assert status.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert status.metadata["service"] == "search"
    assert "did not answer in time" in status.message


async def test_a_host_that_accepts_and_says_nothing_does_not_hold_a_question_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        async with wired(search_target=target, gateway_search_timeout_seconds=0.5) as gateway:
            status = await gateway.refused()
    assert status.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert status.metadata == {"service": "search", "target": target}


async def test_cancelling_while_waiting_for_a_second_attempt_makes_none() -> None:
    # The pause is longer than the test: only the cancellation can end it.
    busy = RichStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, "Full.", reason="QUEUE_FULL", retry_after_seconds=60)
    async with wired(inference=[[busy], answer_script("Vienna [1].")]) as gateway:
        call = gateway.stub.Ask(QUESTION, timeout=90)
        await asyncio.wait_for(gateway.inference.arrived.wait(), 20)
        await asyncio.sleep(0.1)
        assert await gateway.running_asks() == 1
        call.cancel()
        assert await gateway.idle()
        assert len(gateway.inference.calls) == 1


async def test_cancelling_a_gathered_answer_cancels_the_generation() -> None:
    async with wired(inference=[[started(1), delta("a"), HANG]]) as gateway:
        call = gateway.stub.Answer(gateway_pb2.AnswerRequest(ask=QUESTION), timeout=30)
        await asyncio.wait_for(gateway.inference.arrived.wait(), 20)
        call.cancel()
        await asyncio.wait_for(gateway.inference.calls[0].cancelled.wait(), 20)
        assert await gateway.idle()
