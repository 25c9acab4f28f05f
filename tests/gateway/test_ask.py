"""Ask and Answer over real servers: what comes out of them where all goes well."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from groundwire.gateway.v1 import gateway_pb2
from groundwire.inference.v1 import inference_pb2
from groundwire.search.v1 import search_pb2
from groundwire_rpc.status import from_rpc_error
from tests.support.fake_services import answer_script, delta, finished, found, progress, started
from tests.support.wired_gateway import QUESTION, kinds, wired


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
        ("The sources do not answer this question. [1]", gateway_pb2.OUTCOME_NOT_IN_SOURCES),
        ("The sources do not answer this question [1, 2].", gateway_pb2.OUTCOME_NOT_IN_SOURCES),
        ("The sources do not answer this question. Vienna is big [1].", gateway_pb2.OUTCOME_ANSWERED),
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
