"""Spans by the OpenTelemetry SDK, sent by OTLP. Imported only where an endpoint is set: it is an extra.

What the SDK's own variables say (OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES, …) holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import threading
from typing import Final

import structlog
from opentelemetry import trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from groundwire_rpc.telemetry_settings import OtlpProtocol
from groundwire_rpc.tracing import ERROR_TYPE, NOT_ERRORS, Attributes, Span, SpanKind
from groundwire_rpc.version import version

log = structlog.get_logger(__name__)

FLUSH_SECONDS: Final = 3.0
"""How long a service that ends waits for its last spans to be taken."""

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_KINDS: Final = {
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "internal": trace.SpanKind.INTERNAL,
}


class OpenTelemetryTracer:
    """A Tracer that exports by OTLP."""

    def __init__(self, service: str, endpoint: str, protocol: OtlpProtocol) -> None:
        """`endpoint` is the collector's base URL, such as http://127.0.0.1:4318."""
        described = Resource.create(
            {
                "service.name": f"groundwire-{service}",
                "service.namespace": "groundwire",
                "service.version": version(),
                "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
            }
        )
        # The operator's own OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
        self._provider = TracerProvider(
            resource=described.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        self._exporter = _exporter(endpoint, protocol)
        self._processor = BatchSpanProcessor(self._exporter)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("groundwire", version())

    def start(
        self, name: str, *, kind: SpanKind, traceparent: str | None, attributes: Attributes | None = None
    ) -> Span:
        """A span below what `traceparent` names; None: one that begins a trace."""
        parent = trace.set_span_in_context(
            trace.NonRecordingSpan(_span_context(traceparent)) if traceparent else trace.INVALID_SPAN
        )
        return _Span(
            self._tracer,
            self._tracer.start_span(name, parent, kind=_KINDS[kind], attributes=_given(attributes)),
        )

    async def close(self) -> None:
        """Send what is left, for FLUSH_SECONDS at most."""
        loop = asyncio.get_running_loop()
        sent = asyncio.Event()

        def flush() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]
            with contextlib.suppress(RuntimeError):  # the loop did not wait
                loop.call_soon_threadsafe(sent.set)

        # A thread of our own: the loop would wait for one of its executor's, however long the collector takes.
        threading.Thread(target=flush, name="spans", daemon=True).start()
        try:
            await asyncio.wait_for(sent.wait(), FLUSH_SECONDS)
        except TimeoutError:
            log.warning("spans were not taken in time", seconds=FLUSH_SECONDS)
            self._exporter.shutdown()


class _Span:
    """A Span of the SDK."""

    def __init__(self, tracer: trace.Tracer, span: trace.Span) -> None:
        self._tracer = tracer
        self._span = span

    @property
    def traceparent(self) -> str:
        context = self._span.get_span_context()
        if not context.is_valid:  # the SDK is switched off (OTEL_SDK_DISABLED)
            return ""
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(_given(attributes))

    def child(
        self,
        name: str,
        *,
        kind: SpanKind = "internal",
        attributes: Attributes | None = None,
        start_ns: int | None = None,
    ) -> Span:
        parent = trace.set_span_in_context(self._span)
        span = self._tracer.start_span(
            name, parent, kind=_KINDS[kind], attributes=_given(attributes), start_time=start_ns
        )
        return _Span(self._tracer, span)

    def end(self, *, error: str = "", end_ns: int | None = None) -> None:
        if error not in NOT_ERRORS:
            self._span.set_attribute(ERROR_TYPE, error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(end_ns)


def _given(attributes: Attributes | None) -> dict[str, str | bool | int | float | list[str]]:
    return {
        name: value if isinstance(value, str | bool | int | float) else list(value)
        for name, value in (attributes or {}).items()
        if value is not None
    }


def _span_context(traceparent: str) -> SpanContext:
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return trace.INVALID_SPAN_CONTEXT
    return SpanContext(
        int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=TraceFlags(int(found[3], 16) & 1)
    )


def _exporter(endpoint: str, protocol: OtlpProtocol) -> SpanExporter:
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter(endpoint=endpoint, insecure=endpoint.startswith("http://") or None)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    return HttpExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
