from __future__ import annotations

from datetime import UTC, datetime

from gateway.core.events import (
    Citation,
    CitationCounts,
    Context,
    Finished,
    FinishReason,
    GenerationFinished,
    GenerationTimings,
    Outcome,
    Progress,
    Sources,
    Stage,
    TextDelta,
    Usage,
)
from gateway.core.types import Location, Provider, Source
from gateway.wire import encode_event, gather
from groundwire.gateway.v1 import gateway_pb2 as pb

WEB = Source(1, "T", "example.org", "Text.", "https://example.org", None, datetime(2024, 1, 2, tzinfo=UTC))
LOCAL = Source(2, "L", "local", "More.", None, Location("a.md", "A > B"))
SOURCES = Sources((WEB, LOCAL), "query", "altered", Provider.LOCAL, from_cache=True)
CONTEXT = Context((1,), (1,), (2,), 4, 99, "tiny")
CITATION = Citation(1, True, 5, 8, 0, 4)
FINISHED = Finished(
    Outcome.ANSWERED,
    Provider.LOCAL,
    1.5,
    0.25,
    0.5,
    "tiny",
    GenerationFinished(
        FinishReason.STOP_SEQUENCE, Usage(1, 2, 3, 4, 5), GenerationTimings(0.1, 0.2, 0.3), 2**32 - 1, "END"
    ),
    CitationCounts(1, 2, 3),
)


def test_sources() -> None:
    sources = encode_event(SOURCES).sources
    web, local = sources.sources
    assert (web.index, web.title, web.url, web.host, web.text) == (
        1,
        "T",
        "https://example.org",
        "example.org",
        "Text.",
    )
    assert web.published_time.ToJsonString() == "2024-01-02T00:00:00Z"
    assert not web.HasField("location")
    assert (local.location.path, local.location.heading) == ("a.md", "A > B")
    assert not local.HasField("url")
    assert not local.HasField("published_time")
    assert (sources.query, sources.altered_query, sources.from_cache) == ("query", "altered", True)
    assert sources.provider == pb.PROVIDER_LOCAL
    assert not encode_event(Sources(())).sources.HasField("altered_query")


def test_context_progress_delta_and_citation() -> None:
    context = encode_event(CONTEXT).context
    assert (list(context.used), list(context.cut), list(context.dropped)) == ([1], [1], [2])
    assert (context.history_turns_dropped, context.prompt_tokens, context.model) == (4, 99, "tiny")
    progress = encode_event(Progress(Stage.READING, 3, 9)).progress
    assert progress == pb.Progress(stage=pb.STAGE_READING, prompt_tokens_processed=3, prompt_tokens_total=9)
    assert encode_event(TextDelta("é")).delta.text == "é"
    assert encode_event(CITATION).citation == pb.Citation(
        source_index=1, resolved=True, marker_start=5, marker_end=8, claim_start=0, claim_end=4
    )


def test_finished() -> None:
    finished = encode_event(FINISHED).finished
    assert (finished.outcome, finished.reason) == (pb.OUTCOME_ANSWERED, pb.FINISH_REASON_STOP_SEQUENCE)
    assert (finished.matched_stop, finished.seed, finished.model) == ("END", 2**32 - 1, "tiny")
    usage = finished.usage
    assert usage == pb.Usage(prompt_tokens=1, cached_tokens=2, completion_tokens=3, drafted_tokens=4, accepted_tokens=5)
    times = finished.timings
    names = ("search", "queue", "prompt", "time_to_first_token", "generation", "total")
    assert [getattr(times, name).ToMilliseconds() for name in names] == [250, 100, 200, 500, 300, 1500]
    counts = finished.citations
    assert (counts.resolved, counts.unresolved, counts.uncited_sentences) == (1, 2, 3)


def test_finished_without_a_model_leaves_unset_what_nobody_measured() -> None:
    finished = encode_event(Finished(Outcome.NO_RESULTS, Provider.BRAVE, 0.5, 0.4)).finished
    assert finished.reason == pb.FINISH_REASON_UNSPECIFIED
    set_ = {field.name for field, _ in finished.timings.ListFields()}
    assert set_ == {"search", "total"}
    assert not finished.HasField("usage")
    assert not finished.HasField("matched_stop")


def test_gathered() -> None:
    events = [Progress(Stage.SEARCHING), SOURCES, CONTEXT, TextDelta("It "), TextDelta("is [1]"), CITATION, FINISHED]
    answer = gather(events)
    assert answer.text == "It is [1]"
    assert answer.sources == encode_event(SOURCES).sources
    assert answer.context == encode_event(CONTEXT).context
    assert list(answer.citations) == [encode_event(CITATION).citation]
    assert answer.finished == encode_event(FINISHED).finished
    assert not gather([SOURCES, FINISHED]).HasField("context")


def test_every_value_has_its_number() -> None:
    for outcome in Outcome:
        number = encode_event(Finished(outcome, None, 0)).finished.outcome
        assert pb.Outcome.Name(number) == f"OUTCOME_{outcome.name}"
    for reason in FinishReason:
        generation = GenerationFinished(reason, Usage(), GenerationTimings(0, 0, 0), 0)
        number = encode_event(Finished(Outcome.UNCITED, None, 0, generation=generation)).finished.reason
        assert pb.FinishReason.Name(number) == f"FINISH_REASON_{reason.name}"
