"""Mixed: a long prompt arrives while other answers are being streamed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.engine.metrics import Figure, percentile
from benchmarks.engine.requests import Client, Reply, ask, until_idle
from benchmarks.engine.works.plain import PROMPT_TOKENS, plain_request
from benchmarks.engine.works.work import Load

LONG_PROMPT_TOKENS = 3000
_LONG_ANSWER_TOKENS = 8
_RUNNING_TOKENS = 4
"""A stream that has sent so many runs."""


class StreamsTooShort(RuntimeError):
    """A running stream ended before the long prompt was read: there would be nothing left to disturb."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """Streams that all run when the long prompt is sent, and go on until it is read; then they are cancelled.

    worst_gap: the longest pause of any running stream from the long prompt's sending to the stream's first token behind
    the long prompt's own. long_ttft: from its sending to its first token. total_throughput: in that same time, the long
    prompt's tokens and all generated tokens, a second.
    """

    answer_tokens: int
    """Of a running stream: as many as must not be over before the long prompt is read."""
    repeats: int
    streams: int = 8
    long_prompt_tokens: int = LONG_PROMPT_TOKENS
    name: str = "mixed"

    @property
    def load(self) -> Load:
        """All repeats; how far the running streams come is a guess."""
        prompts = self.streams * PROMPT_TOKENS + self.long_prompt_tokens
        return Load(self.repeats * prompts, self.repeats * self.streams * self.answer_tokens // 3)

    async def run(self, client: Client, seed: str) -> list[Figure]:
        """Measure; the worst gap is that of all repeats. Raises StreamsTooShort."""
        meetings = []
        for repeat in range(self.repeats):
            meetings.append(await self._meet(client, f"mixed/{seed}/{repeat}"))
            await until_idle(client)
        return [
            Figure("worst_gap", max(meeting.worst_gap() for meeting in meetings)),
            Figure("long_ttft", percentile([meeting.long.first_token_seconds for meeting in meetings], 0.5)),
            Figure(
                "total_throughput",
                sum(self.long_prompt_tokens + meeting.generated() for meeting in meetings)
                / sum(meeting.long.first_token_seconds for meeting in meetings),
            ),
        ]

    async def _meet(self, client: Client, seed: str) -> Meeting:
        """One long prompt among running streams."""
        replies = [Reply(sent_at=0.0) for _ in range(self.streams)]
        arrived = asyncio.Event()
        requests = [
            plain_request(f"{seed}/{stream}", stream, PROMPT_TOKENS, self.answer_tokens)
            for stream in range(self.streams)
        ]
        tasks = [
            asyncio.create_task(ask(client, request, reply=reply, on_arrival=arrived.set))
            for request, reply in zip(requests, replies, strict=True)
        ]
        try:

            async def until_all(tokens_behind: float, count: int) -> None:
                while not all(_tokens_since(reply, tokens_behind) >= count for reply in replies):
                    for task in tasks:
                        if task.done():
                            task.result()
                            raise StreamsTooShort(f"a stream's {self.answer_tokens} tokens were over too early")
                    arrived.clear()
                    # A stream that fails or ends says so by being done, not by a token.
                    waiting = asyncio.create_task(arrived.wait())
                    await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
                    waiting.cancel()

            await until_all(0.0, _RUNNING_TOKENS)
            request = plain_request(f"{seed}/long", self.streams, self.long_prompt_tokens, _LONG_ANSWER_TOKENS)
            long = await ask(client, request)
            await until_all(long.arrivals[0].at, 1)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return Meeting(long, tuple(replies))


@dataclass(frozen=True, slots=True)
class Meeting:
    """A long prompt's timeline and those of the streams that ran beside it."""

    long: Reply
    streams: tuple[Reply, ...]

    def worst_gap(self) -> float:
        """Seconds; a pause counts that any part of the long prompt's time is in."""
        begin, end = self.long.sent_at, self.long.arrivals[0].at
        gaps = []
        for stream in self.streams:
            times = [arrival.at for arrival in stream.arrivals]
            gaps += [after - before for before, after in pairwise(times) if after > begin and before < end]
        return max(gaps)

    def generated(self) -> int:
        """Tokens of all streams between the long prompt's sending and its first token, that one included."""
        begin, end = self.long.sent_at, self.long.arrivals[0].at
        return self.long.arrivals[0].count + sum(
            arrival.count for stream in self.streams for arrival in stream.arrivals if begin < arrival.at <= end
        )


def _tokens_since(reply: Reply, moment: float) -> int:
    return sum(arrival.count for arrival in reply.arrivals if arrival.at > moment)
