"""A stand-in for a running system: it answers at once, with tokens that a test decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from benchmarks.engine.requests import EngineSeconds, Request, Tokens, Usage


def counting(request: Request) -> list[int]:
    return list(range(request.max_tokens))


class ScriptedClient:
    def __init__(
        self,
        answer: Callable[[Request], Sequence[int]] = counting,
        *,
        accepted: int = 0,
        pause_seconds: float = 0.0,
        message_tokens: int = 1,
        usage: bool = True,
    ) -> None:
        self.requests: list[Request] = []
        self.running = 0
        self.most_running = 0
        self.cancelled = 0
        self._answer = answer
        self._accepted = accepted
        self._pause_seconds = pause_seconds
        self._message_tokens = message_tokens
        self._usage = usage

    async def stream(self, request: Request) -> AsyncIterator[Tokens | Usage]:
        self.requests.append(request)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            answer = self._answer(request)
            for start in range(0, len(answer), self._message_tokens):
                await asyncio.sleep(self._pause_seconds)
                ids = tuple(answer[start : start + self._message_tokens])
                yield Tokens(len(ids), ids)
            if self._usage:
                yield Usage(len(request.token_ids), 1, self._accepted, self._accepted)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def busy(self) -> bool:
        return self.running > 0

    async def engine_seconds(self) -> EngineSeconds:
        return EngineSeconds(10.0 * len(self.requests), 8.0 * len(self.requests))
