"""Asks the gateway evaluation items, as any caller would, and gathers what came back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from groundwire.gateway.v1 import gateway_pb2
from groundwire_cli.errors import CommandError
from groundwire_cli.gateway_client import call_metadata, stream_answer
from groundwire_eval.answers import Answer, Citation, Outcome
from groundwire_eval.items import Item
from groundwire_eval.measures import Result
from groundwire_rpc.channels import PLAINTEXT, ChannelSecurity

_OUTCOMES = {
    gateway_pb2.OUTCOME_ANSWERED: Outcome.ANSWERED,
    gateway_pb2.OUTCOME_NOT_IN_SOURCES: Outcome.NOT_IN_SOURCES,
    gateway_pb2.OUTCOME_UNCITED: Outcome.UNCITED,
}


@dataclass(frozen=True, slots=True)
class Asking:
    """How all items are asked."""

    target: str
    """The gateway's HOST:PORT."""
    max_tokens: int
    """Of an answer."""
    timeout_seconds: float
    """Of an answer."""
    concurrency: int
    """Items asked at once."""
    security: ChannelSecurity = PLAINTEXT
    """Of the channel to the gateway."""


async def ask_items(
    items: Sequence[Item], asking: Asking, *, on_answer: Callable[[Result], None]
) -> tuple[str, list[Result]]:
    """The name of the model that answered (empty where none did), and a result for each item, in the items' order."""
    models: set[str] = set()
    places = asyncio.Semaphore(asking.concurrency)

    async def ask(item: Item) -> Result:
        async with places:
            model, answer = await _ask(item, asking)
        models.update({model} - {""})
        result = Result(item, answer)
        on_answer(result)
        return result

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(item)) for item in items]
    return ", ".join(sorted(models)), [task.result() for task in tasks]


async def _ask(item: Item, asking: Asking) -> tuple[str, Answer]:
    """The model's name and the answer; a call that fails is an answer that failed."""
    request = gateway_pb2.AskRequest(
        question=item.question,
        sources=[
            gateway_pb2.GivenSource(title=source.title, url=source.url, text=source.text) for source in item.sources
        ],
        max_tokens=asking.max_tokens,
    )
    gathered = _Gathered()
    try:
        async with aclosing(
            stream_answer(
                asking.target,
                request,
                metadata=call_metadata(None),
                timeout_seconds=asking.timeout_seconds,
                security=asking.security,
            )
        ) as events:
            async for event in events:
                gathered.take(event)
    except CommandError as error:
        return "", Answer(Outcome.FAILED, fault=error.message)
    return gathered.answer()


class _Gathered:
    """An answer's events, as they come."""

    def __init__(self) -> None:
        self._text = ""
        self._citations: list[Citation] = []
        self._sources: dict[int, str] = {}
        self._context = gateway_pb2.Context()
        self._finished: gateway_pb2.Finished | None = None

    def take(self, event: gateway_pb2.AskResponse) -> None:
        """The next event."""
        match event.WhichOneof("event"):
            case "sources":
                self._sources = {source.index: source.text for source in event.sources.sources}
            case "context":
                self._context = event.context
            case "delta":
                self._text += event.delta.text
            case "citation":
                one = event.citation
                self._citations.append(
                    Citation(
                        one.source_index,
                        one.resolved,
                        (one.marker_start, one.marker_end),
                        (one.claim_start, one.claim_end),
                    )
                )
            case "finished":
                self._finished = event.finished

    def answer(self) -> tuple[str, Answer]:
        """The model's name, and what was gathered."""
        finished = self._finished
        if finished is None:
            return "", Answer(Outcome.FAILED, fault="the gateway ended the answer without saying how")
        outcome = _OUTCOMES.get(finished.outcome)
        if outcome is None:
            return "", Answer(Outcome.FAILED, fault="the model was not asked")
        timings = finished.timings
        return finished.model, Answer(
            outcome=outcome,
            text=self._text,
            citations=tuple(self._citations),
            uncited_sentences=finished.citations.uncited_sentences,
            source_texts=tuple(self._sources[index] for index in sorted(self._sources)),
            in_context=frozenset(self._context.used),
            completion_tokens=finished.usage.completion_tokens,
            first_token_seconds=timings.time_to_first_token.ToTimedelta().total_seconds(),
            total_seconds=timings.total.ToTimedelta().total_seconds(),
        )
