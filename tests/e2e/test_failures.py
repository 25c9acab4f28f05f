"""Services that die, and come back."""

from __future__ import annotations

import asyncio
import time
from typing import TypeAlias

import grpc
import pytest

from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire.gateway.v1.gateway_pb2 import AskRequest
from tests.support.questions import ABOUT_RAIN, cited, long_answer, stream
from tests.support.stack import Stack

Gateway: TypeAlias = "gateway_pb2_grpc.AnswerServiceAsyncStub"


async def answered(gateway: Gateway) -> bool:
    """Whether a question is answered within the time that channels take to connect again."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        streamed = await stream(gateway, cited())
        if streamed.failure is None:
            return streamed.kinds[-1] == "finished"
        assert streamed.failure.code is grpc.StatusCode.UNAVAILABLE
        await asyncio.sleep(0.2)
    return False


@pytest.mark.parametrize("name", ["search", "inference"])
async def test_a_dead_back_end_is_told_and_its_return_is_noticed(stack: Stack, gateway: Gateway, name: str) -> None:
    service = {"search": stack.search, "inference": stack.inference}[name]
    service.kill()
    try:
        status = (await stream(gateway, AskRequest(question=ABOUT_RAIN, bypass_cache=True))).failed
        seen = await gateway.GetStatus(gateway_pb2.GetStatusRequest(), timeout=10)
    finally:
        await asyncio.to_thread(service.restart)
    assert status.code is grpc.StatusCode.UNAVAILABLE
    assert status.metadata["service"] == name
    assert status.reason
    states = {backend.name: backend.state for backend in seen.backends}
    assert states.pop(name) == gateway_pb2.BACKEND_STATE_UNREACHABLE
    assert set(states.values()) == {gateway_pb2.BACKEND_STATE_SERVING}
    assert await answered(gateway)


async def test_a_back_end_that_dies_in_the_middle_ends_the_stream(stack: Stack, gateway: Gateway) -> None:
    try:
        streamed = await stream(gateway, long_answer(), timeout_seconds=20, at_first_delta=stack.inference.kill)
    finally:
        await asyncio.to_thread(stack.inference.restart)
    assert "delta" in streamed.kinds
    status = streamed.failed
    assert status.code is grpc.StatusCode.UNAVAILABLE
    assert status.metadata["service"] == "inference"
    assert await answered(gateway)
