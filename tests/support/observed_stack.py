"""The three real services with everything switched on that tells of them: traces to a collector, metrics, logs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.otlp_collector import Collector, http_collector
from tests.support.processes import ServiceProcess, running
from tests.support.stack import INFERENCE, Stack, build_index, wiring

WAIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class ObservedStack:
    """Running services and what they tell."""

    stack: Stack
    collector: Collector

    def lines(self, service: str) -> list[dict[str, Any]]:
        """What a service has logged. Fails where a line is no JSON object."""
        process: ServiceProcess = getattr(self.stack, service)
        found = [json.loads(line) for line in process.log().splitlines()]
        assert all(isinstance(line, dict) for line in found)
        return found

    def call_line(self, service: str, request_id: str) -> dict[str, Any]:
        """The line of a call, which is written when the call has ended."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            found = [
                line for line in self.lines(service) if line["event"] == "call" and line["request_id"] == request_id
            ]
            if found:
                (line,) = found
                return line
            assert time.monotonic() < deadline, f"{service} logged no call {request_id}"
            time.sleep(0.02)

    def scrape(self, service: str) -> dict[str, Metric]:
        """A service's metrics as Prometheus reads them, by name without _total."""
        (address,) = (line["address"] for line in self.lines(service) if line["event"] == "metrics")
        answer = httpx.get(f"http://{address}/metrics", timeout=10)
        answer.raise_for_status()
        return {family.name: family for family in text_string_to_metric_families(answer.text)}


def samples(families: dict[str, Metric], name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """The values of a sample by its labels, sorted by name."""
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name
    }


@contextmanager
def running_observed_stack(folder: Path) -> Iterator[ObservedStack]:
    """All three, and the collector."""
    index_path = build_index(folder)
    with http_collector() as collector, ExitStack() as resources:
        common = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}

        def start(service: str, settings: dict[str, str]) -> ServiceProcess:
            metrics = {f"GROUNDWIRE_{service.upper()}_METRICS_LISTEN": "127.0.0.1:0"}
            return resources.enter_context(running(service, folder, {**common, **metrics, **settings}))

        inference = start("inference", INFERENCE)
        search = start("search", {"GROUNDWIRE_INDEX_PATH": str(index_path)})
        gateway = start("gateway", wiring(search, inference))
        yield ObservedStack(Stack(folder, index_path, search, inference, gateway), collector)
