"""Fakes of the gateway's ports, without any transport."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from gateway.core.events import (
    Context,
    FinishReason,
    GenerationEvent,
    GenerationFinished,
    GenerationTimings,
    TextDelta,
    Usage,
)
from gateway.core.ports import Metadata
from gateway.core.types import Findings, Prompt, SourceQuery

FINISHED = GenerationFinished(FinishReason.STOP, Usage(completion_tokens=3), GenerationTimings(0.1, 0.2, 0.3), seed=7)


def context(*used: int, model: str = "tiny") -> Context:
    """The model sees these sources."""
    return Context(used, (), (), 0, 10, model)


def answer_events(*texts: str, used: Sequence[int] = (1,)) -> list[GenerationEvent]:
    """A whole answer."""
    return [context(*used), *(TextDelta(text) for text in texts), FINISHED]


@dataclass(frozen=True, slots=True)
class Asked:
    """What travelled with one call."""

    timeout_seconds: float
    metadata: Metadata


class FakeFinder:
    """A SourceFinder that finds one thing, or fails with one error."""

    def __init__(self, outcome: Findings | Exception) -> None:
        self.outcome = outcome
        self.queries: list[SourceQuery] = []
        self.asked: list[Asked] = []

    async def find(self, query: SourceQuery, *, timeout_seconds: float, metadata: Metadata) -> Findings:
        self.queries.append(query)
        self.asked.append(Asked(timeout_seconds, metadata))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class FakeGenerator:
    """An AnswerGenerator that takes the next script at each call: events to tell, or an error to fail with."""

    def __init__(self, *scripts: Sequence[GenerationEvent | Exception]) -> None:
        self.scripts = list(scripts)
        self.prompts: list[Prompt] = []
        self.asked: list[Asked] = []
        self.open = 0
        """Calls that were started and not ended."""

    async def generate(
        self, prompt: Prompt, *, timeout_seconds: float, metadata: Metadata
    ) -> AsyncGenerator[GenerationEvent, None]:
        self.prompts.append(prompt)
        self.asked.append(Asked(timeout_seconds, metadata))
        self.open += 1
        try:
            for step in self.scripts.pop(0):
                if isinstance(step, Exception):
                    raise step
                yield step
        finally:
            self.open -= 1


class SteppingClock:
    """A monotonic clock that a test sets; sleeping moves it."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
