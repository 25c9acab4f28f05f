"""One question, from its arrival to the last event of its answer.

The order of events, whatever happens: Progress*, Sources, then, where anything was found, Context once, Progress*, and
TextDelta* with each Citation behind the delta that completes its marker; Finished is the last.
A failure raises instead, at any point.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from gateway.core.circuit import Circuit
from gateway.core.citations import MARKER, CitationParser
from gateway.core.errors import BackendExhausted, BackendFailed, BackendUnavailable, CircuitOpen, DeadlinePassed
from gateway.core.events import (
    AnswerEvent,
    Context,
    Finished,
    GenerationEvent,
    GenerationFinished,
    Outcome,
    Progress,
    Sources,
    Stage,
    TextDelta,
)
from gateway.core.guards import GuardedFinder, GuardedGenerator
from gateway.core.ports import AnswerGenerator, Clock, SourceFinder
from gateway.core.prompt import build_prompt, says_not_in_sources
from gateway.core.query import derive_query
from gateway.core.recent_findings import BrownOutFinder, RecentFindings
from gateway.core.retries import RetryBudget
from gateway.core.sources import from_given, from_results
from gateway.core.types import RESULTS_FETCHED, Call, Prompt, Question, SourceQuery

RETRY_PAUSE_SECONDS: Final = 0.25
"""Before the second attempt where the inference service did not say when: time to take a connection up again."""

Sleep = Callable[[float], Awaitable[None]]
"""Waits for some seconds."""


class Answerer:
    """Answers questions: search, documents, generation, citations.

    Holds nothing between questions but a count, the circuits of both services and the budget of retries.
    """

    def __init__(
        self,
        finder: SourceFinder,
        generator: AnswerGenerator,
        *,
        search_circuit: Circuit,
        inference_circuit: Circuit,
        clock: Clock,
        max_search_seconds: float,
        recent: RecentFindings | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`max_search_seconds` is the most of a question's time that its search may take.

        `recent` keeps what was found, to answer from where the search service is down. None: then there is no answer.
        """
        guarded = GuardedFinder(finder, search_circuit)
        self._finder: SourceFinder = guarded if recent is None else BrownOutFinder(guarded, recent)
        self._generator = GuardedGenerator(generator, inference_circuit)
        self._inference_circuit = inference_circuit
        self._retries = RetryBudget()
        self._clock = clock
        self._max_search_seconds = max_search_seconds
        self._sleep = sleep
        self._running = 0

    @property
    def running(self) -> int:
        """Questions being answered now."""
        return self._running

    @property
    def retries(self) -> RetryBudget:
        """What second attempts at the inference service are taken from."""
        return self._retries

    async def answer(self, question: Question, call: Call) -> AsyncGenerator[AnswerEvent, None]:
        """The events of one answer. Raises AnswerError. Close the generator to give up; that stops what it started."""
        self._running += 1
        try:
            arrived = self._clock()
            # Before the search: a search may cost money, and without a model it is for nothing.
            self._inference_circuit.check()
            if question.given_sources:
                sources = Sources(from_given(question.given_sources))
                search_seconds = None
            else:
                yield Progress(Stage.SEARCHING)
                sources = await self._search(question, call)
                search_seconds = self._clock() - arrived
            yield sources
            record = _Record(sources, arrived, search_seconds)
            if sources.sources:
                prompt = replace(build_prompt(question, sources.sources), cache_salt=call.cache_salt)
                async with aclosing(self._generate(prompt, call)) as events:
                    async for event in events:
                        for news in record.take(event, self._clock):
                            yield news
            yield record.finished(self._clock())
        finally:
            self._running -= 1

    async def _search(self, question: Question, call: Call) -> Sources:
        query = derive_query(question.text, question.history)
        found = await self._finder.find(
            SourceQuery(query, RESULTS_FETCHED, question.search),
            timeout_seconds=min(self._remaining(call), self._max_search_seconds),
            metadata=call.metadata,
        )
        return Sources(
            sources=from_results(found.results, question.max_sources),
            query=query,
            altered_query=found.altered_query,
            provider=found.provider,
            from_cache=found.from_cache,
            stale_age_seconds=found.stale_age_seconds,
        )

    async def _generate(self, prompt: Prompt, call: Call) -> AsyncGenerator[GenerationEvent, None]:
        """The model's events. An outage, or a refusal that says when, is tried once more before the first delta."""
        told: Context | None = None
        writing = False
        first_failure: BackendFailed | None = None
        while True:
            try:
                async with aclosing(self._attempt(prompt, call)) as events:
                    async for event in events:
                        writing = writing or isinstance(event, TextDelta)
                        if isinstance(event, Context):
                            if told is None:
                                told = event
                            elif event == told:
                                continue
                            elif first_failure is not None:  # what was told of the sources would be true no more
                                raise first_failure
                        if isinstance(event, GenerationFinished):
                            self._retries.give_back()
                        yield event
                return
            except CircuitOpen:
                if first_failure is None:
                    raise
                raise first_failure from None  # it opened during the pause, and says less of what is wrong
            except (BackendExhausted, BackendUnavailable) as error:
                pause = _pause_seconds(error)
                if writing or first_failure is not None or pause is None or not self._may_retry(pause, call):
                    raise
                first_failure = error
            await self._sleep(pause)

    def _attempt(self, prompt: Prompt, call: Call) -> AsyncGenerator[GenerationEvent, None]:
        return self._generator.generate(prompt, timeout_seconds=self._remaining(call), metadata=call.metadata)

    def _may_retry(self, pause: float, call: Call) -> bool:
        """Whether a second attempt after the pause is in time, of any use and within the budget, which it takes from.

        Where not, the first failure is the answer, at once.
        """
        if pause >= call.deadline - self._clock():
            return False
        try:
            self._inference_circuit.check()
        except CircuitOpen:
            return False
        return self._retries.take()

    def _remaining(self, call: Call) -> float:
        remaining = call.deadline - self._clock()
        if remaining <= 0:
            raise DeadlinePassed
        return remaining


