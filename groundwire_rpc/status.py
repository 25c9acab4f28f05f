"""Rich gRPC statuses: one value to describe a failure, and the way to and from the wire.

The details are google.rpc messages, as in https://google.aip.dev/193: ErrorInfo always (a machine-readable reason),
and BadRequest, RetryInfo or QuotaFailure where they apply.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NoReturn

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

ERROR_DOMAIN: Final = "groundwire"
"""ErrorInfo.domain of every error that a Groundwire service makes itself."""

PUSHBACK_TRAILER: Final = "grpc-retry-pushback-ms"
"""gRPC's own clients obey this trailer and ignore RetryInfo (gRFC A6), so both are sent."""


MAX_MESSAGE_BYTES: Final = 768
MAX_VIOLATION_BYTES: Final = 2_000
"""Of a status's message and of its field violations, in UTF-8. A client built on gRPC's C core drops trailers beyond
8 KiB and reports RESOURCE_EXHAUSTED instead. The message is in them twice, once percent-encoded, and the details are in
base64."""

MORE_FIELDS: Final = "*"
"""The field of the last violation where there are more than fit."""

_CUT: Final = " …"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One offending field of a request."""

    field: str
    """Path of the field, such as `sources[2].title`."""
    description: str
    """What is wrong with it, with the limit."""


@dataclass(frozen=True, slots=True)
class QuotaViolation:
    """One exhausted quota."""

    subject: str
    """What the quota belongs to, such as `brave:month`."""
    description: str
    """What was exceeded and when it is whole again."""


@dataclass(frozen=True, slots=True)
class RichStatus:
    """A failed call, as the caller will see it."""

    code: grpc.StatusCode
    message: str
    """One or two sentences for a person. Never a secret, never an internal."""
    reason: str = ""
    """ErrorInfo.reason: a constant in UPPER_SNAKE_CASE that programs can switch on."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """ErrorInfo.metadata."""
    field_violations: Sequence[FieldViolation] = ()
    quota_violations: Sequence[QuotaViolation] = ()
    retry_after_seconds: float | None = None
    """When to try again, at least 0. Sent as RetryInfo and as the pushback trailer."""


def invalid_fields(violations: Sequence[FieldViolation]) -> RichStatus:
    """INVALID_ARGUMENT that names every offending field, in its message too, for clients that show no details."""
    listed = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
    return RichStatus(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"The request is not valid. {listed}",
        reason="INVALID_FIELDS",
        field_violations=tuple(violations),
    )


INTERNAL: Final = RichStatus(
    grpc.StatusCode.INTERNAL, "An internal error occurred. The server's log has the details.", reason="INTERNAL"
)
"""What a caller sees of an error that nobody expected."""


class _GrpcStatus(grpc.Status):
    """What `context.abort_with_status` takes."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing_metadata: tuple[tuple[str, str | bytes], ...]):
        self.code = code
        self.details = details
        self.trailing_metadata = trailing_metadata


def _bounded(status: RichStatus) -> RichStatus:
    """The status cut down to what a client takes; the last violation then counts those left out."""
    message = status.message
    if len(message.encode()) > MAX_MESSAGE_BYTES:
        message = message.encode()[: MAX_MESSAGE_BYTES - len(_CUT.encode())].decode(errors="ignore") + _CUT
    kept: list[FieldViolation] = []
    size = 0
    for violation in status.field_violations:
        size += len(violation.field.encode()) + len(violation.description.encode())
        if size > MAX_VIOLATION_BYTES:
            left_out = len(status.field_violations) - len(kept)
            kept.append(FieldViolation(MORE_FIELDS, f"{left_out:,} more fields are not valid"))
            break
        kept.append(violation)
    return replace(status, message=message, field_violations=kept)


def to_grpc(status: RichStatus) -> grpc.Status:
    """The status with its details packed into trailing metadata, within what clients take of it."""
    status = _bounded(status)
    details: list[Any] = []
    if status.reason:
        details.append(
            error_details_pb2.ErrorInfo(reason=status.reason, domain=ERROR_DOMAIN, metadata=dict(status.metadata))
        )
    if status.field_violations:
        bad_request = error_details_pb2.BadRequest()
        for violation in status.field_violations:
            bad_request.field_violations.add(field=violation.field, description=violation.description)
        details.append(bad_request)
    if status.quota_violations:
        failure = error_details_pb2.QuotaFailure()
        for quota in status.quota_violations:
            failure.violations.add(subject=quota.subject, description=quota.description)
        details.append(failure)
    if status.retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(status.retry_after_seconds * 1e9))
        details.append(retry)
    packed = []
    for detail in details:
        wrapped = any_pb2.Any()
        wrapped.Pack(detail)
        packed.append(wrapped)
    # to_status() fills in the grpc-status-details-bin trailer.
    converted = rpc_status.to_status(
        status_pb2.Status(code=status.code.value[0], message=status.message, details=packed)
    )
    trailers: list[tuple[str, str | bytes]] = list(converted.trailing_metadata)
    if status.retry_after_seconds is not None:
        trailers.append((PUSHBACK_TRAILER, str(math.ceil(status.retry_after_seconds * 1000))))
    return _GrpcStatus(status.code, status.message, tuple(trailers))


async def abort(
    context: grpc.aio.ServicerContext[Any, Any], status: RichStatus, trailers: tuple[tuple[str, str], ...] = ()
) -> NoReturn:
    """End the call with this status, and `trailers` beside it. Raises grpc.aio.AbortError, to be let through."""
    grpc_status = to_grpc(status)
    await context.abort(grpc_status.code, grpc_status.details, (*(grpc_status.trailing_metadata or ()), *trailers))
    raise AssertionError("abort always raises")


def from_rpc_error(error: grpc.aio.AioRpcError) -> RichStatus:
    """What a failed call to another service says, its details included. Details that do not parse are left out."""
    status = RichStatus(error.code(), error.details() or "")
    pushback = _pushback_seconds(error)
    if pushback is not None:
        status = replace(status, retry_after_seconds=pushback)
    try:
        wire = rpc_status.from_call(error)  # type: ignore[arg-type]  # AioRpcError has the methods it calls
    except (ValueError, DecodeError):  # the details contradict the status, or are no details: trust the status
        return status
    if wire is None:
        return status
    for packed in wire.details:
        status = _with_detail(status, packed)
    return status


def _with_detail(status: RichStatus, packed: any_pb2.Any) -> RichStatus:
    error_info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    quota_failure = error_details_pb2.QuotaFailure()
    retry_info = error_details_pb2.RetryInfo()
    if packed.Unpack(error_info):
        return replace(status, reason=error_info.reason, metadata=dict(error_info.metadata))
    if packed.Unpack(bad_request):
        violations = tuple(FieldViolation(v.field, v.description) for v in bad_request.field_violations)
        return replace(status, field_violations=violations)
    if packed.Unpack(quota_failure):
        quotas = tuple(QuotaViolation(v.subject, v.description) for v in quota_failure.violations)
        return replace(status, quota_violations=quotas)
    if packed.Unpack(retry_info):
        return replace(status, retry_after_seconds=max(0.0, retry_info.retry_delay.ToNanoseconds() / 1e9))
    return status


def _pushback_seconds(error: grpc.aio.AioRpcError) -> float | None:
    for key, value in error.trailing_metadata() or ():
        if key == PUSHBACK_TRAILER:
            try:
                return max(0, int(value)) / 1000
            except ValueError:
                return None
    return None
