"""Generations that tell what became of them: in the call's log line, its spans and the metrics."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final, Protocol

from groundwire_rpc.calls import ServedCall, current_call
from groundwire_rpc.tracing import CANCELLED, OUTCOME, Attributes, Span
from inference_service.core.errors import InferenceError
from inference_service.core.generation import Generation
from inference_service.core.types import (
    Chat,
    Delta,
    Event,
    Finished,
    GenerateRequest,
    GrammarKind,
    Started,
)

PROVIDER: Final = "groundwire"
"""gen_ai.provider.name: none of the well-known ones."""

_NS: Final = 1_000_000_000
_WORD: Final = re.compile(r"(?<!^)(?=[A-Z])")
_FINISH_REASONS: Final = {"stop": "stop", "stop_sequence": "stop", "max_tokens": "length", "context_full": "length"}
"""gen_ai.response.finish_reasons in the words that tools know."""


class GenerationCounts(Protocol):
    """Counts generations."""

    def finished(self, operation: str, model: str, answer: Finished) -> None:
        """An answer is whole."""

    def ended(self, operation: str, model: str, seconds: float, error: str) -> None:
        """A request has ended, whole (error is empty), cancelled or failed."""


def operation(request: GenerateRequest) -> str:
    """gen_ai.operation.name."""
    return "chat" if isinstance(request.input, Chat) else "text_completion"


class ObservedGeneration(Generation):
    """A Generation that tells of its answers."""

    counts: GenerationCounts | None = None
    """None: nobody counts."""

    async def generate(self, request: GenerateRequest, **options: Any) -> AsyncGenerator[Event]:
        """As the Generation has it."""
        watch = _Watch(request, current_call())
        error = CANCELLED  # what it is if only a cancellation or a closed generator ends it
        try:
            async with aclosing(super().generate(request, **options)) as events:
                async for event in events:
                    watch.saw(event)
                    yield event
            error = ""
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except Exception as failure:
            error = _error_type(failure)
            raise
        finally:
            if watch.finished is not None:  # whoever has the last event need not come back for the end
                error = ""
            watch.end(error, self._model_name(), self.counts)

    def _model_name(self) -> str:
        return self.info.name if self.is_loaded else ""


def _error_type(failure: Exception) -> str:
    """QueueFull as queue_full; whatever is none of this service's errors as internal."""
    return _WORD.sub("_", type(failure).__name__).lower() if isinstance(failure, InferenceError) else "internal"


class _Watch:
    """What is seen of one generation."""

    def __init__(self, request: GenerateRequest, call: ServedCall | None) -> None:
        self._request = request
        self._call = call
        self._arrived = time.monotonic()
        self._arrived_ns = time.time_ns()
        self._queue_seconds: float | None = None
        self._first_token_seconds: float | None = None
        self.finished: Finished | None = None

    def saw(self, event: Event) -> None:
        """Note it. Called for every event of every stream, so it does no more than that."""
        if self._first_token_seconds is not None and not isinstance(event, Finished):
            return
        match event:
            case Started():
                self._queue_seconds = event.queue_seconds
            case Delta():
                self._first_token_seconds = time.monotonic() - self._arrived
            case Finished():
                self.finished = event

    def end(self, error: str, model: str, counts: GenerationCounts | None) -> None:
        """Tell of it."""
        seconds = time.monotonic() - self._arrived
        name = operation(self._request)
        if counts is not None:
            if self.finished is not None:
                counts.finished(name, model, self.finished)
            counts.ended(name, model, seconds, error)
        if self._call is None:
            return
        if self.finished is not None:
            _note(self._call, model, self.finished)
        elif self._queue_seconds is not None:
            self._call.note(
                model=model, queue_seconds=self._queue_seconds, first_token_seconds=self._first_token_seconds
            )
        span = self._call.span.child(
            f"{name} {model}".strip(), start_ns=self._arrived_ns, attributes=_request_attributes(self._request, model)
        )
        if not span.traceparent:
            return
        end_ns = self._at(seconds)
        self._phases(span, error, end_ns)
        if self.finished is not None:
            span.set(_answer_attributes(self.finished, model))
        span.set({OUTCOME: error.lower() or "ok"})
        span.end(error=error, end_ns=end_ns)

    def _at(self, seconds: float) -> int:
        return self._arrived_ns + int(seconds * _NS)

    def _phases(self, span: Span, error: str, end_ns: int) -> None:
        """Spans of what it waited for: its turn, its prompt's reading, its text. The last one had what ended it."""
        starts = [("queue", 0.0)]
        if self._queue_seconds is not None:
            starts.append(("prompt", self._queue_seconds))
        if self.finished is not None:
            starts.append(("decode", self.finished.timings.time_to_first_token_seconds))
        elif self._first_token_seconds is not None:
            starts.append(("decode", self._first_token_seconds))
        for index, (name, start) in enumerate(starts):
            is_last = index + 1 == len(starts)
            phase = span.child(name, start_ns=self._at(start))
            phase.end(error=error if is_last else "", end_ns=end_ns if is_last else self._at(starts[index + 1][1]))


def _note(call: ServedCall, model: str, answer: Finished) -> None:
    usage, timings = answer.usage, answer.timings
    call.note(
        model=model,
        finish=answer.reason.value,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        drafted_tokens=usage.drafted_tokens,
        accepted_tokens=usage.accepted_tokens,
        queue_seconds=timings.queue_seconds,
        prompt_seconds=timings.prompt_seconds,
        first_token_seconds=timings.time_to_first_token_seconds,
        generation_seconds=timings.generation_seconds,
    )


def _request_attributes(request: GenerateRequest, model: str) -> Attributes:
    sampling = request.sampling
    form = request.response_format
    return {
        "gen_ai.operation.name": operation(request),
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": model or None,
        "gen_ai.request.max_tokens": request.max_tokens,
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.top_p": sampling.top_p,
        "gen_ai.request.top_k": float(sampling.top_k),
        "gen_ai.request.presence_penalty": sampling.presence_penalty,
        "gen_ai.request.frequency_penalty": sampling.frequency_penalty,
        "gen_ai.request.seed": sampling.seed,
        "gen_ai.output.type": "json" if form is not None and form.kind is GrammarKind.JSON_SCHEMA else "text",
    }


def _answer_attributes(answer: Finished, model: str) -> Attributes:
    usage = answer.usage
    return {
        "gen_ai.response.model": model,
        "gen_ai.response.finish_reasons": (_FINISH_REASONS[answer.reason.value],),
        "gen_ai.response.time_to_first_chunk": answer.timings.time_to_first_token_seconds,
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "groundwire.usage.drafted_tokens": usage.drafted_tokens,
        "groundwire.usage.accepted_tokens": usage.accepted_tokens,
    }
