"""Answers over gRPC through all three processes."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

import grpc
import pytest

from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire.gateway.v1.gateway_pb2 import AskRequest, AskResponse
from groundwire_rpc.status import from_rpc_error
from tests.support.questions import ABOUT_NOTHING, ABOUT_RAIN, CITED_ANSWER, cited
from tests.support.stack import Stack

Gateway: TypeAlias = "gateway_pb2_grpc.AnswerServiceAsyncStub"
SECONDS = 60


async def gather(gateway: Gateway, request: AskRequest) -> list[AskResponse]:
    return [event async for event in gateway.Ask(request, timeout=SECONDS)]


def kinds(events: list[AskResponse]) -> list[str | None]:
    return [event.WhichOneof("event") for event in events]


def text_of(events: list[AskResponse]) -> str:
    return "".join(event.delta.text for event in events)


async def test_the_order_of_events(gateway: Gateway) -> None:
    events = await gather(gateway, AskRequest(question=ABOUT_RAIN, max_tokens=40))
    order = kinds(events)
    assert order.count("sources") == order.count("context") == order.count("finished") == 1
    assert order[-1] == "finished"
    assert order[0] == "progress"
    assert events[0].progress.stage == gateway_pb2.STAGE_SEARCHING
    assert order.index("sources") < order.index("context") < order.index("delta")
    assert "progress" not in order[order.index("delta") :]
    assert all(event.delta.text for event in events if event.HasField("delta"))


async def test_sources_come_from_the_index(gateway: Gateway) -> None:
    events = await gather(gateway, AskRequest(question=ABOUT_RAIN, max_sources=2, max_tokens=5))
    [found] = [event.sources for event in events if event.HasField("sources")]
    assert found.provider == gateway_pb2.PROVIDER_LOCAL
    assert [source.index for source in found.sources] == list(range(1, len(found.sources) + 1))
    assert 1 <= len(found.sources) <= 2
    best = found.sources[0]
    assert (best.host, best.location.path) == ("local", "rain.md")
    assert "rain gauge" in best.text
    assert not best.HasField("url")


async def test_what_finished_tells(gateway: Gateway) -> None:
    events = await gather(gateway, AskRequest(question=ABOUT_RAIN, max_tokens=8, seed=7))
    [context] = [event.context for event in events if event.HasField("context")]
    finished = events[-1].finished
    assert finished.model == context.model != ""
    assert finished.usage.prompt_tokens == context.prompt_tokens > 0
    assert 1 <= finished.usage.completion_tokens <= 8
    assert finished.seed == 7
    assert finished.timings.total.ToNanoseconds() >= finished.timings.time_to_first_token.ToNanoseconds() > 0
    assert finished.timings.HasField("search")


async def test_citations_and_their_offsets_in_bytes(gateway: Gateway) -> None:
    events = await gather(gateway, cited())
    answer = text_of(events)
    assert answer == CITED_ANSWER
    written = answer.encode()
    citations = [event.citation for event in events if event.HasField("citation")]
    assert [(each.source_index, each.resolved) for each in citations] == [(1, True), (1, True), (7, False)]
    markers = [written[each.marker_start : each.marker_end].decode() for each in citations]
    assert markers == ["[1]", "[1, 7]", "[1, 7]"]
    claims = [written[each.claim_start : each.claim_end].decode() for each in citations]
    assert claims[0].startswith("Größe – 비")
    assert claims[1] == claims[2]
    assert claims[1].startswith("No more")
    finished = events[-1].finished
    assert finished.outcome == gateway_pb2.OUTCOME_ANSWERED
    assert (finished.citations.resolved, finished.citations.unresolved) == (2, 1)


async def test_a_citation_follows_the_delta_that_completes_its_marker(gateway: Gateway) -> None:
    received = b""
    for event in await gather(gateway, cited()):
        received += event.delta.text.encode()
        if event.HasField("citation"):
            assert event.citation.marker_end <= len(received)


async def test_deltas_are_not_held_back(gateway: Gateway) -> None:
    events = await gather(gateway, cited())
    assert kinds(events).count("delta") > 5


async def test_nothing_found(gateway: Gateway) -> None:
    events = await gather(gateway, AskRequest(question=ABOUT_NOTHING))
    assert [kind for kind in kinds(events) if kind != "progress"] == ["sources", "finished"]
    finished = events[-1].finished
    assert finished.outcome == gateway_pb2.OUTCOME_NO_RESULTS
    assert finished.model == ""
    assert finished.usage.completion_tokens == 0


async def test_a_question_in_another_script(gateway: Gateway) -> None:
    events = await gather(gateway, AskRequest(question="우량계는 무엇을 재는가?", max_tokens=5))
    [found] = [event.sources for event in events if event.HasField("sources")]
    assert "korean.md" in {source.location.path for source in found.sources}


async def test_sources_that_the_caller_brings(gateway: Gateway) -> None:
    given = gateway_pb2.GivenSource(title="Mine", url="https://example.org/mine", text="Zork is a game.")
    request = cited()
    request.sources.append(given)
    events = await gather(gateway, request)
    [found] = [event.sources for event in events if event.HasField("sources")]
    assert [(source.title, source.host) for source in found.sources] == [("Mine", "example.org")]
    assert not found.query
    assert not events[-1].finished.timings.HasField("search")


async def test_gathered_is_the_same_as_streamed(gateway: Gateway) -> None:
    events = await gather(gateway, cited())
    answer = await gateway.Answer(gateway_pb2.AnswerRequest(ask=cited()), timeout=SECONDS)
    assert answer.text == text_of(events)
    assert list(answer.citations) == [event.citation for event in events if event.HasField("citation")]
    assert answer.finished.outcome == events[-1].finished.outcome


async def test_every_bad_field_is_named_at_once(gateway: Gateway) -> None:
    request = AskRequest(question=" ", max_tokens=0, temperature=9, max_sources=11, stop=[""])
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await gather(gateway, request)
    status = from_rpc_error(refusal.value)
    assert status.code is grpc.StatusCode.INVALID_ARGUMENT
    fields = {violation.field for violation in status.field_violations}
    assert {"question", "max_tokens", "temperature", "max_sources", "stop[0]"} <= fields


async def test_a_provider_that_is_not_set_up(gateway: Gateway) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await gather(gateway, AskRequest(question=ABOUT_RAIN, provider=gateway_pb2.PROVIDER_BRAVE))
    status = from_rpc_error(refusal.value)
    assert status.code is grpc.StatusCode.FAILED_PRECONDITION
    assert status.metadata["service"] == "search"
    assert "BRAVE_API_KEY" in status.message


async def test_the_request_id_reaches_every_log(stack: Stack, gateway: Gateway) -> None:
    request_id = "e2e-request-42"
    call = gateway.Ask(
        AskRequest(question=ABOUT_RAIN, max_tokens=2), timeout=SECONDS, metadata=(("x-request-id", request_id),)
    )
    events = [event async for event in call]
    assert events[-1].HasField("finished")
    assert dict(await call.initial_metadata())["x-request-id"] == request_id
    # A service writes a call's line when the call has ended for it, which may be after the caller has its answer.
    async with asyncio.timeout(10):
        for service in (stack.gateway, stack.search, stack.inference):
            while request_id not in service.log():
                await asyncio.sleep(0.02)
