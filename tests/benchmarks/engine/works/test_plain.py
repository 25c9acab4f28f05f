"""Plain work and drafts: how much is asked, of whom, and in which order."""

from __future__ import annotations

import pytest

from benchmarks.engine.works.drafts import OFF, Drafts
from benchmarks.engine.works.plain import Plain
from tests.benchmarks.engine.scripted_client import ScriptedClient


async def test_every_wave_is_sent_at_once_and_has_prompts_of_its_own():
    client = ScriptedClient(pause_seconds=0.001)
    work = Plain(streams=4, waves=3, answer_tokens=8)
    figures = {figure.metric for figure in await work.run(client, "0")}
    assert figures == {"throughput", "ttft_p50", "ttft_p95", "gap_p50", "gap_p95", "gap_max"}
    assert client.most_running == 4
    assert len({request.token_ids for request in client.requests}) == 12
    assert {(len(request.token_ids), request.max_tokens) for request in client.requests} == {(128, 8)}
    assert {request.temperature for request in client.requests} == {1.0}
    assert (work.load.prompt_tokens, work.load.answer_tokens) == (12 * 128, 12 * 8)


def test_the_same_round_asks_the_same_and_another_round_something_else():
    work = Plain(streams=2, waves=1)
    assert work.requests("7/0") == work.requests("7/0")
    assert not {request.token_ids for request in work.requests("7/0")} & {
        request.token_ids for request in work.requests("8/0")
    }


async def test_drafts_are_on_and_off_in_turn():
    client = ScriptedClient()
    work = Drafts(pairs=3)
    figures = await work.run(client, "0")
    assert [request.drafts for request in client.requests] == [True, False, False, True, True, False]
    assert client.most_running == 1
    assert [(figure.metric, figure.role) for figure in figures] == [("throughput", None), ("throughput", OFF)]
    assert work.load.answer_tokens == sum(request.max_tokens for request in client.requests)
    assert work.load.prompt_tokens == pytest.approx(sum(len(request.token_ids) for request in client.requests))
