"""Refusals of the service over a real gRPC connection, on real weights."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from groundwire.inference.v1 import inference_pb2 as pb
from groundwire_rpc.status import from_rpc_error
from inference_service.core.errors import DeadlineTooShort
from inference_service.servicer import error_status
from tests.inference_service.service_calls import GROUNDED, QUEUE, SLOTS, failure, grounded, request, until_idle

pytestmark = [pytest.mark.model, pytest.mark.asyncio(loop_scope="module")]


async def test_a_bad_grammar_is_the_callers_mistake(service):
    error = await failure(service.Complete(pb.CompleteRequest(generate=request(responseFormat={"gbnf": "root ::= ("}))))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in from_rpc_error(error).field_violations] == [
        "generate.response_format.gbnf"
    ]
    await until_idle(service)


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


async def test_a_full_queue_refuses_at_once_with_a_time_to_come_back(service):
    # Without drafts: what repeats itself would else be said before the queue is seen full.
    endless = {"maxTokens": 1900, "ignoreEos": True, "speculation": False}
    calls = [service.Generate(request(**endless)) for _ in range(SLOTS + QUEUE)]
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


async def test_a_deadline_that_cannot_be_kept_is_refused_with_its_own_reason():
    status = error_status(DeadlineTooShort("reading takes longer"))
    assert status is not None
    assert (status.code, status.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_TOO_SHORT")
    assert "reading takes longer" in status.message
