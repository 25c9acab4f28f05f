"""The RPCs: decode, call, encode; and the one table from domain errors to statuses."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial

import grpc

from groundwire.inference.v1 import inference_pb2 as pb
from groundwire.inference.v1 import inference_pb2_grpc
from groundwire_rpc.callers import caller_of
from groundwire_rpc.calls import serving_call
from groundwire_rpc.metadata import remaining_seconds
from groundwire_rpc.slow_readers import ReaderWatch
from groundwire_rpc.status import FieldViolation, RichStatus, invalid_fields
from groundwire_rpc.version import version
from inference_service import wire
from inference_service.core.errors import (
    CallerQueueFull,
    DeadlinePassed,
    DeadlineTooShort,
    EngineFailed,
    EngineStuck,
    EngineUnavailable,
    InvalidRequest,
    Overloaded,
    PromptTooLong,
    QueueFull,
    QueueTooSlow,
    ReaderTooSlow,
)
from inference_service.core.generation import Generation

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["InferenceService"].full_name

_OVERLOADED: dict[type[Overloaded], str] = {
    QueueFull: "QUEUE_FULL",
    CallerQueueFull: "CALLER_QUEUE_FULL",
    QueueTooSlow: "QUEUE_TOO_SLOW",
}


def error_status(error: Exception, prefix: str = "") -> RichStatus | None:
    """The status that a domain error becomes. None: not one of this service's errors, or a fault of its own.

    `prefix` stands before every field's name, for a request inside another message.
    """
    match error:
        case PromptTooLong():
            status = _invalid(error, prefix)
            counts = {
                "prompt_tokens": str(error.prompt_tokens),
                "max_tokens": str(error.max_tokens),
                "context_length": str(error.context_length),
            }
            return RichStatus(
                status.code, status.message, "PROMPT_TOO_LONG", counts, field_violations=status.field_violations
            )
        case InvalidRequest():
            return _invalid(error, prefix)
        case Overloaded():
            return RichStatus(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                str(error),
                _OVERLOADED[type(error)],
                _limit(error.limit_name, error.limit),
                retry_after_seconds=error.retry_after_seconds,
            )
        case ReaderTooSlow():
            return _reader_too_slow(error)
        case DeadlineTooShort():
            return RichStatus(grpc.StatusCode.DEADLINE_EXCEEDED, str(error), "DEADLINE_TOO_SHORT")
        case DeadlinePassed():
            return RichStatus(grpc.StatusCode.DEADLINE_EXCEEDED, str(error), "DEADLINE_PASSED")
        case EngineStuck():
            return RichStatus(grpc.StatusCode.UNAVAILABLE, str(error), "ENGINE_STUCK")
        case EngineFailed():
            return RichStatus(grpc.StatusCode.UNAVAILABLE, str(error), "ENGINE_FAILED")
        case EngineUnavailable():
            return RichStatus(grpc.StatusCode.UNAVAILABLE, str(error), "ENGINE_UNAVAILABLE")
    return None


def _reader_too_slow(error: ReaderTooSlow) -> RichStatus:
    limit = _limit(error.limit_name, error.limit)
    return RichStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), "READER_TOO_SLOW", limit)


def _limit(name: str, value: float) -> dict[str, str]:
    return {"limit": name, "value": f"{value:.3f}".rstrip("0").rstrip(".")}


def _invalid(error: InvalidRequest, prefix: str) -> RichStatus:
    return invalid_fields([FieldViolation(prefix + field, description) for field, description in error.violations])


class InferenceServicer(inference_pb2_grpc.InferenceServiceServicer):
    """groundwire.inference.v1.InferenceService."""

    def __init__(self, generation: Generation, *, default_timeout_seconds: float, stall_seconds: float) -> None:
        """The timeout holds for callers that set no deadline. A stream ends whose client takes nothing for
        `stall_seconds`.
        """
        self._generation = generation
        self._default_timeout_seconds = default_timeout_seconds
        self._stall_seconds = stall_seconds
        self._stalled = _reader_too_slow(
            ReaderTooSlow(
                f"The client took nothing of its answer for {stall_seconds:g} s.",
                limit_name="stream_stall_seconds",
                limit=stall_seconds,
            )
        )

    async def Generate(
        self, request: pb.GenerateRequest, context: grpc.aio.ServicerContext[pb.GenerateRequest, pb.GenerateResponse]
    ) -> AsyncIterator[pb.GenerateResponse]:
        """Stream one answer."""
        async with (
            serving_call("Generate", context, error_status) as call,
            aclosing(self._events(request, context)) as events,
        ):
            reader = ReaderWatch(call, context, seconds=self._stall_seconds, status=self._stalled)
            async for message in events:
                await call.send_headers()
                with reader.writing():
                    yield message

    async def Complete(
        self, request: pb.CompleteRequest, context: grpc.aio.ServicerContext[pb.CompleteRequest, pb.CompleteResponse]
    ) -> pb.CompleteResponse:
        """Gather one answer."""
        response = pb.CompleteResponse()
        prefix = "generate."
        async with serving_call("Complete", context, partial(error_status, prefix=prefix)):
            async for message in self._events(request.generate, context, prefix):
                wire.gather(response, message)
        return response

    async def CountTokens(
        self,
        request: pb.CountTokensRequest,
        context: grpc.aio.ServicerContext[pb.CountTokensRequest, pb.CountTokensResponse],
    ) -> pb.CountTokensResponse:
        """Count prompt tokens."""
        response = pb.CountTokensResponse()
        async with serving_call("CountTokens", context, error_status):
            response.token_count = await self._generation.count_tokens(
                wire.count_input(request), timeout_seconds=remaining_seconds(context, self._default_timeout_seconds)
            )
            response.context_length = self._generation.info.context_length
        return response

    async def GetModel(
        self, request: pb.GetModelRequest, context: grpc.aio.ServicerContext[pb.GetModelRequest, pb.GetModelResponse]
    ) -> pb.GetModelResponse:
        """Describe the loaded model."""
        async with serving_call("GetModel", context, error_status):
            return wire.model_response(self._generation.info)

    async def GetStatus(
        self, request: pb.GetStatusRequest, context: grpc.aio.ServicerContext[pb.GetStatusRequest, pb.GetStatusResponse]
    ) -> pb.GetStatusResponse:
        """Tell how busy the engine is."""
        async with serving_call("GetStatus", context, error_status):
            generation = self._generation
            return wire.status_response(generation.status, model=generation.info.name, version=version())

    async def _events(
        self,
        request: pb.GenerateRequest,
        context: grpc.aio.ServicerContext[pb.GenerateRequest, pb.GenerateResponse]
        | grpc.aio.ServicerContext[pb.CompleteRequest, pb.CompleteResponse],
        prefix: str = "",
    ) -> AsyncGenerator[pb.GenerateResponse]:
        model = self._generation.info.name
        timeout_seconds = remaining_seconds(context, self._default_timeout_seconds)
        generated = self._generation.generate(
            wire.generate_request(request, prefix), timeout_seconds=timeout_seconds, caller=caller_of(context)
        )
        async with aclosing(generated) as events:
            async for event in events:
                yield wire.event(event, model)
