"""What a service tells of itself while it runs: traces and metrics, each only where a setting asks for it.

Where nothing asks, nothing is imported and nothing runs but a look at a context variable for each call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import grpc
from google.protobuf import descriptor_pool

from groundwire_rpc.tracing import Tracer

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

OTHER_METHOD: Final = "_OTHER"
"""What stands for a method that the server does not have, as in the semantic conventions."""


class CallMetrics(Protocol):
    """Counts RPCs."""

    def served(self, method: str, code: str, seconds: float, reason: str = "") -> None:
        """An RPC was served. `reason` is its error's; empty where it had none."""

    def made(self, method: str, code: str, seconds: float) -> None:
        """An RPC to another service has ended."""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Where a service tells what happens. None: nobody wants to know."""

    tracer: Tracer | None = None
    calls: CallMetrics | None = None
    registry: CollectorRegistry | None = None
    """For metrics of the service's own."""

    @property
    def is_on(self) -> bool:
        """Whether there is anyone to tell."""
        return self.tracer is not None or self.calls is not None


OFF: Final = Telemetry()


@dataclass(frozen=True, slots=True)
class WatchedCall:
    """What is known of a call before its body runs."""

    telemetry: Telemetry
    method: str
    """The full name, such as groundwire.gateway.v1.AnswerService/Ask, or _OTHER."""


_WATCHED: ContextVar[WatchedCall | None] = ContextVar("watched_call", default=None)


def watched_call() -> WatchedCall | None:
    """The call that this task serves. None: nobody watches."""
    return _WATCHED.get()


class TelemetryInterceptor(grpc.aio.ServerInterceptor):
    """Lets `serving_call` find where to tell of a call, and by which name. The first of a server's interceptors."""

    def __init__(self, telemetry: Telemetry, service_names: Iterable[str]) -> None:
        self._other = WatchedCall(telemetry, OTHER_METHOD)
        self._known = {
            f"/{method}": WatchedCall(telemetry, method) for name in service_names for method in _methods(name)
        }

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The method's own handler."""
        # Never reset: grpc.aio runs each call, and this with it, in a task of its own, which has a context of its own.
        _WATCHED.set(self._known.get(handler_call_details.method, self._other))
        return await continuation(handler_call_details)


def _methods(service_name: str) -> list[str]:
    """The full names of a service's methods; none where its descriptor is not loaded."""
    try:
        service = descriptor_pool.Default().FindServiceByName(service_name)
    except KeyError:
        return []
    return [f"{service_name}/{method.name}" for method in service.methods]
