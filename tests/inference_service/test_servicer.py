"""Answers of the service over a real gRPC connection, on real weights."""

from __future__ import annotations

import json

import pytest

from groundwire.inference.v1 import inference_pb2 as pb
from tests.inference_service.service_calls import SLOTS, grounded, request, until_idle

pytestmark = [pytest.mark.model, pytest.mark.asyncio(loop_scope="module")]

HELLO = {"tokenId": 15_043, "bias": 100}
"""The token that spells a space and Hello."""


async def test_a_grounded_answer_streams_in_the_promised_order(service):
    events = [event async for event in service.Generate(grounded(maxTokens=40))]
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "started"
    assert kinds[-1] == "finished"
    assert kinds.count("started") == kinds.count("finished") == 1
    assert kinds.index("delta") > max(index for index, kind in enumerate(kinds) if kind == "progress")
    started, finished = events[0].started, events[-1].finished
    assert [use.index for use in started.documents_used] == [1, 2]
    assert started.model == "groundwire-builtin"
    last_progress = [event.progress for event in events if event.WhichOneof("event") == "progress"][-1]
    assert last_progress.prompt_tokens_processed == last_progress.prompt_tokens_total == started.prompt_tokens
    tokens = [token for event in events for token in event.delta.token_ids]
    assert finished.usage.completion_tokens == len(tokens)
    assert finished.usage.prompt_tokens == started.prompt_tokens
    assert finished.reason in (pb.FINISH_REASON_STOP, pb.FINISH_REASON_MAX_TOKENS)
    assert finished.timings.time_to_first_token.ToNanoseconds() > 0
    text = "".join(event.delta.text for event in events)
    assert text
    assert not text.startswith(" ")


async def test_gathered_and_streamed_answers_are_the_same(service):
    asked = {"maxTokens": 12, "ignoreEos": True}
    streamed = "".join([event.delta.text async for event in service.Generate(request(**asked))])
    gathered = await service.Complete(pb.CompleteRequest(generate=request(**asked)))
    assert gathered.text == streamed
    assert gathered.finished.usage.completion_tokens == len(gathered.token_ids) == 12
    assert gathered.finished.reason == pb.FINISH_REASON_MAX_TOKENS


async def test_the_space_before_the_first_word_of_continued_text_is_kept(service):
    answer = await service.Complete(pb.CompleteRequest(generate=request(maxTokens=3, sampling={"logitBias": [HELLO]})))
    assert answer.text.startswith(" Hello")
    answer = await service.Complete(pb.CompleteRequest(generate=grounded(maxTokens=3, sampling={"logitBias": [HELLO]})))
    assert answer.text.startswith("Hello"), "in a chat it is the vocabulary's own"


async def test_token_ids_are_continued_as_they_are(service):
    ask = request(text=None, tokenIds={"ids": [1, 450, 4996]}, maxTokens=3)
    answer = await service.Complete(pb.CompleteRequest(generate=ask))
    assert answer.started.prompt_tokens == 3
    assert len(answer.token_ids) == 3


async def test_a_seed_is_reported_and_repeats(repeating_service):
    def ask(sampling: dict[str, object]) -> pb.CompleteRequest:
        return pb.CompleteRequest(generate=request(sampling=sampling, maxTokens=12, speculation=False))

    warm = {"temperature": 1.2, "topK": 0}
    first = await repeating_service.Complete(ask(warm))
    second = await repeating_service.Complete(ask({**warm, "seed": first.finished.seed}))
    assert second.token_ids == first.token_ids


async def test_a_stop_string_never_leaks(service):
    whole = await service.Complete(pb.CompleteRequest(generate=request(maxTokens=30)))
    stop = whole.text[5:8]
    cut = await service.Complete(pb.CompleteRequest(generate=request(maxTokens=30, stop=[stop])))
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert (cut.finished.reason, cut.finished.matched_stop) == (pb.FINISH_REASON_STOP_SEQUENCE, stop)


async def test_log_probabilities_come_for_every_token(service):
    answer = await service.Complete(pb.CompleteRequest(generate=request(maxTokens=6, logprobs=2)))
    assert [entry.chosen.token_id for entry in answer.logprobs] == list(answer.token_ids)
    assert all(len(entry.top) == 2 and entry.top[0].logprob <= 0 for entry in answer.logprobs)


