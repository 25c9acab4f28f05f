"""Ask over real servers: a service that fails again and again is left alone for a while."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from structlog.testing import capture_logs

from groundwire.gateway.v1 import gateway_pb2
from groundwire_rpc.status import PUSHBACK_TRAILER, RichStatus, from_rpc_error
from tests.support.fake_services import HANG, answer_script, delta, started
from tests.support.wired_gateway import BUSY, DOWN, QUESTION, TWO_SOURCES, kinds, wired

CRASH = RichStatus(grpc.StatusCode.INTERNAL, "Nobody expected this.", reason="INTERNAL")
GIVEN = gateway_pb2.AskRequest(
    question="What is the capital of Austria?",
    sources=[gateway_pb2.GivenSource(title="Austria", text="Vienna is the capital of Austria.")],
)
VIENNA = answer_script("Vienna [1].")


async def test_an_open_circuit_refuses_at_once_with_all_details_and_before_anything_is_searched() -> None:
    async with wired(inference=[[CRASH]], gateway_circuit_failures=2, gateway_circuit_open_seconds=60) as gateway:
        for _ in range(2):
            assert (await gateway.refused()).reason == "INTERNAL"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.ask()
        seen = await gateway.backend("inference")
        searches, attempts = len(gateway.search.calls), len(gateway.inference.calls)
    refused = from_rpc_error(caught.value)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "INFERENCE_CIRCUIT_OPEN")
    assert refused.metadata == {"service": "inference"}
    assert refused.retry_after_seconds == pytest.approx(60, abs=30)
    assert 0 < int(str(dict(caught.value.trailing_metadata() or ())[PUSHBACK_TRAILER])) <= 60_000
    assert (searches, attempts) == (2, 2)
    # Its health is well: only questions show what is wrong.
    assert (seen.state, seen.circuit) == (gateway_pb2.BACKEND_STATE_SERVING, gateway_pb2.CIRCUIT_STATE_OPEN)
    assert seen.failures_in_row == 2
    assert 0 < seen.retry_after.ToSeconds() <= 60


async def test_second_attempts_count_too_and_are_not_made_where_the_first_one_opened_the_circuit() -> None:
    async with wired(inference=[[DOWN]], gateway_circuit_failures=3, gateway_circuit_open_seconds=60) as gateway:
        assert (await gateway.refused()).reason == "ENGINE_RESTARTING"
        assert (await gateway.refused()).reason == "ENGINE_RESTARTING"
        assert (await gateway.refused()).reason == "INFERENCE_CIRCUIT_OPEN"
        attempts = len(gateway.inference.calls)
    assert attempts == 3


async def test_a_failed_search_opens_its_own_circuit_only() -> None:
    async with wired(search=[[DOWN]], gateway_circuit_failures=1, gateway_circuit_open_seconds=60) as gateway:
        await gateway.refused()
        refused = await gateway.refused()
        events = await gateway.ask(GIVEN)
        search, inference = await gateway.backend("search"), await gateway.backend("inference")
        searches = len(gateway.search.calls)
    assert (refused.reason, refused.metadata) == ("SEARCH_CIRCUIT_OPEN", {"service": "search"})
    assert searches == 1
    assert kinds(events)[-1] == "finished"
    assert search.circuit == gateway_pb2.CIRCUIT_STATE_OPEN
    assert inference.circuit == gateway_pb2.CIRCUIT_STATE_CLOSED


@pytest.mark.parametrize(
    "failure",
    [
        BUSY,
        RichStatus(grpc.StatusCode.INVALID_ARGUMENT, "Too long.", reason="PROMPT_TOO_LONG"),
        RichStatus(grpc.StatusCode.DEADLINE_EXCEEDED, "Too short.", reason="DEADLINE_TOO_SHORT"),
        RichStatus(grpc.StatusCode.CANCELLED, "Cancelled."),
    ],
)
async def test_a_failure_that_is_no_outage_opens_nothing(failure: RichStatus) -> None:
    async with wired(inference=[[failure]], gateway_circuit_failures=1) as gateway:
        first, second = await gateway.refused(), await gateway.refused()
        seen = await gateway.backend("inference")
    assert first.reason == second.reason != "INFERENCE_CIRCUIT_OPEN"
    assert seen.circuit == gateway_pb2.CIRCUIT_STATE_CLOSED


async def test_a_callers_own_deadlines_and_cancellations_open_nothing() -> None:
    async with wired(inference=[[started(1), HANG]], gateway_circuit_failures=1) as gateway:
        await gateway.refused(timeout=0.3)
        call = gateway.stub.Ask(QUESTION, timeout=20)
        while len(gateway.inference.calls) < 2:
            await asyncio.sleep(0.01)
        call.cancel()
        assert await gateway.idle()
        seen = await gateway.backend("inference")
    assert (seen.circuit, seen.failures_in_row) == (gateway_pb2.CIRCUIT_STATE_CLOSED, 0)


async def test_one_question_at_a_time_tries_again_and_others_are_refused_meanwhile() -> None:
    go_on = asyncio.Event()
    scripts = [[CRASH], [go_on, *VIENNA], VIENNA]
    async with wired(inference=scripts, gateway_circuit_failures=1, gateway_circuit_open_seconds=1) as gateway:
        await gateway.refused(GIVEN)
        await asyncio.sleep(1)
        assert (await gateway.backend("inference")).circuit == gateway_pb2.CIRCUIT_STATE_HALF_OPEN
        probe = asyncio.create_task(gateway.ask(GIVEN, timeout=20))
        while len(gateway.inference.calls) < 2:
            await asyncio.sleep(0.01)
        refused = await gateway.refused(GIVEN)
        go_on.set()
        assert kinds(await probe)[-1] == "finished"
        seen = await gateway.backend("inference")
        events = await gateway.ask(GIVEN)
    assert refused.reason == "INFERENCE_CIRCUIT_OPEN"
    assert refused.retry_after_seconds is not None
    assert 0 < refused.retry_after_seconds <= 1
    assert (seen.circuit, seen.failures_in_row) == (gateway_pb2.CIRCUIT_STATE_CLOSED, 0)
    assert kinds(events)[-1] == "finished"


async def test_the_log_tells_when_a_circuit_opens_and_closes() -> None:
    with capture_logs() as logs:
        async with wired(
            inference=[[CRASH], VIENNA], gateway_circuit_failures=1, gateway_circuit_open_seconds=0.01
        ) as gateway:
            await gateway.refused(GIVEN)
            await asyncio.sleep(0.05)
            await gateway.ask(GIVEN)
    told = [(line["backend"], line["state"], line["log_level"]) for line in logs if line["event"] == "circuit"]
    assert told == [("inference", "open", "warning"), ("inference", "closed", "info")]


async def test_a_probe_closes_the_circuit_before_its_answer_is_whole() -> None:
    scripts = [[CRASH], [started(1), delta("Vien"), HANG], VIENNA]
    async with wired(
        [[TWO_SOURCES]], scripts, gateway_circuit_failures=1, gateway_circuit_open_seconds=0.01
    ) as gateway:
        await gateway.refused()
        await asyncio.sleep(0.05)
        probe = gateway.stub.Ask(QUESTION, timeout=20)
        async for event in probe:
            if event.HasField("delta"):
                break
        seen = await gateway.backend("inference")
        events = await gateway.ask()
        probe.cancel()
    assert seen.circuit == gateway_pb2.CIRCUIT_STATE_CLOSED
    assert kinds(events)[-1] == "finished"
