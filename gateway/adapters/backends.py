"""The services behind the gateway, and how their failures are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import grpc

from gateway.core.errors import (
    BackendBroken,
    BackendExhausted,
    BackendFailed,
    BackendNotSetUp,
    BackendTooSlow,
    BackendUnavailable,
    RequestRefused,
)
from groundwire_rpc.status import RichStatus, from_rpc_error
from groundwire_rpc.tls import closed_at_once, tls_problem

FieldMap = Callable[[str], str]
"""From a field of the service's request to the field of the question that it came from."""

_KINDS: Final[dict[grpc.StatusCode, type[BackendFailed]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: RequestRefused,
    grpc.StatusCode.FAILED_PRECONDITION: BackendNotSetUp,
    # It does not know the gateway. Told as it is, a caller would look for the fault in their own key.
    grpc.StatusCode.UNAUTHENTICATED: BackendNotSetUp,
    grpc.StatusCode.RESOURCE_EXHAUSTED: BackendExhausted,
    grpc.StatusCode.UNAVAILABLE: BackendUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: BackendTooSlow,
    # It was not this side that cancelled: a server that stops ends its calls so.
    grpc.StatusCode.CANCELLED: BackendUnavailable,
}


@dataclass(frozen=True, slots=True)
class Backend:
    """One service behind the gateway."""

    name: str
    """search or inference: as in `groundwire serve NAME` and in ErrorInfo's metadata."""
    target: str
    """The gRPC target that it is reached at."""
    grpc_service: str
    """Its full name in its contract and in grpc.health.v1."""

    @property
    def how_to_reach(self) -> str:
        """A sentence for one who finds it missing."""
        return (
            f"Start it with `groundwire serve {self.name}` (or all services with `groundwire up`), or point "
            f"GROUNDWIRE_{self.name.upper()}_TARGET to where it runs."
        )

    def distrust(self, details: str) -> str | None:
        """A sentence for one who finds that it and the gateway do not agree on TLS. None where they do."""
        prefix = f"GROUNDWIRE_{self.name.upper()}_TLS"
        if problem := tls_problem(details):
            return f"What answers at {self.target} {problem}. {prefix}_CA says which certificates the gateway accepts."
        if closed_at_once(details):
            return (
                f"What answers at {self.target} closed the connection at once. If it speaks TLS, set {prefix}_CA; "
                "if it asks for a certificate that it trusts, set GROUNDWIRE_CLIENT_TLS_CERTIFICATE and its _KEY."
            )
        return None

    def failed(self, error: grpc.aio.AioRpcError, *, map_field: FieldMap, answered: bool = False) -> BackendFailed:
        """The failure of a call. `answered`: a message of it had come before."""
        status = from_rpc_error(error)
        kind = _KINDS.get(status.code, BackendBroken)
        violations = tuple((map_field(each.field), each.description) for each in status.field_violations)
        message = status.message or f"The {self.name} service failed without a message."
        metadata = dict(status.metadata)
        if violations:
            message = "The request is not valid. " + "; ".join(f"{field}: {text}" for field, text in violations)
        reason = status.reason
        if not reason and kind is not RequestRefused:  # the transport speaks, not the service
            message, reason = self._explain(status, answered)
            metadata["target"] = self.target
        return kind(
            self.name,
            message,
            reason=reason,
            metadata=metadata,
            retry_after_seconds=status.retry_after_seconds,
            violations=violations,
            exhausted_quotas=[(quota.subject, quota.description) for quota in status.quota_violations],
            code_name=status.code.name,
        )

    def broke_off(self, *, answered: bool) -> BackendUnavailable:
        """Its stream ended without its last event."""
        when = "before the answer was whole" if answered else "before it began to answer"
        return BackendUnavailable(
            self.name,
            f"The {self.name} service at {self.target} ended its stream {when}.",
            reason="BACKEND_BROKE_OFF",
            metadata={"target": self.target},
        )

    def misbehaved(self, what: str) -> BackendBroken:
        """It answered against its contract."""
        return BackendBroken(
            self.name,
            f"The {self.name} service at {self.target} answered against its contract: {what}. Do both services run the "
            "same version?",
            reason="BACKEND_MISBEHAVED",
            metadata={"target": self.target},
            code_name=grpc.StatusCode.INTERNAL.name,
        )

    def _explain(self, status: RichStatus, answered: bool) -> tuple[str, str]:
        where = f"The {self.name} service at {self.target}"
        match status.code:
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED if answered:
                return f"{where} was lost before the answer was whole.", "BACKEND_LOST"
            case grpc.StatusCode.UNAVAILABLE if problem := self.distrust(status.message):
                return problem, "BACKEND_UNTRUSTED"
            case grpc.StatusCode.UNAVAILABLE:
                return f"{where} cannot be reached. {self.how_to_reach}", "BACKEND_UNREACHABLE"
            case grpc.StatusCode.CANCELLED:
                return f"{where} ended the call; it may be stopping.", "BACKEND_LOST"
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return f"{where} did not answer in time.", "BACKEND_TOO_SLOW"
            case grpc.StatusCode.UNIMPLEMENTED:
                return f"At {self.target} there is no {self.name} service. {self.how_to_reach}", "BACKEND_MISTAKEN"
        return f"{where} failed: {status.message}" if status.message else f"{where} failed.", "BACKEND_FAILED"
