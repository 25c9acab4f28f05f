"""Asking: what is recorded, and what is refused as no measurement."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.engine.requests import AnswerIncomplete, Arrival, Reply, Request, ask, ask_together, until_idle
from tests.benchmarks.engine.scripted_client import ScriptedClient


async def test_a_reply_has_every_arrival_and_the_usage():
    seen: list[int] = []
    reply = Reply(sent_at=0.0)
    client = ScriptedClient(message_tokens=3)
    returned = await ask(client, Request((1, 2), 7), reply=reply, on_arrival=lambda: seen.append(reply.generated))
    assert returned is reply
    assert [arrival.count for arrival in reply.arrivals] == [3, 3, 1]
    assert seen == [3, 6, 7]
    assert reply.ids == [0, 1, 2, 3, 4, 5, 6]
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == 2
    assert 0 < reply.first_token_seconds <= reply.ended_at - reply.sent_at
    assert len(reply.gaps) == 2


@pytest.mark.parametrize("client", [ScriptedClient(lambda request: [1, 2]), ScriptedClient(usage=False)])
async def test_an_answer_of_another_length_or_without_an_end_is_no_measurement(client):
    with pytest.raises(AnswerIncomplete, match="of 3 tokens"):
        await ask(client, Request((1,), 3))


async def test_one_failure_ends_all_requests():
    def answer(request: Request) -> list[int]:
        if request.seed == 2:
            raise ConnectionError("gone")
        return [1] * 1000

    client = ScriptedClient(answer, pause_seconds=0.01)
    with pytest.raises(ExceptionGroup) as raised:
        await ask_together(client, [Request((1,), 1000, seed=seed) for seed in (1, 2, 3)])
    assert raised.group_contains(ConnectionError, match="gone")
    assert client.running == 0


async def test_idle_is_waited_for():
    client = ScriptedClient(pause_seconds=0.02)
    task = asyncio.create_task(ask(client, Request((1,), 5)))
    await asyncio.sleep(0.01)
    assert not task.done()
    await until_idle(client)
    await task
    client.running = 1
    with pytest.raises(TimeoutError):
        await until_idle(client, timeout_seconds=0.05)


def test_gaps_are_those_between_messages():
    assert Reply(0.0, [Arrival(1.0, 1), Arrival(1.5, 4), Arrival(3.5, 1)]).gaps == [0.5, 2.0]
