"""Prometheus metrics of a process, and those of the RPCs that it serves and makes. Imported only where they are on.

Names follow OpenTelemetry's semantic conventions in Prometheus's spelling where these have one: the metric
rpc.server.call.duration is rpc_server_call_duration_seconds. All others begin with groundwire_. Every label has few
values: never a question, a host, a caller or a key.
"""

from __future__ import annotations

import re
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from groundwire_rpc.version import version

CALL_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 120.0, 300.0)
"""Buckets of whole calls: from a refusal to a long answer on a CPU."""

MAX_REASONS: Final = 64
OTHER: Final = "_OTHER"
"""What stands for values that are not among those known, as in the semantic conventions."""

_REASON: Final = re.compile(r"[A-Z][A-Z0-9_]{0,62}")


class BoundedLabel:
    """Values of a label that come from elsewhere: the first so many are taken as they are, all others as _OTHER."""

    def __init__(self, most: int = MAX_REASONS) -> None:
        self._most = most
        self._known: set[str] = set()

    def value(self, text: str) -> str:
        """What to write for the text."""
        if text in self._known:
            return text
        if len(self._known) >= self._most or not _REASON.fullmatch(text):
            return OTHER
        self._known.add(text)
        return text


def new_registry(service: str) -> CollectorRegistry:
    """A registry with what is known of the process: memory, CPU time, open files, version."""
    # They would be a series more for each counter and histogram, which Prometheus makes no use of.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    Info("groundwire_build", "The service and its version.", registry=registry).info(
        {"service": service, "version": version()}
    )
    return registry


class RpcMetrics:
    """What is counted of every RPC, served and made."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("rpc_method", "rpc_response_status_code")
        self._served = Histogram(
            "rpc_server_call_duration_seconds",
            "RPCs served, to their end, by method and status.",
            labels,
            buckets=CALL_SECONDS,
            registry=registry,
        )
        self._made = Histogram(
            "rpc_client_call_duration_seconds",
            "RPCs made to other services, to their end, by method and status.",
            labels,
            buckets=CALL_SECONDS,
            registry=registry,
        )
        self._errors = Counter(
            "groundwire_rpc_errors",
            "RPCs that failed or were refused, by method, status and the reason of google.rpc.ErrorInfo.",
            (*labels, "reason"),
            registry=registry,
        )
        self._reasons = BoundedLabel()

    def served(self, method: str, code: str, seconds: float, reason: str = "") -> None:
        """An RPC was served. `reason` is its error's; a cancelled call has none."""
        self._served.labels(method, code).observe(seconds)
        if reason:
            self._errors.labels(method, code, self._reasons.value(reason)).inc()

    def made(self, method: str, code: str, seconds: float) -> None:
        """An RPC to another service has ended."""
        self._made.labels(method, code).observe(seconds)
