"""Spans over the wire to a real collector, and what becomes of a service whose collector is not well."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from structlog.testing import capture_logs

from groundwire_rpc.otlp import FLUSH_SECONDS, OpenTelemetryTracer
from groundwire_rpc.telemetry_settings import OtlpProtocol
from tests.support.otlp_collector import Collector, grpc_collector, http_collector
from tests.support.wired_gateway import unused_target

COLLECTORS: list[tuple[OtlpProtocol, Callable[[], AbstractContextManager[Collector]]]] = [
    ("http/protobuf", http_collector),
    ("grpc", grpc_collector),
]


@pytest.mark.parametrize(("protocol", "collector"), COLLECTORS)
async def test_spans_arrive_as_they_were_told(
    protocol: OtlpProtocol,
    collector: Callable[[], AbstractContextManager[Collector]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    with collector() as collecting:
        tracer = OpenTelemetryTracer("search", collecting.endpoint, protocol)
        parent = f"00-{'ab' * 16}-{'cd' * 8}-01"
        root = tracer.start("root", kind="server", traceparent=parent, attributes={"a": 1, "left.out": None})
        child = root.child("child", kind="client", start_ns=1_000)
        child.set({"words": ("x", "y")})
        child.end(error="unavailable", end_ns=2_000)
        left = root.child("left")
        left.end(error="CANCELLED")
        root.end()
        await tracer.close()
        spans = {span.name: span for span in collecting.wait_for({("groundwire-search", "root")})}
    assert (spans["root"].trace_id, spans["root"].parent_id) == ("ab" * 16, "cd" * 8)
    assert spans["root"].attributes == {"a": 1}
    assert root.traceparent == f"00-{'ab' * 16}-{spans['root'].span_id}-01"
    assert spans["child"].parent_id == spans["left"].parent_id == spans["root"].span_id
    assert (spans["child"].start_ns, spans["child"].end_ns) == (1_000, 2_000)
    assert spans["child"].is_error
    assert spans["child"].attributes == {"words": ["x", "y"], "error.type": "unavailable"}
    assert not spans["left"].is_error
    assert collecting.resources[0]["service.namespace"] == "groundwire"
    assert collecting.resources[0]["deployment.environment"] == "test"


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("is_there", [False, True])
async def test_a_collector_that_does_not_answer_holds_nothing_up(protocol: OtlpProtocol, is_there: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        target = f"127.0.0.1:{silent.getsockname()[1]}" if is_there else unused_target()
        tracer = OpenTelemetryTracer("search", f"http://{target}", protocol)
        started = time.monotonic()
        for _ in range(20_000):  # more than are kept
            tracer.start("root", kind="server", traceparent=None).end()
        assert time.monotonic() - started < 20
        started = time.monotonic()
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.05)
                ticks += 1

        ticking = asyncio.create_task(tick())
        with capture_logs():
            await tracer.close()
        ticking.cancel()
    assert time.monotonic() - started < FLUSH_SECONDS + 3
    assert ticks >= 5 or time.monotonic() - started < 1  # the loop went on meanwhile


async def test_a_switched_off_sdk_leaves_the_trace_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    tracer = OpenTelemetryTracer("search", f"http://{unused_target()}", "http/protobuf")
    span = tracer.start("root", kind="server", traceparent=None)
    assert span.traceparent == ""
    span.end()
    await tracer.close()
