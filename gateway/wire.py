"""From core types to the gateway's own contract. What comes in is read in wire_request.py."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.core.admission import Admission
from gateway.core.events import (
    AnswerEvent,
    Citation,
    Context,
    Finished,
    FinishReason,
    Outcome,
    Progress,
    Sources,
    Stage,
    TextDelta,
)
from gateway.core.types import BackendState, BackendStatus, CircuitState, Provider, Source
from groundwire.gateway.v1 import gateway_pb2 as pb

_MIB: Final = 1024 * 1024

_PROVIDER_NUMBERS: Final = {
    None: pb.PROVIDER_UNSPECIFIED,
    Provider.BRAVE: pb.PROVIDER_BRAVE,
    Provider.LOCAL: pb.PROVIDER_LOCAL,
}
_STAGE_NUMBERS: Final = {
    Stage.SEARCHING: pb.STAGE_SEARCHING,
    Stage.READING: pb.STAGE_READING,
}
_OUTCOME_NUMBERS: Final = {
    Outcome.ANSWERED: pb.OUTCOME_ANSWERED,
    Outcome.NOT_IN_SOURCES: pb.OUTCOME_NOT_IN_SOURCES,
    Outcome.UNCITED: pb.OUTCOME_UNCITED,
    Outcome.NO_RESULTS: pb.OUTCOME_NO_RESULTS,
}
_REASON_NUMBERS: Final = {
    FinishReason.STOP: pb.FINISH_REASON_STOP,
    FinishReason.STOP_SEQUENCE: pb.FINISH_REASON_STOP_SEQUENCE,
    FinishReason.MAX_TOKENS: pb.FINISH_REASON_MAX_TOKENS,
    FinishReason.CONTEXT_FULL: pb.FINISH_REASON_CONTEXT_FULL,
}
_STATE_NUMBERS: Final = {
    BackendState.SERVING: pb.BACKEND_STATE_SERVING,
    BackendState.NOT_SERVING: pb.BACKEND_STATE_NOT_SERVING,
    BackendState.UNREACHABLE: pb.BACKEND_STATE_UNREACHABLE,
}

_CIRCUIT_NUMBERS: Final = {
    CircuitState.CLOSED: pb.CIRCUIT_STATE_CLOSED,
    CircuitState.OPEN: pb.CIRCUIT_STATE_OPEN,
    CircuitState.HALF_OPEN: pb.CIRCUIT_STATE_HALF_OPEN,
}


def encode_event(event: AnswerEvent) -> pb.AskResponse:
    """One event of the stream."""
    match event:
        case TextDelta():
            return pb.AskResponse(delta=pb.Delta(text=event.text))
        case Citation():
            return pb.AskResponse(citation=encode_citation(event))
        case Progress():
            return pb.AskResponse(
                progress=pb.Progress(
                    stage=_STAGE_NUMBERS[event.stage],
                    prompt_tokens_processed=event.prompt_tokens_processed,
                    prompt_tokens_total=event.prompt_tokens_total,
                )
            )
        case Sources():
            return pb.AskResponse(sources=encode_sources(event))
        case Context():
            return pb.AskResponse(context=encode_context(event))
        case Finished():
            return pb.AskResponse(finished=encode_finished(event))


def encode_sources(sources: Sources) -> pb.Sources:
    """The sources that were found."""
    return pb.Sources(
        sources=[_encode_source(source) for source in sources.sources],
        query=sources.query,
        altered_query=sources.altered_query,
        provider=_PROVIDER_NUMBERS[sources.provider],
        from_cache=sources.from_cache,
        stale_age=_duration(sources.stale_age_seconds),
    )


def _encode_source(source: Source) -> pb.Source:
    location = source.location
    return pb.Source(
        index=source.index,
        title=source.title,
        url=source.url,
        location=None if location is None else pb.Location(path=location.path, heading=location.heading),
        host=source.host,
        text=source.text,
        published_time=_timestamp(source.published_time),
    )


def encode_context(context: Context) -> pb.Context:
    """Which sources the model sees."""
    return pb.Context(
        used=context.used,
        cut=context.cut,
        dropped=context.dropped,
        history_turns_dropped=context.history_turns_dropped,
        prompt_tokens=context.prompt_tokens,
        model=context.model,
    )


def encode_citation(citation: Citation) -> pb.Citation:
    """One cited number."""
    return pb.Citation(
        source_index=citation.source_index,
        resolved=citation.resolved,
        marker_start=citation.marker_start,
        marker_end=citation.marker_end,
        claim_start=citation.claim_start,
        claim_end=citation.claim_end,
    )


def encode_finished(finished: Finished) -> pb.Finished:
    """The last event. What the model would have told stays unset where it was not asked."""
    counts = finished.citations
    message = pb.Finished(
        outcome=_OUTCOME_NUMBERS[finished.outcome],
        model=finished.model,
        provider=_PROVIDER_NUMBERS[finished.provider],
        timings=pb.Timings(
            search=_duration(finished.search_seconds),
            time_to_first_token=_duration(finished.time_to_first_token_seconds),
            total=_duration(finished.total_seconds),
        ),
        citations=pb.CitationCounts(
            resolved=counts.resolved, unresolved=counts.unresolved, uncited_sentences=counts.uncited_sentences
        ),
    )
    generation = finished.generation
    if generation is not None:
        message.reason = _REASON_NUMBERS[generation.reason]
        if generation.matched_stop is not None:
            message.matched_stop = generation.matched_stop
        message.seed = generation.seed
        message.usage.prompt_tokens = generation.usage.prompt_tokens
        message.usage.cached_tokens = generation.usage.cached_tokens
        message.usage.completion_tokens = generation.usage.completion_tokens
        message.usage.drafted_tokens = generation.usage.drafted_tokens
        message.usage.accepted_tokens = generation.usage.accepted_tokens
        message.timings.queue.FromNanoseconds(_nanoseconds(generation.timings.queue_seconds))
        message.timings.prompt.FromNanoseconds(_nanoseconds(generation.timings.prompt_seconds))
        message.timings.generation.FromNanoseconds(_nanoseconds(generation.timings.generation_seconds))
    return message


def gather(events: Sequence[AnswerEvent]) -> pb.AnswerResponse:
    """A whole answer in one message."""
    response = pb.AnswerResponse()
    text: list[str] = []
    for event in events:
        match event:
            case TextDelta():
                text.append(event.text)
            case Citation():
                response.citations.append(encode_citation(event))
            case Sources():
                response.sources.CopyFrom(encode_sources(event))
            case Context():
                response.context.CopyFrom(encode_context(event))
            case Finished():
                response.finished.CopyFrom(encode_finished(event))
            case Progress():
                pass  # a gathered answer waits for nothing any more
    response.text = "".join(text)
    return response


def encode_status(
    version: str, backends: Sequence[BackendStatus], running_asks: int, admission: Admission
) -> pb.GetStatusResponse:
    """The state of the gateway."""
    return pb.GetStatusResponse(
        version=version,
        backends=[_encode_backend(backend) for backend in backends],
        running_asks=running_asks,
        max_asks=admission.limits.asks,
        held_mib=-(-admission.held_bytes // _MIB),
        held_limit_mib=-(-admission.limits.bytes // _MIB),
    )


def _encode_backend(backend: BackendStatus) -> pb.BackendStatus:
    return pb.BackendStatus(
        name=backend.name,
        target=backend.target,
        state=_STATE_NUMBERS[backend.state],
        detail=backend.detail,
        circuit=_CIRCUIT_NUMBERS[backend.circuit.state],
        failures_in_row=backend.circuit.failures_in_row,
        retry_after=_duration(backend.circuit.retry_after_seconds),
    )


def _duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    duration = Duration()
    duration.FromNanoseconds(_nanoseconds(seconds))
    return duration


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp
