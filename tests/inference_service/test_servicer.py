"""The service over a real gRPC connection, on real weights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import pytest
import pytest_asyncio
from google.protobuf import json_format

from groundwire.inference.v1 import inference_pb2 as pb
from groundwire.inference.v1 import inference_pb2_grpc
from groundwire_rpc.channels import open_channel
from groundwire_rpc.server import RpcServer
from groundwire_rpc.status import from_rpc_error
from inference_service.config import InferenceConfig
from inference_service.core.generation import Generation
from inference_service.server import open_model
from inference_service.servicer import SERVICE_NAME, InferenceServicer
from tests.support.builtin_model import BUILTIN_MODEL

pytestmark = [pytest.mark.model, pytest.mark.asyncio(loop_scope="module")]

SLOTS = 2
QUEUE = 2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service() -> AsyncIterator[inference_pb2_grpc.InferenceServiceAsyncStub]:
    config = InferenceConfig(
        model=str(BUILTIN_MODEL),
        inference_slots=SLOTS,
        inference_queue=QUEUE,
        inference_context=4096,
        inference_threads=1,
        inference_gpu_layers=0,
    )
    async with AsyncExitStack() as resources:
        generation = Generation(clock=asyncio.get_running_loop().time)
        server = RpcServer("127.0.0.1:0", [SERVICE_NAME])
        servicer = InferenceServicer(generation, default_timeout_seconds=60)
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(servicer, server.grpc_server)
        address = await server.start()
        resources.push_async_callback(server.stop, 0)
        channel = await resources.enter_async_context(open_channel(address))
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as loading:
            await stub.GetModel(pb.GetModelRequest())
        assert loading.value.code() is grpc.StatusCode.UNAVAILABLE
        generation.attach(await open_model(config, resources, asyncio.Event()))
        yield stub


def request(**fields: object) -> pb.GenerateRequest:
    return json_format.ParseDict({"text": "The quick brown fox", **fields}, pb.GenerateRequest())


async def until_idle(service: inference_pb2_grpc.InferenceServiceAsyncStub) -> pb.GetStatusResponse:
    async with asyncio.timeout(20):
        while True:
            status = await service.GetStatus(pb.GetStatusRequest())
            if (status.slots_used, status.queue_length, status.kv_cells_reserved) == (0, 0, 0):
                return status
            await asyncio.sleep(0.005)


async def failure(call: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value


HELLO = {"tokenId": 15_043, "bias": 100}
"""The token that spells a space and Hello."""

GROUNDED = {
    "text": None,
    "chat": {
        "messages": [{"role": "ROLE_USER", "content": "Which port does the gateway listen on?"}],
        "documents": [
            {"title": "Weather", "host": "example.org", "text": "It rains in spring."},
            {"title": "Ports", "host": "local", "text": "The gateway listens on port 50051. It has no state."},
        ],
    },
}


def grounded(**fields: object) -> pb.GenerateRequest:
    return request(**{**GROUNDED, **fields})


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
    ask = request(maxTokens=12)
    streamed = "".join([event.delta.text async for event in service.Generate(ask)])
    gathered = await service.Complete(pb.CompleteRequest(generate=ask))
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


async def test_a_seed_is_reported_and_repeats(service):
    warm = {"temperature": 1.2, "topK": 0}
    first = await service.Complete(pb.CompleteRequest(generate=request(sampling=warm, maxTokens=12)))
    again = {**warm, "seed": first.finished.seed}
    second = await service.Complete(pb.CompleteRequest(generate=request(sampling=again, maxTokens=12)))
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


async def test_a_bad_grammar_is_the_callers_mistake(service):
    error = await failure(service.Complete(pb.CompleteRequest(generate=request(responseFormat={"gbnf": "root ::= ("}))))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in from_rpc_error(error).field_violations] == [
        "generate.response_format.gbnf"
    ]
    await until_idle(service)


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


async def test_every_offending_field_is_named_with_its_path(service):
    bad = request(text=None, maxTokens=0, stop=[""], sampling={"topP": 0})
    error = await failure(service.Complete(pb.CompleteRequest(generate=bad)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = from_rpc_error(error)
    assert status.reason == "INVALID_FIELDS"
    assert {violation.field for violation in status.field_violations} == {
        f"generate.{name}" for name in ("input", "max_tokens", "stop[0]", "sampling.top_p")
    }


async def test_a_token_outside_the_vocabulary_is_refused(service):
    ask = request(sampling={"logitBias": [{"tokenId": 40_000, "bias": 1}]})
    error = await failure(service.Complete(pb.CompleteRequest(generate=ask)))
    assert from_rpc_error(error).field_violations[0].field == "generate.sampling.logit_bias[0].token_id"


async def test_a_million_wrong_ids_are_refused_in_a_status_that_fits_the_wire(service):
    error = await failure(
        service.Complete(pb.CompleteRequest(generate=request(text=None, tokenIds={"ids": [40_000] * 10**6})))
    )
    status = from_rpc_error(error)
    assert status.code is grpc.StatusCode.INVALID_ARGUMENT
    assert status.field_violations[0].field == "generate.token_ids.ids[0]"
    assert status.field_violations[-1].description == "has 1,000,000 entries that are not below 32,064"


async def test_the_highest_seed_repeats_as_any_other(service):
    ask = request(sampling={"temperature": 2, "topK": 0, "topP": 1, "seed": 2**32 - 1}, maxTokens=12)
    first, second = [await service.Complete(pb.CompleteRequest(generate=ask)) for _ in range(2)]
    assert first.token_ids == second.token_ids
    assert first.finished.seed == 2**32 - 1


@pytest.mark.parametrize("temperature", [1e-45, 1e-38, 1e-20, 1e-5])
async def test_a_temperature_next_to_nothing_is_as_good_as_none(service, temperature):
    greedy = await service.Complete(pb.CompleteRequest(generate=request(maxTokens=8)))
    ask = request(maxTokens=8, sampling={"temperature": temperature, "topK": 0, "topP": 1})
    assert (await service.Complete(pb.CompleteRequest(generate=ask))).token_ids == greedy.token_ids


async def test_a_prompt_that_is_too_long_gives_the_counts(service):
    error = await failure(service.Complete(pb.CompleteRequest(generate=request(text="word " * 5000))))
    status = from_rpc_error(error)
    assert (status.code, status.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PROMPT_TOO_LONG")
    assert status.field_violations[0].field == "generate.text"
    assert int(status.metadata["prompt_tokens"]) > 4000
    assert status.metadata["context_length"] == "2048"
    await until_idle(service)


async def test_too_long_a_chat_is_fitted_and_said_so_or_refused_where_asked(service):
    documents = [{"title": f"T{number}", "text": "A sentence of eight words stands here. " * 60} for number in range(9)]
    chat = {**GROUNDED["chat"], "documents": documents}
    answer = await service.Complete(pb.CompleteRequest(generate=grounded(chat=chat, maxTokens=4)))
    started = answer.started
    used = {use.index for use in started.documents_used}
    assert used | set(started.documents_dropped) == set(range(1, 10))
    assert any(use.cut for use in started.documents_used)
    assert started.prompt_tokens + 4 <= 2048
    strict = grounded(chat=chat, maxTokens=4, contextPolicy="CONTEXT_POLICY_ERROR")
    error = await failure(service.Complete(pb.CompleteRequest(generate=strict)))
    assert from_rpc_error(error).reason == "PROMPT_TOO_LONG"


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


async def test_a_full_queue_refuses_at_once_with_a_time_to_come_back(service):
    calls = [service.Generate(request(maxTokens=1900, ignoreEos=True)) for _ in range(SLOTS + QUEUE)]
    for call in calls[:SLOTS]:
        await call.read()
    async with asyncio.timeout(20):
        while (await service.GetStatus(pb.GetStatusRequest())).queue_length < QUEUE:
            await asyncio.sleep(0.005)
    error = await failure(service.Complete(pb.CompleteRequest(generate=request())))
    status = from_rpc_error(error)
    assert (status.code, status.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    assert status.retry_after_seconds is not None
    assert status.retry_after_seconds >= 0.5
    assert any(key == "grpc-retry-pushback-ms" for key, _ in error.trailing_metadata())
    assert not error.initial_metadata(), "headers before a refusal would forbid gRPC's own clients to retry"
    for call in calls:
        call.cancel()
    await until_idle(service)


async def test_a_passed_deadline_stops_the_model(service):
    error = await failure(
        service.Complete(pb.CompleteRequest(generate=request(maxTokens=1900, ignoreEos=True)), timeout=0.2)
    )
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    status = await until_idle(service)
    await asyncio.sleep(0.1)
    assert (await service.GetStatus(pb.GetStatusRequest())).completion_tokens_total == status.completion_tokens_total


async def test_a_request_id_comes_back(service):
    call = service.GetModel(pb.GetModelRequest(), metadata=(("x-request-id", "mine-1"),))
    await call
    assert ("x-request-id", "mine-1") in list(await call.initial_metadata())
