"""Answers that tell what became of them: in the call's log line, its span and the metrics."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final, Protocol

from gateway.core.answer import Answerer
from gateway.core.events import AnswerEvent, Finished, Sources, TextDelta
from gateway.core.types import Call, Question
from groundwire_rpc.calls import ServedCall, current_call

MAX_LOGGED_CHARACTERS: Final = 16_384
"""Of an answer, where answers are logged at all."""


class AnswerCounts(Protocol):
    """Counts answers."""

    def used_stale_sources(self) -> None:
        """An answer takes sources from before search went down."""

    def finished(self, answer: Finished) -> None:
        """An answer is whole."""


class ObservedAnswerer(Answerer):
    """An Answerer that tells of its answers."""

    def __init__(self, *core: Any, counts: AnswerCounts | None, logs_content: bool, **settings: Any) -> None:
        """`counts` counts answers; None: nobody does. `logs_content`: questions and answers go into the log, too.

        The rest is the Answerer's own.
        """
        super().__init__(*core, **settings)
        self._counts = counts
        self._logs_content = logs_content

    async def answer(self, question: Question, call: Call) -> AsyncGenerator[AnswerEvent, None]:
        """As the Answerer has it."""
        served = current_call()
        if served is not None and self._logs_content:
            served.note(question=question.text)
        text: list[str] = []
        try:
            async with aclosing(super().answer(question, call)) as events:
                async for event in events:
                    if self._logs_content and isinstance(event, TextDelta):
                        text.append(event.text)
                    elif isinstance(event, Sources):
                        self._tell_of_sources(event, served)
                    elif isinstance(event, Finished):
                        self._tell(event, served)
                    yield event
        finally:
            if served is not None and text:
                served.note(answer="".join(text)[:MAX_LOGGED_CHARACTERS])

    def _tell_of_sources(self, found: Sources, served: ServedCall | None) -> None:
        if self._counts is not None and found.stale_age_seconds is not None:
            self._counts.used_stale_sources()
        if served is not None:
            served.note(sources=len(found.sources), stale_age_seconds=found.stale_age_seconds)
            served.span.set({"groundwire.answer.stale_age": found.stale_age_seconds})

    def _tell(self, answer: Finished, served: ServedCall | None) -> None:
        if self._counts is not None:
            self._counts.finished(answer)
        if served is None:
            return
        provider = answer.provider.value if answer.provider is not None else None
        told: dict[str, object] = {
            "outcome": answer.outcome.value,
            "provider": provider,
            "search_seconds": answer.search_seconds,
            "first_token_seconds": answer.time_to_first_token_seconds,
            "citations": answer.citations.resolved,
            "unresolved": answer.citations.unresolved,
        }
        if answer.generation is not None:
            usage, timings = answer.generation.usage, answer.generation.timings
            told |= {
                "model": answer.model,
                "finish": answer.generation.reason.value,
                "prompt_tokens": usage.prompt_tokens,
                "cached_tokens": usage.cached_tokens,
                "completion_tokens": usage.completion_tokens,
                "queue_seconds": timings.queue_seconds,
                "prompt_seconds": timings.prompt_seconds,
                "generation_seconds": timings.generation_seconds,
            }
        served.note(**told)
        served.span.set(
            {
                "groundwire.answer.outcome": answer.outcome.value,
                "groundwire.answer.provider": provider,
                "groundwire.answer.citations": answer.citations.resolved,
                "groundwire.answer.unresolved_citations": answer.citations.unresolved,
                "groundwire.answer.time_to_first_token": answer.time_to_first_token_seconds,
            }
        )
