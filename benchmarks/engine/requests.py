"""What every system is asked, and what came back and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

TOP_K, TOP_P = 40, 0.95
"""What a request with a temperature draws from: this many tokens, up to this probability."""

_DEADLINE_SECONDS = 900.0
"""No request takes so long; a system that hangs ends the run."""


@dataclass(frozen=True, slots=True)
class Request:
    """One answer of an exact length to exact tokens."""

    token_ids: tuple[int, ...]
    max_tokens: int
    """Tokens that are generated, whatever they are: an end of turn ends nothing."""
    temperature: float = 0.0
    """0 is greedy."""
    seed: int = 1
    drafts: bool = True
    """Whether the system may draft, if it was started so."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What one message brought."""

    count: int
    ids: tuple[int, ...]
    """Fewer than `count` where the system keeps some to itself."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a system says, at the end, that an answer took."""

    prompt_tokens: int
    """The whole prompt's."""
    cached_tokens: int
    """Of the prompt, those that needed no new work."""
    drafted_tokens: int = 0
    accepted_tokens: int = 0


class Client(Protocol):
    """A running system, as the measuring process reaches it."""

    def stream(self, request: Request) -> AsyncIterator[Tokens | Usage]:
        """Yield tokens as they arrive, and the usage last. Leaving early cancels the request."""
        ...

    async def busy(self) -> bool:
        """Whether a request is running or waiting."""
        ...

    async def engine_seconds(self) -> EngineSeconds | None:
        """What the engine has spent since it started; None of a system that does not tell."""
        ...


@dataclass(frozen=True, slots=True)
class EngineSeconds:
    """Where an engine's time went."""

    steps: float
    """With at least one sequence running."""
    forward: float
    """Of it, inside llama_decode."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Tokens that reached the client in one message."""

    at: float
    count: int


@dataclass(slots=True)
class Reply:
    """One answer's timeline: seconds of the measuring process's own clock."""

    sent_at: float
    arrivals: list[Arrival] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    """The generated tokens, as far as the system names them."""
    usage: Usage | None = None

    @property
    def generated(self) -> int:
        """Tokens so far."""
        return sum(arrival.count for arrival in self.arrivals)

    @property
    def first_token_seconds(self) -> float:
        """From sending to the first token."""
        return self.arrivals[0].at - self.sent_at

    @property
    def ended_at(self) -> float:
        """When the last token came."""
        return self.arrivals[-1].at

    @property
    def gaps(self) -> list[float]:
        """Seconds between one message with tokens and the next."""
        times = [arrival.at for arrival in self.arrivals]
        return [after - before for before, after in pairwise(times)]


class AnswerIncomplete(RuntimeError):
    """A system ended an answer early, late, or without saying what it took: nothing can be measured so."""


async def ask(
    client: Client,
    request: Request,
    *,
    reply: Reply | None = None,
    on_arrival: Callable[[], None] | None = None,
) -> Reply:
    """Send one request and record its answer, in `reply` if another part watches it.

    `on_arrival` is called at each message with tokens. Raises AnswerIncomplete, TimeoutError, and what the client does.
    """
    if reply is None:
        reply = Reply(sent_at=0.0)
    reply.sent_at = time.perf_counter()
    async with asyncio.timeout(_DEADLINE_SECONDS):
        async for piece in client.stream(request):
            if isinstance(piece, Usage):
                reply.usage = piece
                continue
            reply.arrivals.append(Arrival(time.perf_counter(), piece.count))
            reply.ids.extend(piece.ids)
            if on_arrival is not None:
                on_arrival()
    if reply.usage is None or reply.generated != request.max_tokens:
        raise AnswerIncomplete(
            f"of {request.max_tokens} tokens {reply.generated} came, and the answer's end "
            f"{'did' if reply.usage else 'did not'}"
        )
    return reply


async def ask_together(client: Client, requests: list[Request]) -> list[Reply]:
    """Send all requests at once, as that many callers would, and wait for all answers. The first failure is raised."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(client, request)) for request in requests]
    return [task.result() for task in tasks]


async def until_idle(client: Client, *, timeout_seconds: float = 60.0) -> None:
    """Wait until nothing runs. Raises TimeoutError."""
    async with asyncio.timeout(timeout_seconds):
        while await client.busy():  # noqa: ASYNC110 - neither system tells when
            await asyncio.sleep(0.02)