async def test_a_json_schema_constrains_the_answer(service):
    schema = '{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"],"additionalProperties":false}'
    ask = request(responseFormat={"jsonSchema": schema}, maxTokens=60)
    answer = await service.Complete(pb.CompleteRequest(generate=ask))
    assert json.loads(answer.text) in ({"ok": True}, {"ok": False})


async def test_tokens_are_counted_as_they_are_rendered(service):
    chat = grounded().chat
    counted = await service.CountTokens(pb.CountTokensRequest(chat=chat))
    started = (await service.Complete(pb.CompleteRequest(generate=grounded(maxTokens=1)))).started
    assert counted.token_count == started.prompt_tokens
    assert counted.context_length == 2048
    assert (await service.CountTokens(pb.CountTokensRequest(text="Hello"))).token_count == 1


async def test_the_model_describes_itself(service):
    model = await service.GetModel(pb.GetModelRequest())
    assert (model.architecture, model.chat_family, model.vocabulary_size) == ("phi3", "phi3", 32_064)
    assert model.context_length == 2048
    assert model.parameter_count > 10**7


async def test_the_highest_seed_repeats_as_any_other(repeating_service):
    warm = {"temperature": 2, "topK": 0, "topP": 1, "seed": 2**32 - 1}
    ask = request(sampling=warm, maxTokens=12, speculation=False)
    first, second = [await repeating_service.Complete(pb.CompleteRequest(generate=ask)) for _ in range(2)]
    assert first.token_ids == second.token_ids
    assert first.finished.seed == 2**32 - 1


@pytest.mark.parametrize("temperature", [1e-45, 1e-38, 1e-20, 1e-5])
async def test_a_temperature_next_to_nothing_is_as_good_as_none(service, temperature):
    greedy = await service.Complete(pb.CompleteRequest(generate=request(maxTokens=8)))
    ask = request(maxTokens=8, sampling={"temperature": temperature, "topK": 0, "topP": 1})
    assert (await service.Complete(pb.CompleteRequest(generate=ask))).token_ids == greedy.token_ids


async def test_context_full_is_only_for_a_request_without_max_tokens(service):
    text = "word " * 1990
    ask = request(text=text, ignoreEos=True)
    answer = await service.Complete(pb.CompleteRequest(generate=ask))
    assert answer.finished.reason == pb.FINISH_REASON_CONTEXT_FULL
    assert answer.started.prompt_tokens + answer.finished.usage.completion_tokens == 2048
    limited = request(text=text, ignoreEos=True, maxTokens=5)
    answer = await service.Complete(pb.CompleteRequest(generate=limited))
    assert answer.finished.reason == pb.FINISH_REASON_MAX_TOKENS


async def test_a_cancel_frees_the_slot_and_it_is_used_at_once(service):
    calls = [service.Generate(request(maxTokens=1900, ignoreEos=True)) for _ in range(SLOTS)]
    for call in calls:
        assert (await call.read()).WhichOneof("event") == "started"
    calls[0].cancel()
    answer = await service.Complete(pb.CompleteRequest(generate=request(maxTokens=2)), timeout=5)
    assert answer.finished.usage.completion_tokens == 2
    calls[1].cancel()
    await until_idle(service)


async def test_a_question_that_is_asked_again_is_answered_from_what_is_kept(service):
    first = await service.Complete(pb.CompleteRequest(generate=grounded(maxTokens=12, cacheSalt="kept")))
    again = await service.Complete(pb.CompleteRequest(generate=grounded(maxTokens=12, cacheSalt="kept")))
    assert again.started.cached_tokens == again.finished.usage.cached_tokens == first.started.prompt_tokens - 1
    stranger = await service.Complete(pb.CompleteRequest(generate=grounded(maxTokens=12, cacheSalt="stranger")))
    assert stranger.started.cached_tokens == 0
    status = await service.GetStatus(pb.GetStatusRequest())
    assert status.cached_tokens_total >= again.started.cached_tokens
    assert 0 < status.prefix_cache_mib <= status.prefix_cache_limit_mib
    assert 0 < status.forward_seconds_total <= status.step_seconds_total


async def test_a_request_id_comes_back(service):
    call = service.GetModel(pb.GetModelRequest(), metadata=(("x-request-id", "mine-1"),))
    await call
    assert ("x-request-id", "mine-1") in list(await call.initial_metadata())
