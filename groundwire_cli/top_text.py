"""The lines of one frame of `groundwire top`. Pure: two samples in, lines out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rich.text import Text

from groundwire.gateway.v1 import gateway_pb2
from groundwire.inference.v1 import inference_pb2
from groundwire.search.v1 import search_pb2
from groundwire_cli.rpc_errors import duration_in_words
from groundwire_cli.status_client import Report, ServiceReport
from groundwire_cli.terminal_text import printable_line

_BAR_CELLS: Final = 20
_NEARLY_FULL: Final = 0.8
_LABEL_CELLS: Final = 12
_STATES: Final = {"serving": "green", "not serving": "yellow", "unreachable": "red"}
_CIRCUITS: Final[dict[int, tuple[str, str]]] = {
    gateway_pb2.CIRCUIT_STATE_CLOSED: ("closed", "green"),
    gateway_pb2.CIRCUIT_STATE_OPEN: ("open", "red"),
    gateway_pb2.CIRCUIT_STATE_HALF_OPEN: ("half-open", "yellow"),
}
_PROVIDERS: Final[dict[int, str]] = {search_pb2.PROVIDER_BRAVE: "brave", search_pb2.PROVIDER_LOCAL: "local"}


@dataclass(frozen=True, slots=True)
class Sample:
    """What the services told, and when."""

    report: Report
    at: float
    """In monotonic seconds."""


def frame(now: Sample, before: Sample | None) -> list[Text]:
    """The lines. Rates are those between the two samples; before: None: there are none yet."""
    report = now.report
    lines = [_head(report)]
    lines += [_service(report.gateway), *_gateway(report.gateway_status)]
    lines += [_service(report.search), *_search(report.search_status)]
    lines += [_service(report.inference), *_inference(report.inference_status, report.model)]
    lines += _rates(now, before)
    return lines


def _head(report: Report) -> Text:
    line = Text("groundwire top", style="bold")
    version = printable_line(report.gateway_status.version) if report.gateway_status else "?"
    return line.append(f"  {version}  {datetime.now().astimezone():%H:%M:%S}", style="not bold dim")


def _service(service: ServiceReport) -> Text:
    line = Text(f"{service.service.name:<{_LABEL_CELLS}}", style="bold")
    line.append(service.state, style=f"not bold {_STATES[service.state]}")
    line.append(f"  {service.target}", style="not bold dim")
    if service.problem:
        line.append(f"\n  {service.problem}", style="not bold yellow")
    return line


def _gateway(status: gateway_pb2.GetStatusResponse | None) -> list[Text]:
    if status is None:
        return []
    lines = [
        _gauge("streams", status.running_asks, status.max_asks),
        _gauge("memory", status.held_mib, status.held_limit_mib, unit=" MiB"),
    ]
    circuits = Text(f"  {'circuits':<{_LABEL_CELLS}}")
    for backend in status.backends:
        word, style = _CIRCUITS.get(backend.circuit, ("unknown", ""))
        circuits.append(f"{printable_line(backend.name)} ").append(word, style=style)
        if backend.HasField("retry_after"):
            circuits.append(f", tried again in {duration_in_words(backend.retry_after.ToNanoseconds() / 1e9)}")
        if backend.failures_in_row:
            circuits.append(f", {backend.failures_in_row:,} failed in a row")
        circuits.append("   ")
    return [*lines, circuits]


def _search(status: search_pb2.GetStatusResponse | None) -> list[Text]:
    if status is None:
        return []
    lines = [
        _gauge("searches", status.running_searches, status.max_searches),
        Text(f"  {'cached':<{_LABEL_CELLS}}{status.cached_queries:,} answers"),
    ]
    for provider in status.providers:
        name = _PROVIDERS.get(provider.provider, "unknown")
        if not provider.available and provider.provider == status.default_provider:
            lines.append(Text(f"  {name:<{_LABEL_CELLS}}{printable_line(provider.detail)}", style="yellow"))
        for quota in provider.quotas:
            window = duration_in_words(quota.window.ToNanoseconds() / 1e9)
            # What is used, so that a full bar is as bad here as anywhere else.
            used = max(0, quota.limit - quota.remaining)
            told = f"calls of {name} in {window}, {quota.remaining:,} left"
            lines.append(_gauge("quota", used, quota.limit, unit=f" {told}"))
    return lines


def _inference(
    status: inference_pb2.GetStatusResponse | None, model: inference_pb2.GetModelResponse | None
) -> list[Text]:
    if status is None:
        return []
    lines = []
    if model is not None:
        told = f"{printable_line(model.name)}, context {model.context_length:,} tokens"
        lines.append(Text(f"  {'model':<{_LABEL_CELLS}}{told}"))
    kept = f" tokens reserved, {status.kv_cells_cached:,} kept"
    return [
        *lines,
        _gauge("slots", status.slots_used, status.slots),
        _gauge("queue", status.queue_length, status.queue_capacity),
        _gauge("KV cache", status.kv_cells_reserved, status.kv_cells, unit=kept),
    ]


def _rates(now: Sample, before: Sample | None) -> list[Text]:
    status = now.report.inference_status
    if status is None:
        return []
    label = f"  {'tokens/s':<{_LABEL_CELLS}}"
    then = before.report.inference_status if before is not None else None
    if before is None or then is None or now.at <= before.at:
        return [Text(f"{label}measuring")]
    seconds = now.at - before.at
    # A service that was started again counts from nothing.
    read, generated, cached, drafted, accepted = (
        max(0, getattr(status, name) - getattr(then, name))
        for name in (
            "prompt_tokens_total",
            "completion_tokens_total",
            "cached_tokens_total",
            "drafted_tokens_total",
            "accepted_tokens_total",
        )
    )
    line = Text(f"{label}{generated / seconds:,.1f} generated, {read / seconds:,.1f} read of prompts")
    if cached:
        line.append(f", {cached / (cached + read):.0%} of prompts from kept ones")
    if drafted:
        line.append(f", {accepted / drafted:.0%} of drafts right")
    return [line]


def _gauge(label: str, value: int, most: int, *, unit: str = "") -> Text:
    share = min(1.0, value / most) if most else 0.0
    style = "red" if share >= 1 else "yellow" if share >= _NEARLY_FULL else "green"
    filled = round(share * _BAR_CELLS) if not value else max(1, round(share * _BAR_CELLS))
    line = Text(f"  {label:<{_LABEL_CELLS}}")
    line.append("#" * filled, style=style).append("." * (_BAR_CELLS - filled), style="dim")
    return line.append(f"  {value:,} of {most:,}{unit}")
