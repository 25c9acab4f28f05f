"""A caller that goes away stops the model at once."""

from __future__ import annotations

import asyncio
import time
from typing import TypeAlias

import grpc
import pytest

from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire.inference.v1 import inference_pb2, inference_pb2_grpc
from tests.support.questions import cited, long_answer
from tests.support.stack import SLOTS

Gateway: TypeAlias = "gateway_pb2_grpc.AnswerServiceAsyncStub"
Inference: TypeAlias = "inference_pb2_grpc.InferenceServiceAsyncStub"


async def slots_used(inference: Inference) -> int:
    return (await inference.GetStatus(inference_pb2.GetStatusRequest(), timeout=5)).slots_used


async def until_idle(inference: Inference, seconds: float) -> inference_pb2.GetStatusResponse:
    deadline = time.monotonic() + seconds
    while True:
        status = await inference.GetStatus(inference_pb2.GetStatusRequest(), timeout=5)
        if not status.slots_used and not status.queue_length and not status.kv_cells_reserved:
            return status
        assert time.monotonic() < deadline, status
        await asyncio.sleep(0.02)


async def first_delta(call: grpc.aio.UnaryStreamCall[gateway_pb2.AskRequest, gateway_pb2.AskResponse]) -> None:
    async for event in call:
        if event.HasField("delta"):
            return
    raise AssertionError("it ended without a delta")


async def test_a_cancel_frees_the_slot_at_once(gateway: Gateway, inference: Inference) -> None:
    call = gateway.Ask(long_answer(), timeout=60)
    await first_delta(call)
    assert await slots_used(inference) == 1
    call.cancel()
    await until_idle(inference, seconds=8)


async def test_a_freed_slot_is_used_again_at_once(gateway: Gateway, inference: Inference) -> None:
    calls = [gateway.Ask(long_answer(), timeout=60) for _ in range(SLOTS)]
    await asyncio.gather(*(first_delta(call) for call in calls))
    waiting = gateway.Ask(cited(), timeout=60)
    calls[0].cancel()
    started = time.monotonic()
    events = [event async for event in waiting]
    assert events[-1].HasField("finished")
    assert time.monotonic() - started < 20
    assert not calls[1].done()
    calls[1].cancel()
    await until_idle(inference, seconds=8)


async def test_a_passed_deadline_frees_the_slot(gateway: Gateway, inference: Inference) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        async for _ in gateway.Ask(long_answer(), timeout=0.6):
            pass
    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until_idle(inference, seconds=8)
