"""Services that die, and come back."""

from __future__ import annotations

import asyncio
import time
from typing import TypeAlias

import grpc

from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire.gateway.v1.gateway_pb2 import AskRequest
from tests.support.questions import ABOUT_RAIN, Streamed, cited, long_answer, stream
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


def assert_unavailable(streamed: Streamed, name: str) -> None:
    assert streamed.failed.code is grpc.StatusCode.UNAVAILABLE
    assert streamed.failed.metadata["service"] == name
    assert streamed.failed.reason


async def unreachable(gateway: Gateway) -> list[str]:
    seen = await gateway.GetStatus(gateway_pb2.GetStatusRequest(), timeout=10)
    assert len(seen.backends) == 2
    return [each.name for each in seen.backends if each.state == gateway_pb2.BACKEND_STATE_UNREACHABLE]


async def test_a_dead_search_service_is_told_and_its_return_is_noticed(stack: Stack, gateway: Gateway) -> None:
    stack.search.kill()
    try:
        streamed = await stream(gateway, AskRequest(question=ABOUT_RAIN), timeout_seconds=20)
        missing = await unreachable(gateway)
    finally:
        await asyncio.to_thread(stack.search.restart)
    assert_unavailable(streamed, "search")
    assert "sources" not in streamed.kinds
    assert missing == ["search"]
    assert await answered(gateway)


async def test_a_model_that_dies_ends_the_stream_and_its_return_is_noticed(stack: Stack, gateway: Gateway) -> None:
    try:
        cut = await stream(gateway, long_answer(), timeout_seconds=20, at_first_delta=stack.inference.kill)
        refused = await stream(gateway, AskRequest(question=ABOUT_RAIN), timeout_seconds=20)
        missing = await unreachable(gateway)
    finally:
        await asyncio.to_thread(stack.inference.restart)
    assert "delta" in cut.kinds
    assert_unavailable(cut, "inference")
    assert "sources" in refused.kinds
    assert "delta" not in refused.kinds
    assert_unavailable(refused, "inference")
    assert missing == ["inference"]
    assert await answered(gateway)
