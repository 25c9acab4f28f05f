"""Conversations: more of them than fit the KV cache, each coming back for another turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.engine.metrics import Figure, first_token_figures, kept_figures, throughput
from benchmarks.engine.prompts import random_prompt, random_tokens
from benchmarks.engine.requests import Client, Reply, Request, ask
from benchmarks.engine.works.work import Load

TURNS = 3
FIRST_TOKENS = 400
MORE_TOKENS = 40
ANSWER_TOKENS = 32
LONGEST_TOKENS = FIRST_TOKENS + (TURNS - 1) * MORE_TOKENS + TURNS * ANSWER_TOKENS
"""A whole conversation."""


@dataclass(frozen=True, slots=True)
class Conversations:
    """Every conversation has its first turn, then every one its second, then every one its third.

    As many workers as there are streams take the turns in order, so each conversation waits for all others between two
    of its turns. A turn holds everything before it, the system's own answers included.
    """

    streams: int
    conversations: int
    name: str = "conversations"

    @property
    def load(self) -> Load:
        """All turns, with each conversation read only once."""
        read = self.conversations * (FIRST_TOKENS + (TURNS - 1) * MORE_TOKENS)
        return Load(read, self.conversations * TURNS * ANSWER_TOKENS)

    async def run(self, client: Client, seed: str) -> list[Figure]:
        """Measure the first tokens of those who come back, and the throughput of all."""
        histories = [random_prompt(FIRST_TOKENS, seed, conversation) for conversation in range(self.conversations)]
        last_turns: list[asyncio.Future[None]] = [_done() for _ in histories]
        replies: list[list[Reply]] = [[] for _ in range(TURNS)]

        async def work(places: Iterator[tuple[int, int]]) -> None:
            for turn, conversation in places:
                before, last_turns[conversation] = last_turns[conversation], _pending()
                after = last_turns[conversation]
                await before
                reply = await ask(client, Request(histories[conversation], ANSWER_TOKENS))
                more = random_tokens(MORE_TOKENS, seed, conversation, turn)
                histories[conversation] += (*reply.ids, *more)
                replies[turn].append(reply)
                after.set_result(None)

        places = ((turn, conversation) for turn in range(TURNS) for conversation in range(self.conversations))
        async with asyncio.TaskGroup() as group:
            for _ in range(self.streams):
                group.create_task(work(places))
        back = [reply for turn in replies[1:] for reply in turn]
        return [
            *first_token_figures(back),
            *kept_figures(back),
            Figure("throughput", throughput([[reply for turn in replies for reply in turn]])),
        ]


def _pending() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


def _done() -> asyncio.Future[None]:
    future = _pending()
    future.set_result(None)
    return future
