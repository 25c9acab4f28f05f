"""Spans of a trace, as the services know them. What makes and exports them is in `otlp.py`, if anything does.

No span is held in a context variable for others to find: a generator that a cancelled stream closes runs in another
contextvars.Context. A call's span is its ServedCall's, and what travels to the next service is its `traceparent`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol

AttributeValue = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, AttributeValue | None]
"""By name. What is None is left out."""

SpanKind = Literal["server", "client", "internal"]

CANCELLED: Final = "CANCELLED"
"""How a call ends whose caller left: an outcome, and no error."""

NOT_ERRORS: Final = frozenset({"", "OK", CANCELLED})
"""Codes that make a span no error."""

RPC_SYSTEM: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
RPC_STATUS: Final = "rpc.response.status_code"
ERROR_TYPE: Final = "error.type"
OUTCOME: Final = "groundwire.outcome"
"""How a span of ours ended that is no RPC: ok, cancelled, or the error's type."""


class Span(Protocol):
    """Something that took time. Must be ended once; whatever is told of it later is of no effect."""

    @property
    def traceparent(self) -> str:
        """What names it to the next service, as W3C Trace Context has it. Empty: it is not recorded anywhere."""

    def set(self, attributes: Attributes) -> None:
        """Tell more of it."""

    def child(
        self,
        name: str,
        *,
        kind: SpanKind = "internal",
        attributes: Attributes | None = None,
        start_ns: int | None = None,
    ) -> Span:
        """A part of it that begins now, or began at `start_ns` of the time of day."""

    def end(self, *, error: str = "", end_ns: int | None = None) -> None:
        """It ended now, or at `end_ns`. `error` is the class of error that it ended with; "" and CANCELLED are none."""


class Tracer(Protocol):
    """Begins spans."""

    def start(
        self, name: str, *, kind: SpanKind, traceparent: str | None, attributes: Attributes | None = None
    ) -> Span:
        """A span below what `traceparent` names; None: one that begins a trace."""


class _NoSpan:
    """A Span that nobody records."""

    @property
    def traceparent(self) -> str:
        return ""

    def set(self, attributes: Attributes) -> None:
        pass

    def child(
        self,
        name: str,  # noqa: ARG002 - nothing is recorded
        *,
        kind: SpanKind = "internal",  # noqa: ARG002
        attributes: Attributes | None = None,  # noqa: ARG002
        start_ns: int | None = None,  # noqa: ARG002
    ) -> Span:
        return self

    def end(self, *, error: str = "", end_ns: int | None = None) -> None:
        pass


NO_SPAN: Final[Span] = _NoSpan()
"""What stands for a span where nothing is traced."""
