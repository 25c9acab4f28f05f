"""The gateway's RPCs: decode, call, encode; and the one table from its errors to statuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from gateway.adapters.callers import Callers, NamedCaller
from gateway.core.admission import Admission, Holding
from gateway.core.answer import Answerer
from gateway.core.errors import (
    BackendBroken,
    BackendExhausted,
    BackendFailed,
    BackendNotSetUp,
    BackendTooSlow,
    BackendUnavailable,
    CircuitOpen,
    DeadlinePassed,
    GatewayBusy,
    ReaderTooSlow,
    RequestRefused,
)
from gateway.core.events import AnswerEvent
from gateway.core.ports import BackendProbe
from gateway.core.types import Call, Question
from gateway.stream_writer import StreamWriter
from gateway.wire import encode_event, encode_status, gather
from gateway.wire_request import decode_answer_request, decode_question
from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire_rpc.callers import CALLER_KEY
from groundwire_rpc.calls import ErrorTable, ServedCall, serving_call
from groundwire_rpc.metadata import remaining_seconds
from groundwire_rpc.status import FieldViolation, QuotaViolation, RichStatus
from groundwire_rpc.version import version

Context = grpc.aio.ServicerContext[Any, Any]
"""A call's context. Its message types do not matter here."""

SERVICE_NAME: Final = gateway_pb2.DESCRIPTOR.services_by_name["AnswerService"].full_name

PROBE_SECONDS: Final = 2.0
"""How long GetStatus waits for each service behind the gateway."""

GATEWAY_BUSY: Final = "GATEWAY_BUSY"
CALLER_BUSY: Final = "CALLER_BUSY"
READER_TOO_SLOW: Final = "READER_TOO_SLOW"

_CODES: Final[dict[type[BackendFailed], grpc.StatusCode]] = {
    RequestRefused: grpc.StatusCode.INVALID_ARGUMENT,
    BackendNotSetUp: grpc.StatusCode.FAILED_PRECONDITION,
    BackendExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    BackendUnavailable: grpc.StatusCode.UNAVAILABLE,
    BackendTooSlow: grpc.StatusCode.DEADLINE_EXCEEDED,
    CircuitOpen: grpc.StatusCode.UNAVAILABLE,
}


def error_status(error: Exception, *, prefix: str = "") -> RichStatus | None:
    """The status of one of the gateway's errors; `prefix` stands before each field's name. None: not one of them."""
    if isinstance(error, (DeadlinePassed, TimeoutError)):
        return RichStatus(grpc.StatusCode.DEADLINE_EXCEEDED, str(DeadlinePassed()), reason="DEADLINE_EXCEEDED")
    if isinstance(error, ReaderTooSlow):
        limit = {"limit": "stream_stall_seconds", "value": f"{error.limit_seconds:g}"}
        return RichStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), reason=READER_TOO_SLOW, metadata=limit)
    if isinstance(error, GatewayBusy):
        return _busy(error)
    if not isinstance(error, BackendFailed):
        return None
    code = grpc.StatusCode[error.code_name] if isinstance(error, BackendBroken) else _CODES[type(error)]
    return RichStatus(
        code,
        str(error),
        reason=error.reason or code.name,
        metadata={**error.metadata, "service": error.service},
        field_violations=[FieldViolation(prefix + field, description) for field, description in error.violations],
        quota_violations=[QuotaViolation(subject, description) for subject, description in error.exhausted_quotas],
        retry_after_seconds=error.retry_after_seconds,
    )


def _busy(error: GatewayBusy) -> RichStatus:
    return RichStatus(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        str(error),
        reason=CALLER_BUSY if error.of_caller else GATEWAY_BUSY,
        metadata={"limit": error.limit_name, "value": str(error.limit)},
        retry_after_seconds=error.retry_after_seconds,
    )


def ask_error_status(error: Exception) -> RichStatus | None:
    """The same, where the question is inside the field `ask`."""
    return error_status(error, prefix="ask.")


