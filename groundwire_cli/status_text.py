"""How the services are, as lines for a person and as JSON for a program."""

from __future__ import annotations

from rich.text import Text

from groundwire.gateway.v1 import gateway_pb2
from groundwire.inference.v1 import inference_pb2
from groundwire.search.v1 import search_pb2
from groundwire_cli.proto_json import message_dict
from groundwire_cli.rpc_errors import duration_in_words
from groundwire_cli.status_client import Report, ServiceReport
from groundwire_cli.terminal_text import printable_line

_STATE_STYLES = {"serving": "green", "not serving": "yellow", "unreachable": "red"}
_CIRCUITS: dict[int, str] = {
    gateway_pb2.CIRCUIT_STATE_OPEN: "The gateway refuses questions that need {name}",
    gateway_pb2.CIRCUIT_STATE_HALF_OPEN: "The next question tries whether {name} is well again",
}
_PROVIDERS: dict[int, str] = {search_pb2.PROVIDER_BRAVE: "brave", search_pb2.PROVIDER_LOCAL: "local"}


def status_lines(report: Report) -> list[Text]:
    """Every service with its details."""
    lines = [_headline(report.gateway)]
    if report.gateway_status is not None:
        lines += _gateway(report.gateway_status, report)
    lines.append(_headline(report.search))
    if report.search_status is not None:
        lines += _search(report.search_status)
    lines.append(_headline(report.inference))
    lines += _inference(report.inference_status, report.model)
    return lines


def _headline(service: ServiceReport) -> Text:
    line = Text(f"{service.service.name:<10} ", style="bold")
    line.append(f"{service.state:<12}", style=f"not bold {_STATE_STYLES[service.state]}")
    line.append(f" {service.target}", style="not bold")
    if service.problem:
        line.append(f"\n           {service.problem}", style="not bold yellow")
    return line


def _detail(text: str, style: str = "") -> Text:
    return Text(f"           {text}", style=style)


def _gateway(status: gateway_pb2.GetStatusResponse, report: Report) -> list[Text]:
    asks = "1 question" if status.running_asks == 1 else f"{status.running_asks:,} questions"
    told = f"version {printable_line(status.version)}, {asks} being answered"
    if status.max_asks:
        told += f", {status.max_asks:,} at most; {status.held_mib:,} of {status.held_limit_mib:,} MiB held for them"
    lines = [_detail(told)]
    seen_here = {"search": report.search, "inference": report.inference}
    for backend in status.backends:
        lines += _circuit(backend)
        if backend.state == gateway_pb2.BACKEND_STATE_SERVING:
            continue
        name, target = printable_line(backend.name), printable_line(backend.target)
        state = "is not ready" if backend.state == gateway_pb2.BACKEND_STATE_NOT_SERVING else "does not answer it"
        told = f"{name} at {target} {state}: {printable_line(backend.detail)}"
        here = seen_here.get(name)
        if here is not None and here.serving and here.target != target:
            told += f" From here it serves at {here.target}: set {here.service.target_variable} for the gateway."
        lines.append(_detail(told, "yellow"))
    return lines


def _circuit(backend: gateway_pb2.BackendStatus) -> list[Text]:
    """Nothing where questions are let through."""
    told = _CIRCUITS.get(backend.circuit)
    if told is None:
        return []
    calls = "1 call" if backend.failures_in_row == 1 else f"{backend.failures_in_row:,} calls in a row"
    told = f"{told.format(name=printable_line(backend.name))}: {calls} to it failed."
    if backend.HasField("retry_after"):
        told += f" It is tried again in {duration_in_words(backend.retry_after.ToNanoseconds() / 1e9)}."
    return [_detail(told, "yellow")]


