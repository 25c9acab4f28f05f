"""More calls than can be served, callers who leave, one who asks too much and one who does not read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random

import grpc
import pytest

from benchmarks.faults.calls import SMALL_WINDOW, generate, own_channel, sized_request
from benchmarks.faults.cancels import cancel_streams, places
from benchmarks.faults.overload import overload
from benchmarks.soak.afterwards import settle
from groundwire.inference.v1 import inference_pb2 as pb
from groundwire_rpc.callers import CALLER_KEY
from tests.support.processes import ServiceProcess, running

SLOTS = 4
QUEUE = 12
CALLER_QUEUE = 9
PATIENCE = 60.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    settings = {
        "GROUNDWIRE_MODEL": "builtin",
        "GROUNDWIRE_INFERENCE_SLOTS": str(SLOTS),
        "GROUNDWIRE_INFERENCE_QUEUE": str(QUEUE),
        "GROUNDWIRE_INFERENCE_CONTEXT": "4096",
        "GROUNDWIRE_INFERENCE_THREADS": "1",
        "GROUNDWIRE_INFERENCE_PREFIX_CACHE_MIB": "0",
        "GROUNDWIRE_INFERENCE_STREAM_STALL_SECONDS": "0.5",
    }
    with running("inference", tmp_path_factory.mktemp("overload"), settings) as process:
        yield process


async def test_what_is_too_much_is_refused_with_reasons_and_health_answers(service: ServiceProcess) -> None:
    result = await overload(service.address, service.pid, calls_a_second=100, seconds=3)
    codes = {outcome.code for outcome in result.outcomes}
    assert codes == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert result.refused
    assert not result.badly_refused()
    assert all(outcome.honest for outcome in result.outcomes)
    reasons = {outcome.status.reason for outcome in result.refused if outcome.status}
    assert reasons <= {"QUEUE_FULL", "CALLER_QUEUE_FULL", "QUEUE_TOO_SLOW"}
    assert result.probes.seconds
    assert not result.probes.failures


async def test_cancelled_streams_leave_nothing_behind(service: ServiceProcess) -> None:
    async with own_channel(service.address) as stub:
        result = await cancel_streams(stub, count=200, at_once=10, longest_seconds=0.6)
    assert result.ends["CANCELLED"] > 50
    assert set(result.ends) <= {"CANCELLED", "OK", "RESOURCE_EXHAUSTED"}
    assert places(result.settled.status) == (0, 0, 0)
    assert result.next_code == "OK"
    assert result.next_seconds < 10


async def test_one_with_many_requests_does_not_starve_one_with_one(service: ServiceProcess) -> None:
    random = Random(5)
    async with own_channel(service.address) as stub:

        async def ask(caller: str) -> float:
            request = sized_request(random, prompt=8, answer=60)
            outcome = await generate(stub, request, timeout_seconds=PATIENCE, caller=caller)
            assert outcome.whole, outcome
            return outcome.ended

        many = [asyncio.create_task(ask("many")) for _ in range(SLOTS + CALLER_QUEUE)]
        async with asyncio.timeout(20):
            while (await stub.GetStatus(pb.GetStatusRequest(), timeout=5)).queue_length < CALLER_QUEUE:
                await asyncio.sleep(0.005)
        too_many = await generate(
            stub, sized_request(random, prompt=8, answer=60), timeout_seconds=PATIENCE, caller="many"
        )
        one = await ask("one")
        behind = sum(ended > one for ended in await asyncio.gather(*many))
        assert too_many.status is not None
        assert (too_many.status.reason, too_many.pushback) == ("CALLER_QUEUE_FULL", True)
        assert too_many.status.metadata == {"limit": "caller_queue", "value": str(CALLER_QUEUE)}
        # It waits for at most one round of those before it, and not for all of them.
        assert behind >= 2


async def test_what_would_come_too_late_is_refused_at_once(service: ServiceProcess) -> None:
    random = Random(6)
    async with own_channel(service.address) as stub:
        waiting = [
            asyncio.create_task(
                generate(
                    stub, sized_request(random, prompt=8, answer=80), timeout_seconds=PATIENCE, caller=f"c{number}"
                )
            )
            for number in range(SLOTS + QUEUE)
        ]
        await asyncio.wait(waiting[: SLOTS + 2])  # so that the pace is known
        metadata = ((CALLER_KEY, "late"),)
        late = stub.Generate(sized_request(random, prompt=8, answer=8), timeout=0.03, metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await anext(aiter(late))
        # On a busy machine the refusal itself may come too late.
        assert refused.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED)
        await asyncio.gather(*waiting)


async def test_a_reader_who_stops_is_cut_off_and_slows_nobody(service: ServiceProcess) -> None:
    random = Random(7)
    async with own_channel(service.address) as stub, own_channel(service.address, *SMALL_WINDOW) as stopping:
        # With log probabilities, so that more is written than flow control lets through.
        call = stopping.Generate(sized_request(random, prompt=8, answer=1200, logprobs=20), timeout=PATIENCE)
        events = aiter(call)
        await anext(events)
        others = await asyncio.gather(
            *(
                generate(stub, sized_request(random, prompt=8, answer=40), timeout_seconds=PATIENCE)
                for _ in range(SLOTS + 2)
            )
        )
        assert all(outcome.whole for outcome in others)
        status = (await settle(stub)).status
        assert places(status) == (0, 0, 0), "the reader who stopped holds a slot"
        seen = []
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await _collect(events, seen)
        assert ended.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "READER_TOO_SLOW" in str(dict(ended.value.trailing_metadata() or ())["grpc-status-details-bin"])
        assert not any(event.HasField("finished") for event in seen)


async def _collect(events: object, seen: list[pb.GenerateResponse]) -> None:
    async for event in events:
        seen.append(event)  # noqa: PERF401 - what came before the failure counts


def test_the_service_ends_at_once_as_no_call_is_left(service: ServiceProcess, tmp_path: Path) -> None:
    assert service.stop() == 0
    assert '"level": "error"' not in service.log()