@dataclass(frozen=True, slots=True)
class _AdmittedCall:
    """A call that has a place."""

    call: ServedCall
    holding: Holding
    caller: NamedCaller


class AnswerServicer(gateway_pb2_grpc.AnswerServiceServicer):
    """AnswerService on an Answerer."""

    def __init__(
        self,
        answerer: Answerer,
        probes: Sequence[BackendProbe],
        *,
        admission: Admission,
        callers: Callers,
        default_timeout_seconds: float,
        max_request_bytes: int,
        max_stall_seconds: float,
    ) -> None:
        """`default_timeout_seconds` is the deadline of a question whose caller set none.

        `max_stall_seconds` is how long a streamed answer waits for its reader, in all.
        """
        self._max_stall_seconds = max_stall_seconds
        self._answerer = answerer
        self._probes = probes
        self._admission = admission
        self._callers = callers
        self._default_timeout_seconds = default_timeout_seconds
        self._max_request_bytes = max_request_bytes

    # A coroutine that writes, not a generator: so all of it runs in one task, a deadline can be held over a write to a
    # slow reader, and a cancellation arrives as one wherever the call stands.
    async def Ask(  # type: ignore[override]  # grpc.aio takes both; the generated type knows generators only
        self, request: gateway_pb2.AskRequest, context: Context
    ) -> None:
        """Stream one answer."""
        async with self._admitted("Ask", request, context, error_status) as admitted:
            seconds = remaining_seconds(context, self._default_timeout_seconds)
            writer = StreamWriter(context, max_stall_seconds=self._max_stall_seconds)
            question = decode_question(request, max_request_bytes=self._max_request_bytes)
            async with asyncio.timeout(seconds), aclosing(self._answer(question, seconds, admitted)) as events:
                async for event in events:
                    message = encode_event(event)
                    admitted.holding.take(message.ByteSize())
                    await admitted.call.send_headers()
                    await writer.write(message)

    async def Answer(self, request: gateway_pb2.AnswerRequest, context: Context) -> gateway_pb2.AnswerResponse:
        """Answer in one message."""
        async with self._admitted("Answer", request, context, ask_error_status) as admitted:
            seconds = remaining_seconds(context, self._default_timeout_seconds)
            question = decode_answer_request(request, max_request_bytes=self._max_request_bytes)
            gathered = []
            async with asyncio.timeout(seconds), aclosing(self._answer(question, seconds, admitted)) as events:
                async for event in events:
                    admitted.holding.take(encode_event(event).ByteSize())
                    gathered.append(event)
            return gather(gathered)

    async def GetStatus(self, request: gateway_pb2.GetStatusRequest, context: Context) -> gateway_pb2.GetStatusResponse:
        """How the services behind are, all asked at once."""
        async with serving_call("GetStatus", context, error_status):
            seconds = min(PROBE_SECONDS, remaining_seconds(context, PROBE_SECONDS))
            backends = await asyncio.gather(*(probe.probe(timeout_seconds=seconds) for probe in self._probes))
            return encode_status(version(), backends, self._answerer.running, self._admission)

    @asynccontextmanager
    async def _admitted(
        self, rpc: str, request: Message, context: Context, table: ErrorTable
    ) -> AsyncIterator[_AdmittedCall]:
        """Serve a call with a place for its answer. Its bytes are held until its reader has taken the status too."""
        caller = self._callers.named(context)
        with self._admission.holding(caller.name) as holding:
            async with serving_call(rpc, context, table) as call:
                with holding.answering(request.ByteSize()):
                    yield _AdmittedCall(call, holding, caller)

    def _answer(self, question: Question, seconds: float, admitted: _AdmittedCall) -> AsyncGenerator[AnswerEvent, None]:
        caller = admitted.caller
        call = Call(
            deadline=time.monotonic() + seconds,
            metadata=(*admitted.call.metadata.outgoing(), (CALLER_KEY, caller.name)),
            cache_salt=caller.cache_salt,
        )
        return self._answerer.answer(question, call)