def _pause_seconds(failure: BackendFailed) -> float | None:
    """How long to wait before a second attempt: as long as the service asked for. None: it asked for none."""
    if failure.retry_after_seconds is None and isinstance(failure, BackendUnavailable):
        return RETRY_PAUSE_SECONDS
    return failure.retry_after_seconds


class _Record:
    """What is remembered of an answer while it streams, to sum it up."""

    def __init__(self, sources: Sources, arrived: float, search_seconds: float | None) -> None:
        self._sources = sources
        self._arrived = arrived
        self._search_seconds = search_seconds
        self._citations = CitationParser(())
        self._text: list[str] = []
        self._model = ""
        self._first_delta: float | None = None
        self._generation: GenerationFinished | None = None

    def take(self, event: GenerationEvent, clock: Clock) -> Sequence[AnswerEvent]:
        """The events to tell for one event of the model."""
        match event:
            case Context():
                self._citations = CitationParser(event.used)
                self._model = event.model
                return (event,)
            case TextDelta():
                if self._first_delta is None:
                    self._first_delta = clock()
                self._text.append(event.text)
                return (event, *self._citations.feed(event.text))
            case GenerationFinished():
                self._generation = event
                return self._citations.finish()
            case Progress():
                return (event,)

    def finished(self, now: float) -> Finished:
        """The last event."""
        return Finished(
            outcome=self._outcome(),
            provider=self._sources.provider,
            total_seconds=now - self._arrived,
            search_seconds=self._search_seconds,
            time_to_first_token_seconds=None if self._first_delta is None else self._first_delta - self._arrived,
            model=self._model,
            generation=self._generation,
            citations=self._citations.counts,
        )

    def _outcome(self) -> Outcome:
        if not self._sources.sources:
            return Outcome.NO_RESULTS
        # Told to cite every sentence, a model may cite this one too: that makes it no answer.
        if says_not_in_sources(MARKER.sub("", "".join(self._text))):
            return Outcome.NOT_IN_SOURCES
        return Outcome.ANSWERED if self._citations.counts.resolved else Outcome.UNCITED
