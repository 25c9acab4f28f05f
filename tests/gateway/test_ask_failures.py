"""Ask and Answer over real servers: services behind the gateway that fail, refuse or are not there."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest

from groundwire.gateway.v1 import gateway_pb2
from groundwire_rpc.status import FieldViolation, QuotaViolation, RichStatus, from_rpc_error, invalid_fields
from tests.support.fake_services import (
    FakeInference,
    FakeSearch,
    answer_script,
    delta,
    finished,
    serving,
    started,
)
from tests.support.wired_gateway import BUSY, DOWN, QUESTION, TWO_SOURCES, kinds, unused_target, wired


async def test_a_search_that_fails_gives_its_status_and_names_the_service() -> None:
    refusal = RichStatus(
        grpc.StatusCode.FAILED_PRECONDITION,
        "Set BRAVE_API_KEY.",
        reason="PROVIDER_NOT_SET_UP",
        metadata={"setting": "BRAVE_API_KEY"},
    )
    async with wired(search=[[refusal]]) as gateway:
        status = await gateway.refused()
        generations = gateway.inference.calls
    assert generations == []
    assert (status.code, status.message) == (grpc.StatusCode.FAILED_PRECONDITION, "Set BRAVE_API_KEY.")
    assert status.reason == "PROVIDER_NOT_SET_UP"
    assert status.metadata == {"setting": "BRAVE_API_KEY", "service": "search"}


async def test_quota_and_retry_delay_of_a_search_come_through_and_it_is_not_tried_again() -> None:
    refusal = RichStatus(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "The month's quota is spent.",
        reason="QUOTA_EXHAUSTED",
        quota_violations=[QuotaViolation("brave:month", "15,000 calls")],
        retry_after_seconds=0.05,
    )
    async with wired(search=[[refusal]]) as gateway:
        status = await gateway.refused()
        searches = len(gateway.search.calls)
    assert searches == 1
    assert status.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert list(status.quota_violations) == [QuotaViolation("brave:month", "15,000 calls")]
    assert status.retry_after_seconds == pytest.approx(0.05)


async def test_fields_that_the_search_refuses_are_named_as_the_caller_knows_them() -> None:
    refusal = invalid_fields([FieldViolation("query", "is too long"), FieldViolation("country", "XX is unknown")])
    async with wired(search=[[refusal]]) as gateway:
        status = await gateway.refused()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.stub.Answer(gateway_pb2.AnswerRequest(ask=QUESTION), timeout=5)
    assert status.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in status.field_violations] == ["question", "country"]
    assert "question: is too long" in status.message
    assert "query" not in status.message
    nested = from_rpc_error(caught.value).field_violations
    assert [violation.field for violation in nested] == ["ask.question", "ask.country"]


async def test_fields_that_the_inference_refuses_are_named_as_the_caller_knows_them() -> None:
    refusal = invalid_fields(
        [
            FieldViolation("chat", "takes 9,000 tokens"),
            FieldViolation("response_format.json_schema", "is no schema"),
            FieldViolation("chat.documents[0].text", "is empty"),
            FieldViolation("chat.messages[0].content", "is empty"),
            FieldViolation("sampling.top_p", "is 0"),
        ]
    )
    async with wired(inference=[[refusal]]) as gateway:
        status = await gateway.refused()
        attempts = len(gateway.inference.calls)
    assert attempts == 1
    assert status.metadata["service"] == "inference"
    fields = [violation.field for violation in status.field_violations]
    assert fields == ["question", "response_format.json_schema", "max_sources", "question", "top_p"]


@pytest.mark.parametrize("failure", [BUSY, DOWN])
async def test_after_the_first_delta_the_stream_ends_with_the_status(failure: RichStatus) -> None:
    async with wired(inference=[[started(1), delta("Vien"), failure], answer_script("never")]) as gateway:
        received: list[gateway_pb2.AskResponse] = []

        async def read() -> None:
            async for event in gateway.stub.Ask(QUESTION, timeout=5):
                received.append(event)  # noqa: PERF401 - what came before the error is kept

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read()
        attempts = len(gateway.inference.calls)
    status = from_rpc_error(caught.value)
    assert attempts == 1
    assert kinds(received) == ["progress", "sources", "context", "delta"]
    assert (status.code, status.reason) == (failure.code, failure.reason)
    assert status.metadata["service"] == "inference"


async def test_a_stream_that_ends_without_its_last_event_is_an_error() -> None:
    async with wired(inference=[[started(1), delta("Vien")]]) as gateway:
        status = await gateway.refused()
    assert (status.code, status.reason) == (grpc.StatusCode.UNAVAILABLE, "BACKEND_BROKE_OFF")
    assert status.metadata["service"] == "inference"


@pytest.mark.parametrize("script", [[delta("early"), finished()], [finished()]])
async def test_an_answer_against_the_contract_is_an_internal_error(script: list[object]) -> None:
    async with wired(inference=[script]) as gateway:
        status = await gateway.refused()
    assert (status.code, status.reason) == (grpc.StatusCode.INTERNAL, "BACKEND_MISBEHAVED")


async def test_any_other_status_of_a_service_comes_through() -> None:
    refusal = RichStatus(grpc.StatusCode.PERMISSION_DENIED, "Not for you.", reason="FORBIDDEN")
    async with wired(search=[[refusal]]) as gateway:
        status = await gateway.refused()
    assert (status.code, status.reason) == (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")


@pytest.mark.parametrize("service", ["search", "inference"])
async def test_a_service_that_is_not_there_is_named_quickly_with_what_to_do(service: str) -> None:
    target = unused_target()
    async with wired(**{f"{service}_target": target}) as gateway:
        begun = time.monotonic()
        status = await gateway.refused(timeout=60)
    assert time.monotonic() - begun < 30
    assert (status.code, status.reason) == (grpc.StatusCode.UNAVAILABLE, "BACKEND_UNREACHABLE")
    assert status.metadata == {"service": service, "target": target}
    assert target in status.message
    assert f"groundwire serve {service}" in status.message


async def test_a_service_that_comes_up_late_is_used_soon() -> None:
    target = unused_target()
    async with wired(inference_target=target) as gateway:
        assert (await gateway.refused()).code is grpc.StatusCode.UNAVAILABLE
        async with serving(FakeInference(answer_script("Vienna [1].")), listen=target), asyncio.timeout(20):
            # Channels try to connect again within 2 s; questions in between are refused at once.
            while True:
                try:
                    events = await gateway.ask()
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)
    assert events[-1].finished.outcome == gateway_pb2.OUTCOME_ANSWERED


async def test_a_wrong_server_at_the_target_is_explained() -> None:
    async with serving(FakeSearch([TWO_SOURCES])) as elsewhere, wired(inference_target=elsewhere) as gateway:
        status = await gateway.refused()
        state = await gateway.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=5)
    assert (status.code, status.reason) == (grpc.StatusCode.UNIMPLEMENTED, "BACKEND_MISTAKEN")
    assert f"At {elsewhere} there is no inference service." in status.message
    assert state.backends[1].state == gateway_pb2.BACKEND_STATE_NOT_SERVING
    assert "is not the inference service" in state.backends[1].detail
