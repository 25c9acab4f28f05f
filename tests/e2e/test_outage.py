"""The inference service is killed under its callers, and comes back."""

from __future__ import annotations

import asyncio
import time

import grpc

from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire.gateway.v1.gateway_pb2 import AskRequest, BackendStatus
from groundwire_rpc.status import RichStatus
from tests.support.command_line import groundwire
from tests.support.questions import ABOUT_RAIN, Streamed, cited, long_answer, stream
from tests.support.stack import SLOTS, Stack

CALLERS = SLOTS + 4
"""As many as run, and some that wait."""


async def inference_seen(gateway: gateway_pb2_grpc.AnswerServiceAsyncStub) -> BackendStatus:
    status = await gateway.GetStatus(gateway_pb2.GetStatusRequest(), timeout=10)
    (backend,) = (each for each in status.backends if each.name == "inference")
    return backend


async def refused(gateway: gateway_pb2_grpc.AnswerServiceAsyncStub) -> Streamed:
    """The first question that is refused by the circuit, once it is open."""
    while True:
        streamed = await stream(gateway, AskRequest(question=ABOUT_RAIN), timeout_seconds=20)
        if streamed.failed.reason == "INFERENCE_CIRCUIT_OPEN":
            return streamed


async def failure_after(
    gateway: gateway_pb2_grpc.AnswerServiceAsyncStub, writing: asyncio.Semaphore
) -> tuple[RichStatus, float]:
    """How a question fails whose model dies, and when."""
    streamed = await stream(gateway, long_answer(), at_first_delta=writing.release)
    return streamed.failed, time.monotonic()


async def test_callers_are_told_at_once_the_circuit_opens_and_a_probe_closes_it(
    stack: Stack, gateway: gateway_pb2_grpc.AnswerServiceAsyncStub
) -> None:
    writing = asyncio.Semaphore(0)
    callers = [asyncio.create_task(failure_after(gateway, writing)) for _ in range(CALLERS)]
    try:
        for _ in range(SLOTS):
            await writing.acquire()
        killed = time.monotonic()
        await asyncio.to_thread(stack.inference.kill)
        failures = await asyncio.gather(*callers)

        assert max(at for _, at in failures) - killed < 1
        for status, _ in failures:
            assert status.code is grpc.StatusCode.UNAVAILABLE
            assert status.metadata["service"] == "inference"
            assert status.reason in {"BACKEND_LOST", "BACKEND_UNREACHABLE"}

        begun = time.monotonic()
        streamed = await refused(gateway)
        seen = await inference_seen(gateway)
        told = await groundwire("status", folder=stack.folder, **stack.settings())
        assert time.monotonic() - begun < 30
    finally:
        await asyncio.to_thread(stack.inference.restart)
    assert streamed.kinds == []
    assert streamed.failed.code is grpc.StatusCode.UNAVAILABLE
    assert streamed.failed.metadata == {"service": "inference"}
    assert streamed.failed.retry_after_seconds is not None
    assert 0 < streamed.failed.retry_after_seconds <= 5
    assert seen.circuit == gateway_pb2.CIRCUIT_STATE_OPEN
    assert seen.failures_in_row >= 5
    assert told.code == 1
    assert "inference" in told.stdout
    assert "calls in a row to it failed." in told.stdout

    # Nobody does anything but ask as usual.
    async with asyncio.timeout(60):
        while (streamed := await stream(gateway, cited())).failure is not None:
            assert streamed.failed.code is grpc.StatusCode.UNAVAILABLE
            await asyncio.sleep(0.2)
    assert streamed.kinds[-1] == "finished"
    seen = await inference_seen(gateway)
    assert (seen.circuit, seen.failures_in_row) == (gateway_pb2.CIRCUIT_STATE_CLOSED, 0)
