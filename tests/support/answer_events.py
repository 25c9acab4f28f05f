"""Events of an answer, as a gateway sends them."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from groundwire.gateway.v1 import gateway_pb2
from groundwire.gateway.v1.gateway_pb2 import AskResponse

RAIN = gateway_pb2.Source(
    index=1, title="Rain gauges", url="https://example.org/rain?a=1", host="example.org", text="A gauge measures rain."
)
GUIDE = gateway_pb2.Source(
    index=2,
    title="Guide",
    location=gateway_pb2.Location(path="guide.md", heading="Guide > Rain"),
    host="local",
    text="Empty the gauge.",
)


def searching() -> AskResponse:
    return AskResponse(progress=gateway_pb2.Progress(stage=gateway_pb2.STAGE_SEARCHING))


def reading(processed: int, total: int) -> AskResponse:
    return AskResponse(
        progress=gateway_pb2.Progress(
            stage=gateway_pb2.STAGE_READING, prompt_tokens_processed=processed, prompt_tokens_total=total
        )
    )


def sources(*found: gateway_pb2.Source, query: str = "rain") -> AskResponse:
    return AskResponse(sources=gateway_pb2.Sources(sources=found, query=query, provider=gateway_pb2.PROVIDER_LOCAL))


def context(*used: int, cut: tuple[int, ...] = (), dropped: tuple[int, ...] = ()) -> AskResponse:
    return AskResponse(context=gateway_pb2.Context(used=used, cut=cut, dropped=dropped, prompt_tokens=99, model="tiny"))


def delta(text: str) -> AskResponse:
    return AskResponse(delta=gateway_pb2.Delta(text=text))


def citation(index: int, *, resolved: bool = True) -> AskResponse:
    return AskResponse(
        citation=gateway_pb2.Citation(
            source_index=index, resolved=resolved, marker_start=23, marker_end=26, claim_start=0, claim_end=22
        )
    )


def finished(
    outcome: gateway_pb2.Outcome.ValueType = gateway_pb2.OUTCOME_ANSWERED,
    reason: gateway_pb2.FinishReason.ValueType = gateway_pb2.FINISH_REASON_STOP,
    *,
    uncited_sentences: int = 0,
) -> AskResponse:
    """101 tokens in 2 s: 50 a second."""
    asked = outcome != gateway_pb2.OUTCOME_NO_RESULTS
    return AskResponse(
        finished=gateway_pb2.Finished(
            outcome=outcome,
            reason=reason if asked else gateway_pb2.FINISH_REASON_UNSPECIFIED,
            model="tiny" if asked else "",
            provider=gateway_pb2.PROVIDER_LOCAL,
            usage=gateway_pb2.Usage(prompt_tokens=1234, cached_tokens=34, completion_tokens=101),
            timings=gateway_pb2.Timings(
                search=Duration(nanos=250_000_000),
                queue=Duration(),
                prompt=Duration(seconds=1, nanos=500_000_000),
                time_to_first_token=Duration(seconds=1, nanos=800_000_000),
                generation=Duration(seconds=2),
                total=Duration(seconds=3, nanos=800_000_000),
            ),
            citations=gateway_pb2.CitationCounts(resolved=1, uncited_sentences=uncited_sentences),
            seed=7,
        )
    )


def whole_answer() -> list[AskResponse]:
    """Every kind of event once or more, in the promised order."""
    return [
        searching(),
        sources(RAIN, GUIDE),
        reading(500, 1000),
        context(1, 2),
        delta("A gauge measures rain. "),
        delta("[1]"),
        citation(1),
        finished(),
    ]
