"""Grounded work: it measures copying only where the answers do copy."""

from __future__ import annotations

import pytest

from benchmarks.engine.prompts import GroundedPrompts
from benchmarks.engine.requests import Request
from benchmarks.engine.works.grounded import Grounded, NothingCopied
from tests.benchmarks.engine.scripted_client import ScriptedClient


@pytest.fixture(scope="module")
def prompts() -> GroundedPrompts:
    return GroundedPrompts.load()


def quoting(prompts: GroundedPrompts, *seeds: tuple[object, ...]):
    known = {(prompt := prompts.prompt(*seed)).token_ids: prompt.quoted for seed in seeds}

    def answer(request: Request) -> tuple[int, ...]:
        return known[request.token_ids][: request.max_tokens]

    return answer


async def test_each_wave_is_asked_again(prompts):
    client = ScriptedClient(quoting(prompts, ("0", 1, 0, 0), ("0", 1, 1, 0)), accepted=3)
    work = Grounded(prompts, streams=1, waves=2, copies=True, drafts=True)
    figures = {figure.metric: figure.value for figure in await work.run(client, "0")}
    first, again, second, second_again = client.requests
    assert first == again
    assert second == second_again
    assert first.token_ids != second.token_ids
    assert {request.max_tokens for request in client.requests} == {96}
    assert {request.temperature for request in client.requests} == {0.0}
    assert {"throughput", "generation_rate", "again_ttft"} < set(figures)
    assert figures["accepted_share"] == 3 / 96


async def test_a_trial_asks_once_and_less(prompts):
    client = ScriptedClient()
    work = Grounded(prompts, streams=2, waves=1, sources=2, asked_again=False)
    figures = {figure.metric for figure in await work.run(client, "0")}
    assert "again_ttft" not in figures
    assert len(client.requests) == 2
    assert work.load.prompt_tokens == pytest.approx(sum(len(asked.token_ids) for asked in client.requests), rel=0.1)


async def test_an_answer_that_does_not_quote_is_no_measurement(prompts):
    with pytest.raises(NothingCopied, match="of 96 tokens"):
        await Grounded(prompts, streams=1, waves=1, copies=True).run(ScriptedClient(), "0")


async def test_neither_is_one_without_an_accepted_draft_where_drafts_are_measured(prompts):
    client = ScriptedClient(quoting(prompts, ("0", 1, 0, 0)))
    with pytest.raises(NothingCopied, match="no draft"):
        await Grounded(prompts, streams=1, waves=1, copies=True, drafts=True).run(client, "0")
