"""Every way to end a call, against a service that talks for as long as it is listened to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import grpc
import psutil
import pytest

from benchmarks.soak.calls import Caller, request_id
from benchmarks.soak.plan import End, Ending, PlannedCall
from groundwire.inference.v1 import inference_pb2 as pb
from groundwire.inference.v1 import inference_pb2_grpc
from groundwire_rpc.status import RichStatus, abort


class Talkative(inference_pb2_grpc.InferenceServiceServicer):
    """`max_tokens` deltas, 10 ms apart; the text says how it ends."""

    def __init__(self) -> None:
        self.request_ids: list[Any] = []

    async def Generate(  # noqa: N802 - the RPC's name
        self, request: pb.GenerateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.GenerateResponse]:
        self.request_ids += [value for key, value in context.invocation_metadata() or () if key == "x-request-id"]
        if request.text == "refuse":
            await abort(context, RichStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, "Full.", "FULL", retry_after_seconds=2))
        yield pb.GenerateResponse(started=pb.Started(prompt_tokens=1))
        for number in range(request.max_tokens):
            await asyncio.sleep(0.01)
            yield pb.GenerateResponse(delta=pb.Delta(text=f"{number} ", token_ids=[number]))
        yield pb.GenerateResponse(finished=pb.Finished(reason=pb.FINISH_REASON_MAX_TOKENS))

    async def Complete(  # noqa: N802 - the RPC's name
        self, request: pb.CompleteRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.CompleteResponse:
        await asyncio.sleep(0.01 * request.generate.max_tokens)
        return pb.CompleteResponse(text="done", token_ids=[1], finished=pb.Finished(seed=3))


@pytest.fixture
def service() -> Talkative:
    return Talkative()


@pytest.fixture
async def caller(service: Talkative) -> AsyncIterator[Caller]:
    server = grpc.aio.server()
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with Caller(f"127.0.0.1:{port}", seed=7, patience_seconds=30) as caller:
        yield caller
    await server.stop(0)


def planned(end: End, *, text: str = "talk", max_tokens: int = 1000, gathered: bool = False) -> PlannedCall:
    return PlannedCall(4, 0.0, pb.GenerateRequest(text=text, max_tokens=max_tokens), end, gathered)


LEAVING = [
    End(Ending.CANCEL_EARLY, 0.0),
    End(Ending.CANCEL_TIMED, 0.1),
    End(Ending.CLOSE, 0.1),
    End(Ending.DEADLINE, 0.1),
]


@pytest.mark.parametrize("gathered", [False, True])
@pytest.mark.parametrize("end", LEAVING, ids=lambda end: str(end.ending))
async def test_a_caller_that_leaves_gets_one_status_soon(caller: Caller, end: End, gathered: bool) -> None:
    call = planned(end, gathered=gathered)

    outcome = await caller.make(call, call.request)

    expected = "DEADLINE_EXCEEDED" if end.ending is Ending.DEADLINE else "CANCELLED"
    assert outcome.code_name == expected
    assert outcome.seconds < 5
    assert outcome.received.finished is None


@pytest.mark.parametrize("end", [End(Ending.CANCEL_MESSAGES, messages=4), End(Ending.STALL, 0.2, 4)])
async def test_a_caller_that_leaves_behind_some_messages_has_those(caller: Caller, end: End) -> None:
    call = planned(end)

    outcome = await caller.make(call, call.request)

    assert outcome.code_name == "CANCELLED"
    assert outcome.received.events == ["started", "delta", "delta", "delta"]
    assert outcome.received.text == "0 1 2 "
    assert outcome.seconds >= end.seconds


@pytest.mark.parametrize(
    "end",
    [End(), End(Ending.SLOW, 0.02), End(Ending.CANCEL_TIMED, 20), End(Ending.CLOSE, 20), End(Ending.STALL, 1, 99)],
)
async def test_an_answer_that_ends_first_is_whole(caller: Caller, end: End) -> None:
    call = planned(end, max_tokens=3)

    outcome = await caller.make(call, call.request)

    assert outcome.code_name == "OK"
    assert outcome.received.events == ["started", "delta", "delta", "delta", "finished"]
    assert outcome.received.token_ids == [0, 1, 2]
    assert outcome.seconds < 10


async def test_a_gathered_answer_counts_as_its_events(caller: Caller) -> None:
    call = planned(End(), max_tokens=1, gathered=True)

    outcome = await caller.make(call, call.request)

    assert outcome.code_name == "OK"
    assert outcome.received.events == ["started", "delta", "finished"]
    assert (outcome.received.text, outcome.received.token_ids) == ("done", [1])


async def test_a_refusal_is_told_with_its_details(caller: Caller, service: Talkative) -> None:
    call = planned(End(), text="refuse")

    outcome = await caller.make(call, call.request)

    assert outcome.code_name == "RESOURCE_EXHAUSTED"
    assert outcome.status.message == "Full."
    assert outcome.status.details == {"ErrorInfo", "RetryInfo"}
    assert outcome.status.pushback_ms == 2000
    assert service.request_ids == [request_id(7, 4)]


async def test_closed_channels_leave_no_connection(caller: Caller) -> None:
    def connections() -> int:
        return len([c for c in psutil.Process(os.getpid()).net_connections("tcp") if c.status == "ESTABLISHED"])

    before = connections()
    calls = [planned(End(Ending.CLOSE, 0.01 * number), text=text) for number in range(4) for text in ("refuse", "talk")]

    await asyncio.gather(*(caller.make(call, call.request) for call in calls))

    async with asyncio.timeout(10):
        while connections() > before:
            await asyncio.sleep(0.05)


async def test_a_reader_that_is_cancelled_itself_ends(caller: Caller) -> None:
    call = planned(End())
    task = asyncio.create_task(caller.make(call, call.request))
    await asyncio.sleep(0.1)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
