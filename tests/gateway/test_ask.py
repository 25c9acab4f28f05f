"""Ask and Answer over real servers: the gateway between a scripted search and a scripted inference service."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest

from gateway.config import GatewayConfig
from gateway.server import build_server
from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire.inference.v1 import inference_pb2
from groundwire.search.v1 import search_pb2
from groundwire_rpc.channels import open_channel
from groundwire_rpc.status import FieldViolation, QuotaViolation, RichStatus, from_rpc_error, invalid_fields
from tests.support.fake_services import (
    HANG,
    FakeInference,
    FakeSearch,
    answer_script,
    delta,
    finished,
    found,
    progress,
    serving,
    started,
)

QUESTION = gateway_pb2.AskRequest(question="What is the capital of Austria?")
TWO_SOURCES = found("Vienna is the capital of Austria.", "Austria lies in Europe.")
BUSY = RichStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, "The queue is full.", reason="QUEUE_FULL")
DOWN = RichStatus(grpc.StatusCode.UNAVAILABLE, "The engine is restarting.", reason="ENGINE_RESTARTING")


class Wired:
    """A gateway between the two fakes, and a client of it."""

    def __init__(self, channel: grpc.aio.Channel, search: FakeSearch, inference: FakeInference) -> None:
        self.channel = channel
        self.stub = gateway_pb2_grpc.AnswerServiceStub(channel)
        self.search = search
        self.inference = inference

    async def ask(self, request: gateway_pb2.AskRequest = QUESTION, **call: Any) -> list[gateway_pb2.AskResponse]:
        return [event async for event in self.stub.Ask(request, timeout=call.pop("timeout", 5), **call)]

    async def refused(self, request: gateway_pb2.AskRequest = QUESTION, **call: Any) -> RichStatus:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.ask(request, **call)
        return from_rpc_error(caught.value)

    async def idle(self) -> bool:
        """Whether no question is being answered, soon."""
        for _ in range(100):
            status = await self.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=5)
            if status.running_asks == 0:
                return True
            await asyncio.sleep(0.01)
        return False


@asynccontextmanager
async def wired(
    search: Sequence[Sequence[object]] = ([TWO_SOURCES],),
    inference: Sequence[Sequence[object]] = (answer_script("Vienna [1]."),),
    **settings: Any,
) -> AsyncIterator[Wired]:
    fake_search, fake_inference = FakeSearch(*search), FakeInference(*inference)
    async with AsyncExitStack() as resources:
        settings.setdefault("search_target", await resources.enter_async_context(serving(fake_search)))
        settings.setdefault("inference_target", await resources.enter_async_context(serving(fake_inference)))
        config = GatewayConfig(gateway_listen="127.0.0.1:0", **settings)
        server = build_server(config, resources)
        address = await server.start()
        await server.set_serving(True)
        resources.push_async_callback(server.stop, 0)
        channel = await resources.enter_async_context(open_channel(address))
        yield Wired(channel, fake_search, fake_inference)


def kinds(events: Sequence[gateway_pb2.AskResponse]) -> list[str]:
    return [str(event.WhichOneof("event")) for event in events]


def unused_target() -> str:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{reserved.getsockname()[1]}"


async def test_a_bare_question_is_searched_answered_and_cited() -> None:
    script = [started(1, 2, cut=[2]), progress(6, 12), progress(12, 12)]
    script += [delta("Vienna "), delta("is it [1"), delta("]."), delta(" Surely.[7]"), finished()]
    async with wired(inference=[script]) as gateway:
        events = await gateway.ask()

    assert kinds(events) == [
        *["progress", "sources", "context", "progress", "progress"],
        *["delta", "delta", "delta", "citation", "delta", "citation", "finished"],
    ]
    assert events[0].progress.stage == gateway_pb2.STAGE_SEARCHING
    sources = events[1].sources
    assert (sources.query, sources.provider) == (QUESTION.question, gateway_pb2.PROVIDER_BRAVE)
    assert [(s.index, s.title, s.url, s.host, s.text) for s in sources.sources] == [
        (1, "Page 1", "https://example.org/1", "example.org", "Vienna is the capital of Austria."),
        (2, "Page 2", "https://example.org/2", "example.org", "Austria lies in Europe."),
    ]
    context = events[2].context
    assert (list(context.used), list(context.cut), context.model) == ([1, 2], [2], "tiny")
    assert (events[3].progress.stage, events[3].progress.prompt_tokens_processed) == (gateway_pb2.STAGE_READING, 6)
    assert "".join(event.delta.text for event in events) == "Vienna is it [1]. Surely.[7]"
    first, second = events[8].citation, events[10].citation
    assert (first.source_index, first.resolved, first.marker_start, first.marker_end) == (1, True, 13, 16)
    assert (first.claim_start, first.claim_end) == (0, 12)
    assert (second.source_index, second.resolved, second.claim_start, second.claim_end) == (7, False, 18, 25)
    last = events[-1].finished
    assert (last.outcome, last.reason) == (gateway_pb2.OUTCOME_ANSWERED, gateway_pb2.FINISH_REASON_STOP)
    assert (last.model, last.seed, last.usage.completion_tokens) == ("tiny", 42, 7)
    assert (last.citations.resolved, last.citations.unresolved, last.citations.uncited_sentences) == (1, 1, 1)
    timings = last.timings
    assert timings.queue.ToMilliseconds() == 1
    assert 0 < timings.search.ToNanoseconds() <= timings.time_to_first_token.ToNanoseconds()
    assert timings.time_to_first_token.ToNanoseconds() <= timings.total.ToNanoseconds()


async def test_the_model_is_asked_with_history_and_documents_and_no_system_message() -> None:
    request = gateway_pb2.AskRequest(
        question="And of Hungary?",
        history=[
            gateway_pb2.Turn(role=gateway_pb2.ROLE_USER, content="What is the capital of Austria?"),
            gateway_pb2.Turn(role=gateway_pb2.ROLE_ASSISTANT, content="Vienna [1]."),
        ],
        max_sources=1,
        max_tokens=99,
        stop=["END"],
        temperature=0.5,
        seed=0,
        country="at",
        safe_search=gateway_pb2.SAFE_SEARCH_STRICT,
        verticals=[gateway_pb2.VERTICAL_NEWS],
        freshness=gateway_pb2.Freshness(range=gateway_pb2.DateRange(start="2024-02-29", end="2024-03-01")),
        response_format=gateway_pb2.ResponseFormat(gbnf='root ::= "a"'),
    )
    async with wired() as gateway:
        events = await gateway.ask(request)
        asked, searched = gateway.inference.calls[0].request, gateway.search.calls[0].request

    assert [(m.role, m.content) for m in asked.chat.messages] == [
        (inference_pb2.ROLE_USER, "What is the capital of Austria?"),
        (inference_pb2.ROLE_ASSISTANT, "Vienna [1]."),
        (inference_pb2.ROLE_USER, "And of Hungary?"),
    ]
    shown = events[1].sources.sources
    assert [(d.title, d.host, d.text) for d in asked.chat.documents] == [(s.title, s.host, s.text) for s in shown]
    assert len(shown) == 1
    assert (asked.max_tokens, list(asked.stop), asked.response_format.gbnf) == (99, ["END"], 'root ::= "a"')
    assert asked.sampling == inference_pb2.Sampling(temperature=0.5, seed=0)
    assert searched.query == events[1].sources.query == "capital Austria And of Hungary?"
    assert (searched.page_size, searched.country) == (10, "at")
    assert searched.safe_search == search_pb2.SAFE_SEARCH_STRICT
    assert list(searched.verticals) == [search_pb2.VERTICAL_NEWS]
    assert (searched.freshness.range.start, searched.freshness.range.end) == ("2024-02-29", "2024-03-01")


async def test_given_sources_are_all_offered_and_nothing_is_searched() -> None:
    given = [gateway_pb2.GivenSource(title=f"T{n}", url="https://www.example.com/a", text=f"Text [{n}].") for n in "12"]
    request = gateway_pb2.AskRequest(question="Why?", sources=given)
    async with wired(inference=[answer_script("Because [2].", used=(1, 2))]) as gateway:
        events = await gateway.ask(request)
        searches = gateway.search.calls

    assert searches == []
    assert kinds(events)[:2] == ["sources", "context"]
    sources = events[0].sources
    assert [source.text for source in sources.sources] == ["Text (1).", "Text (2)."]
    assert sources.sources[0].host == "example.com"
    assert (sources.query, sources.provider) == ("", gateway_pb2.PROVIDER_UNSPECIFIED)
    assert not events[-1].finished.timings.HasField("search")
    assert events[-1].finished.outcome == gateway_pb2.OUTCOME_ANSWERED


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("The sources do not answer this question.", gateway_pb2.OUTCOME_NOT_IN_SOURCES),
        (' "the sources do not answer this question" \n', gateway_pb2.OUTCOME_NOT_IN_SOURCES),
        ("The sources do not answer this question. Vienna.", gateway_pb2.OUTCOME_UNCITED),
        ("Vienna.", gateway_pb2.OUTCOME_UNCITED),
        ("Vienna [9].", gateway_pb2.OUTCOME_UNCITED),
        ("Vienna [1].", gateway_pb2.OUTCOME_ANSWERED),
        ("", gateway_pb2.OUTCOME_UNCITED),
    ],
)
async def test_the_outcome_tells_what_kind_of_answer_it_is(answer: str, outcome: int) -> None:
    async with wired(inference=[answer_script(answer)]) as gateway:
        events = await gateway.ask()
    assert events[-1].finished.outcome == outcome


async def test_where_nothing_is_found_the_model_is_not_asked() -> None:
    async with wired(search=[[found(altered_query="capital")]]) as gateway:
        events = await gateway.ask()
        calls = gateway.inference.calls

    assert calls == []
    assert kinds(events) == ["progress", "sources", "finished"]
    assert not events[1].sources.sources
    assert events[1].sources.altered_query == "capital"
    last = events[-1].finished
    assert last.outcome == gateway_pb2.OUTCOME_NO_RESULTS
    assert last.reason == gateway_pb2.FINISH_REASON_UNSPECIFIED
    assert (last.model, last.provider) == ("", gateway_pb2.PROVIDER_BRAVE)
    assert last.timings.HasField("search")
    assert not last.timings.HasField("time_to_first_token")


async def test_answer_is_ask_gathered() -> None:
    async with wired(inference=[answer_script("Vien", "na [1", "].")]) as gateway:
        answer = await gateway.stub.Answer(gateway_pb2.AnswerRequest(ask=QUESTION), timeout=5)

    assert answer.text == "Vienna [1]."
    assert [citation.source_index for citation in answer.citations] == [1]
    assert len(answer.sources.sources) == 2
    assert list(answer.context.used) == [1]
    assert answer.finished.outcome == gateway_pb2.OUTCOME_ANSWERED


async def test_a_delta_is_forwarded_before_the_next_one_exists() -> None:
    go_on = asyncio.Event()
    async with wired(inference=[[started(1), delta("Now ["), go_on, delta("1]"), finished()]]) as gateway:
        texts = []
        async for event in gateway.stub.Ask(QUESTION, timeout=5):
            if event.WhichOneof("event") == "delta":
                texts.append(event.delta.text)
                go_on.set()
    assert texts == ["Now [", "1]"]


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
        await asyncio.wait_for(gateway.search.arrived.wait(), 2)
        call.cancel()
        await asyncio.wait_for(gateway.search.calls[0].cancelled.wait(), 1)
        assert await gateway.idle()


@pytest.mark.parametrize("script", [[HANG], [started(1), HANG], [started(1), delta("a"), HANG]])
async def test_cancelling_while_answering_cancels_the_generation(script: list[object]) -> None:
    async with wired(inference=[script]) as gateway:
        call = gateway.stub.Ask(QUESTION, timeout=30)
        await asyncio.wait_for(gateway.inference.arrived.wait(), 2)
        await asyncio.sleep(0.02)
        call.cancel()
        await asyncio.wait_for(gateway.inference.calls[0].cancelled.wait(), 1)
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
        await asyncio.wait_for(gateway.inference.calls[0].cancelled.wait(), 2)
        assert await gateway.idle()


async def test_a_reader_that_stopped_reading_holds_the_model_no_longer_than_the_deadline() -> None:
    flood = [started(1), *(delta("x" * 10_000) for _ in range(500)), HANG]
    async with wired(inference=[flood], ask_timeout_seconds=0.5) as gateway:
        call = gateway.stub.Ask(QUESTION)
        async for event in call:
            if event.WhichOneof("event") == "delta":
                break
        await asyncio.wait_for(gateway.inference.calls[0].cancelled.wait(), 2)
        call.cancel()
        assert await gateway.idle()


@pytest.mark.parametrize("answer", [True, False])
async def test_the_callers_deadline_ends_everything(answer: bool) -> None:
    async with wired(search=[[HANG]]) as gateway:
        begun = time.monotonic()
        request = gateway_pb2.AnswerRequest(ask=QUESTION)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await (gateway.stub.Answer(request, timeout=0.3) if answer else gateway.ask(timeout=0.3))
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - begun < 2
        await asyncio.wait_for(gateway.search.calls[0].cancelled.wait(), 1)


async def test_the_default_deadline_ends_a_generation_that_hangs() -> None:
    async with wired(inference=[[started(1), delta("a"), HANG]], ask_timeout_seconds=0.3) as gateway:
        status = await gateway.refused(timeout=None)
        assert status.code is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(gateway.inference.calls[0].cancelled.wait(), 1)


async def test_a_search_may_take_only_its_share_of_the_time() -> None:
    async with wired(search=[[HANG]], gateway_search_timeout_seconds=0.2) as gateway:
        status = await gateway.refused()
    assert status.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert status.metadata["service"] == "search"
    assert "did not answer in time" in status.message


async def test_a_search_that_fails_gives_its_status_and_names_the_service() -> None:
    refusal = RichStatus(
        grpc.StatusCode.FAILED_PRECONDITION,
        "Set BRAVE_API_KEY.",
        reason="PROVIDER_NOT_SET_UP",
        metadata={"setting": "BRAVE_API_KEY"},
    )
    async with wired(search=[[refusal]]) as gateway:
        status = await gateway.refused()
        generations = gateway.inference.calls
    assert generations == []
    assert (status.code, status.message) == (grpc.StatusCode.FAILED_PRECONDITION, "Set BRAVE_API_KEY.")
    assert status.reason == "PROVIDER_NOT_SET_UP"
    assert status.metadata == {"setting": "BRAVE_API_KEY", "service": "search"}


async def test_quota_and_retry_delay_of_a_search_come_through_and_it_is_not_tried_again() -> None:
    refusal = RichStatus(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "The month's quota is spent.",
        reason="QUOTA_EXHAUSTED",
        quota_violations=[QuotaViolation("brave:month", "15,000 calls")],
        retry_after_seconds=0.05,
    )
    async with wired(search=[[refusal]]) as gateway:
        status = await gateway.refused()
        searches = len(gateway.search.calls)
    assert searches == 1
    assert status.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert list(status.quota_violations) == [QuotaViolation("brave:month", "15,000 calls")]
    assert status.retry_after_seconds == pytest.approx(0.05)


async def test_fields_that_the_search_refuses_are_named_as_the_caller_knows_them() -> None:
    refusal = invalid_fields([FieldViolation("query", "is too long"), FieldViolation("country", "XX is unknown")])
    async with wired(search=[[refusal]]) as gateway:
        status = await gateway.refused()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.stub.Answer(gateway_pb2.AnswerRequest(ask=QUESTION), timeout=5)
    assert status.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in status.field_violations] == ["question", "country"]
    assert "question: is too long" in status.message
    assert "query" not in status.message
    nested = from_rpc_error(caught.value).field_violations
    assert [violation.field for violation in nested] == ["ask.question", "ask.country"]


async def test_fields_that_the_inference_refuses_are_named_as_the_caller_knows_them() -> None:
    refusal = invalid_fields(
        [
            FieldViolation("chat", "takes 9,000 tokens"),
            FieldViolation("response_format.json_schema", "is no schema"),
            FieldViolation("chat.documents[0].text", "is empty"),
            FieldViolation("chat.messages[0].content", "is empty"),
            FieldViolation("sampling.top_p", "is 0"),
        ]
    )
    async with wired(inference=[[refusal]]) as gateway:
        status = await gateway.refused()
        attempts = len(gateway.inference.calls)
    assert attempts == 1
    assert status.metadata["service"] == "inference"
    fields = [violation.field for violation in status.field_violations]
    assert fields == ["question", "response_format.json_schema", "max_sources", "question", "top_p"]


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
    assert time.monotonic() - begun < 2
    assert attempts == 1
    assert status.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert status.retry_after_seconds == pytest.approx(30)


@pytest.mark.parametrize("failure", [BUSY, DOWN])
async def test_after_the_first_delta_the_stream_ends_with_the_status(failure: RichStatus) -> None:
    async with wired(inference=[[started(1), delta("Vien"), failure], answer_script("never")]) as gateway:
        received: list[gateway_pb2.AskResponse] = []

        async def read() -> None:
            async for event in gateway.stub.Ask(QUESTION, timeout=5):
                received.append(event)  # noqa: PERF401 - what came before the error is kept

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read()
        attempts = len(gateway.inference.calls)
    status = from_rpc_error(caught.value)
    assert attempts == 1
    assert kinds(received) == ["progress", "sources", "context", "delta"]
    assert (status.code, status.reason) == (failure.code, failure.reason)
    assert status.metadata["service"] == "inference"


async def test_a_stream_that_ends_without_its_last_event_is_an_error() -> None:
    async with wired(inference=[[started(1), delta("Vien")]]) as gateway:
        status = await gateway.refused()
    assert (status.code, status.reason) == (grpc.StatusCode.UNAVAILABLE, "BACKEND_BROKE_OFF")
    assert status.metadata["service"] == "inference"


@pytest.mark.parametrize("script", [[delta("early"), finished()], [finished()]])
async def test_an_answer_against_the_contract_is_an_internal_error(script: list[object]) -> None:
    async with wired(inference=[script]) as gateway:
        status = await gateway.refused()
    assert (status.code, status.reason) == (grpc.StatusCode.INTERNAL, "BACKEND_MISBEHAVED")


async def test_any_other_status_of_a_service_comes_through() -> None:
    refusal = RichStatus(grpc.StatusCode.PERMISSION_DENIED, "Not for you.", reason="FORBIDDEN")
    async with wired(search=[[refusal]]) as gateway:
        status = await gateway.refused()
    assert (status.code, status.reason) == (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")


@pytest.mark.parametrize("service", ["search", "inference"])
async def test_a_service_that_is_not_there_is_named_quickly_with_what_to_do(service: str) -> None:
    target = unused_target()
    async with wired(**{f"{service}_target": target}) as gateway:
        begun = time.monotonic()
        status = await gateway.refused(timeout=60)
    assert time.monotonic() - begun < 3
    assert (status.code, status.reason) == (grpc.StatusCode.UNAVAILABLE, "BACKEND_UNREACHABLE")
    assert status.metadata == {"service": service, "target": target}
    assert target in status.message
    assert f"groundwire serve {service}" in status.message


async def test_a_service_that_comes_up_late_is_used_soon() -> None:
    target = unused_target()
    async with wired(inference_target=target) as gateway:
        assert (await gateway.refused()).code is grpc.StatusCode.UNAVAILABLE
        async with serving(FakeInference(answer_script("Vienna [1].")), listen=target), asyncio.timeout(4):
            # Channels try to connect again within 2 s; questions in between are refused at once.
            while True:
                try:
                    events = await gateway.ask()
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)
    assert events[-1].finished.outcome == gateway_pb2.OUTCOME_ANSWERED


async def test_a_wrong_server_at_the_target_is_explained() -> None:
    async with serving(FakeSearch([TWO_SOURCES])) as elsewhere, wired(inference_target=elsewhere) as gateway:
        status = await gateway.refused()
        state = await gateway.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=5)
    assert (status.code, status.reason) == (grpc.StatusCode.UNIMPLEMENTED, "BACKEND_MISTAKEN")
    assert f"At {elsewhere} there is no inference service." in status.message
    assert state.backends[1].state == gateway_pb2.BACKEND_STATE_NOT_SERVING
    assert "is not the inference service" in state.backends[1].detail


async def test_offending_fields_are_refused_before_anything_is_asked() -> None:
    request = gateway_pb2.AskRequest(question=" ", max_sources=11, temperature=3)
    async with wired() as gateway:
        status = await gateway.refused(request)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.stub.Answer(gateway_pb2.AnswerRequest(ask=request), timeout=5)
        searches = gateway.search.calls
    assert searches == []
    assert status.code is grpc.StatusCode.INVALID_ARGUMENT
    assert {violation.field for violation in status.field_violations} == {"question", "max_sources", "temperature"}
    assert "service" not in status.metadata
    nested = from_rpc_error(caught.value).field_violations
    assert {violation.field for violation in nested} == {"ask.question", "ask.max_sources", "ask.temperature"}


async def test_many_questions_at_once_keep_their_answers_apart() -> None:
    async with wired(inference=[answer_script(*["a [1]. "] * 50)]) as gateway:
        answers = await asyncio.gather(*(gateway.ask() for _ in range(20)))
        assert await gateway.idle()
    for events in answers:
        assert kinds(events).count("citation") == 50
        assert "".join(event.delta.text for event in events) == "a [1]. " * 50


async def test_a_host_that_accepts_and_says_nothing_does_not_hold_a_question_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        async with wired(search_target=target, gateway_search_timeout_seconds=0.5) as gateway:
            status = await gateway.refused()
    assert status.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert status.metadata == {"service": "search", "target": target}
