"""Ask over real servers: the second attempt at the inference service."""

from __future__ import annotations

import time

import grpc
import pytest

from gateway.core.retries import RETRIES
from groundwire.gateway.v1 import gateway_pb2
from groundwire_rpc.status import RichStatus
from tests.support.fake_services import answer_script, progress, started
from tests.support.wired_gateway import BUSY, DOWN, kinds, wired


@pytest.mark.parametrize("failure", [BUSY, DOWN])
async def test_a_refusal_before_any_delta_is_tried_once_more(failure: RichStatus) -> None:
    async with wired(inference=[[failure], answer_script("Vienna [1].")]) as gateway:
        events = await gateway.ask()
        attempts = len(gateway.inference.calls)
    assert attempts == 2
    assert events[-1].finished.outcome == gateway_pb2.OUTCOME_ANSWERED


async def test_a_stream_that_breaks_off_before_any_delta_is_tried_once_more_and_tells_one_context() -> None:
    async with wired(inference=[[started(1), progress(3, 12)], answer_script("Vienna [1].")]) as gateway:
        events = await gateway.ask()
    assert kinds(events).count("context") == 1
    assert events[-1].finished.outcome == gateway_pb2.OUTCOME_ANSWERED


async def test_a_second_attempt_that_would_belie_the_context_is_not_told() -> None:
    async with wired(inference=[[started(1, 2), DOWN], answer_script("Vienna [1].", used=(1,))]) as gateway:
        status = await gateway.refused()
    assert (status.code, status.reason) == (grpc.StatusCode.UNAVAILABLE, "ENGINE_RESTARTING")


async def test_the_second_refusal_is_the_answer() -> None:
    async with wired(inference=[[DOWN], [BUSY], answer_script("Vienna [1].")]) as gateway:
        status = await gateway.refused()
        attempts = len(gateway.inference.calls)
    assert attempts == 2
    assert (status.code, status.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    assert status.metadata["service"] == "inference"


async def test_a_refusal_that_names_no_time_is_the_answer() -> None:
    full = RichStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, "Full.", reason="QUEUE_FULL")
    async with wired(inference=[[full], answer_script("Vienna [1].")]) as gateway:
        status = await gateway.refused()
        attempts = len(gateway.inference.calls)
    assert attempts == 1
    assert status.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_when_everybody_is_refused_second_attempts_come_to_an_end() -> None:
    busy = RichStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, "Full.", reason="QUEUE_FULL", retry_after_seconds=0)
    async with wired(inference=[[busy]]) as gateway:
        for _ in range(RETRIES + 5):
            await gateway.refused()
        attempts = len(gateway.inference.calls)
    assert attempts == (RETRIES + 5) + RETRIES


async def test_the_pushback_is_waited_for() -> None:
    busy = RichStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, "Full.", reason="QUEUE_FULL", retry_after_seconds=0.6)
    async with wired(inference=[[busy], answer_script("Vienna [1].")]) as gateway:
        begun = time.monotonic()
        events = await gateway.ask()
    assert time.monotonic() - begun >= 0.6
    assert events[-1].finished.outcome == gateway_pb2.OUTCOME_ANSWERED


async def test_a_pushback_beyond_the_deadline_gives_up_at_once() -> None:
    busy = RichStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, "Full.", reason="QUEUE_FULL", retry_after_seconds=30)
    async with wired(inference=[[busy]]) as gateway:
        begun = time.monotonic()
        status = await gateway.refused(timeout=10)
        attempts = len(gateway.inference.calls)
    assert time.monotonic() - begun < 9
    assert attempts == 1
    assert status.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert status.retry_after_seconds == pytest.approx(30)