def _search(status: search_pb2.GetStatusResponse) -> list[Text]:
    default = _PROVIDERS.get(status.default_provider, "unknown")
    searches = (
        f", {status.running_searches:,} of {status.max_searches:,} searches running" if status.max_searches else ""
    )
    lines = [
        _detail(
            f"version {printable_line(status.version)}, searches {default} by default, "
            f"{status.cached_queries:,} answers cached{searches}"
        )
    ]
    for provider in status.providers:
        name = _PROVIDERS.get(provider.provider, "unknown")
        state = "ready" if provider.available else "not available"
        detail = f": {printable_line(provider.detail)}" if provider.detail else ""
        is_wanted = provider.available or provider.provider != status.default_provider
        lines.append(_detail(f"{name} {state}{detail}", "" if is_wanted else "yellow"))
        lines += [_detail(f"  {_quota(quota)}") for quota in provider.quotas]
    return lines


def _quota(quota: search_pb2.Quota) -> str:
    window = duration_in_words(quota.window.ToNanoseconds() / 1e9)
    told = f"{quota.remaining:,} of {quota.limit:,} calls left in {window}"
    if quota.HasField("reset_time"):
        told += f", whole again at {quota.reset_time.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"
    return told


def _inference(
    status: inference_pb2.GetStatusResponse | None, model: inference_pb2.GetModelResponse | None
) -> list[Text]:
    lines = []
    if status is not None:
        lines.append(
            _detail(
                f"version {printable_line(status.version)}, {status.slots_used} of {status.slots} slots used, "
                f"{status.queue_length} of {status.queue_capacity} places in the queue taken"
            )
        )
    if model is not None:
        lines.append(
            _detail(
                f"model {printable_line(model.name)}: {printable_line(model.architecture)}, "
                f"{_count(model.parameter_count)} parameters, {printable_line(model.quantization)}, "
                f"context {model.context_length:,} tokens"
            )
        )
    if status is not None:
        lines += [_detail(text) for text in (_cells(status), *_work_done(status))]
    return lines


def _cells(status: inference_pb2.GetStatusResponse) -> str:
    kept = "no prompts are kept for reuse"
    if status.prefix_cache_limit_mib:
        kept = (
            f"{status.kv_cells_cached:,} kept for reuse, and {status.prefix_cache_mib:,} of "
            f"{status.prefix_cache_limit_mib:,} MiB of host memory"
        )
    return f"KV cache {status.kv_cells:,} tokens, {status.kv_cells_reserved:,} reserved, {kept}"


def _work_done(status: inference_pb2.GetStatusResponse) -> list[str]:
    """What the engine has done since it started. Nothing before its first request."""
    if not status.step_seconds_total:
        return []
    prompts = status.prompt_tokens_total + status.cached_tokens_total
    told = [
        f"{prompts:,} prompt tokens, {_share(status.cached_tokens_total, prompts)} of them from kept prompts",
        f"{status.completion_tokens_total:,} generated",
    ]
    if status.drafted_tokens_total:
        right = _share(status.accepted_tokens_total, status.drafted_tokens_total)
        told.append(f"{status.drafted_tokens_total:,} drafted, {right} of them right")
    outside = status.step_seconds_total - status.forward_seconds_total
    return [
        f"since it started: {'; '.join(told)}",
        f"{_share(outside, status.step_seconds_total)} of the time with requests was spent outside forward passes",
    ]


def _share(part: float, whole: float) -> str:
    return f"{max(0.0, part) / whole:.1%}" if whole else "none"


def _count(number: int) -> str:
    for size, word in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if number >= size:
            return f"{number / size:.1f} {word}"
    return str(number)


def status_json(report: Report) -> dict[str, object]:
    """The same for programs. `all_serve` is what the exit code says."""
    return {
        "all_serve": report.all_serve,
        "gateway": _service_json(report.gateway, status=report.gateway_status),
        "search": _service_json(report.search, status=report.search_status),
        "inference": _service_json(report.inference, status=report.inference_status, model=report.model),
    }


def _service_json(
    service: ServiceReport,
    **told: gateway_pb2.GetStatusResponse
    | search_pb2.GetStatusResponse
    | inference_pb2.GetStatusResponse
    | inference_pb2.GetModelResponse
    | None,
) -> dict[str, object]:
    return {
        "target": service.target,
        "state": service.state,
        "problem": service.problem,
        **{name: message_dict(message) if message is not None else None for name, message in told.items()},
    }
