"""Mixed work: the long prompt comes when all run, and only what it disturbs counts."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.engine.requests import Arrival, Reply, Request, Tokens, Usage
from benchmarks.engine.works.mixed import LONG_PROMPT_TOKENS, Meeting, Mixed, StreamsTooShort
from tests.benchmarks.engine.scripted_client import ScriptedClient

STALL_SECONDS = 0.15


class StallingClient(ScriptedClient):
    """Every stream stands still while the long prompt is read, or goes on where it does not stall."""

    def __init__(self, *, stalls: bool = True) -> None:
        super().__init__()
        self.stalls = stalls
        self.reading = asyncio.Event()
        self.running_before_long = 0

    async def stream(self, request: Request):
        self.requests.append(request)
        self.running += 1
        try:
            if len(request.token_ids) == LONG_PROMPT_TOKENS:
                self.running_before_long = self.running - 1
                self.reading.set()
                await asyncio.sleep(STALL_SECONDS)
                self.reading.clear()
            for token in range(request.max_tokens):
                await asyncio.sleep(0.002)
                while self.stalls and self.reading.is_set():
                    await asyncio.sleep(0.002)
                yield Tokens(1, (token,))
            yield Usage(len(request.token_ids), 0)
        finally:
            self.running -= 1


def test_only_what_happens_beside_the_long_prompt_counts():
    def reply(sent_at: float, *times: float, count: int = 1) -> Reply:
        return Reply(sent_at, [Arrival(at, count) for at in times])

    meeting = Meeting(
        reply(10.0, 20.0, 21.0),
        (
            reply(0.0, 1.0, 9.5, 12.0, 19.0, 22.5, 40.0),  # 8.5 s before and 17.5 s behind do not count, 7 s do
            reply(0.0, 9.0, 15.0, 15.5, 20.0, 26.0, count=3),  # what comes with the first token is still beside it
        ),
    )
    assert meeting.worst_gap() == 7.0
    assert meeting.generated() == 1 + 2 + 3 * 3


async def test_the_worst_gap_is_that_beside_the_long_prompt():
    client = StallingClient()
    figures = {figure.metric: figure.value for figure in await Mixed(answer_tokens=2000, repeats=2).run(client, "0")}
    assert client.running_before_long == 8
    assert figures["worst_gap"] >= STALL_SECONDS
    assert figures["long_ttft"] >= STALL_SECONDS
    assert figures["total_throughput"] > 0
    assert client.running == 0  # what was cancelled is gone
    assert len(client.requests) == 2 * 9


async def test_streams_that_end_too_early_are_no_measurement():
    with pytest.raises(StreamsTooShort, match="10 tokens"):
        await Mixed(answer_tokens=10, repeats=1).run(StallingClient(stalls=False), "0")


async def test_a_failing_stream_fails_the_work():
    def answer(request: Request) -> list[int]:
        if request.seed == 3:
            raise ConnectionError("gone")
        return [1] * request.max_tokens

    with pytest.raises(ConnectionError, match="gone"):
        await Mixed(answer_tokens=500, repeats=1).run(ScriptedClient(answer, pause_seconds=0.001), "0")
