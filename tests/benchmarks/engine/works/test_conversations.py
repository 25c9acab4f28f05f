"""Conversations: everyone's turn before anyone's next, each with all that was said."""

from __future__ import annotations

from benchmarks.engine.works.conversations import (
    ANSWER_TOKENS,
    FIRST_TOKENS,
    LONGEST_TOKENS,
    MORE_TOKENS,
    Conversations,
)
from tests.benchmarks.engine.scripted_client import ScriptedClient


async def test_all_conversations_take_their_turns_in_order():
    client = ScriptedClient(pause_seconds=0.0005)
    work = Conversations(streams=2, conversations=6)
    figures = {figure.metric for figure in await work.run(client, "0")}
    assert {"ttft_p50", "ttft_p95", "cached_share", "throughput"} <= figures
    assert client.most_running == 2
    lengths = [len(request.token_ids) for request in client.requests]
    turn = MORE_TOKENS + ANSWER_TOKENS
    assert lengths == [FIRST_TOKENS] * 6 + [FIRST_TOKENS + turn] * 6 + [FIRST_TOKENS + 2 * turn] * 6
    assert lengths[-1] + ANSWER_TOKENS == LONGEST_TOKENS
    for first, second, third in zip(*(client.requests[start : start + 6] for start in (0, 6, 12)), strict=True):
        answer = tuple(range(ANSWER_TOKENS))
        assert second.token_ids[: FIRST_TOKENS + ANSWER_TOKENS] == first.token_ids + answer
        assert third.token_ids[: len(second.token_ids) + ANSWER_TOKENS] == second.token_ids + answer
    assert len({request.token_ids for request in client.requests}) == 18


async def test_a_single_worker_does_all():
    client = ScriptedClient()
    await Conversations(streams=1, conversations=2).run(client, "0")
    assert client.most_running == 1
    assert len(client.requests) == 6
