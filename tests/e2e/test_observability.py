"""What the three services tell of themselves: one trace a question, metrics that the deployed files name, log lines."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TypeAlias

import grpc
import pytest
import yaml

from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire.gateway.v1.gateway_pb2 import AskRequest
from groundwire_rpc.channels import open_channel
from tests.support.observed_stack import ObservedStack, running_observed_stack, samples
from tests.support.otlp_collector import ReceivedSpan
from tests.support.promql import Selected, selected
from tests.support.questions import ABOUT_RAIN, cited, long_answer, stream

ROOT = Path(__file__).parents[2]
ASK = "groundwire.gateway.v1.AnswerService/Ask"
SEARCH = "groundwire.search.v1.SearchService/Search"
GENERATE = "groundwire.inference.v1.InferenceService/Generate"
SERVER, CLIENT, INTERNAL = 2, 3, 1
SERVICES = ("gateway", "search", "inference")

Gateway: TypeAlias = "gateway_pb2_grpc.AnswerServiceAsyncStub"


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObservedStack]:
    with running_observed_stack(tmp_path_factory.mktemp("observed")) as services:
        yield services


@pytest.fixture
async def asking(observed: ObservedStack) -> AsyncIterator[Gateway]:
    async with open_channel(observed.stack.gateway.address) as channel:
        yield gateway_pb2_grpc.AnswerServiceStub(channel)


def trace_of(observed: ObservedStack, request_id: str, names: set[tuple[str, str]]) -> list[ReceivedSpan]:
    """The spans of a request, once all of those named have come."""
    trace_id = observed.call_line("gateway", request_id)["trace_id"]
    deadline = asyncio.get_running_loop().time() + 20
    while True:
        spans = [span for span in observed.collector.wait_for(set()) if span.trace_id == trace_id]
        if names <= {(span.service, span.name) for span in spans}:
            return spans
        assert asyncio.get_running_loop().time() < deadline, spans


def shape(spans: list[ReceivedSpan]) -> set[tuple[str, str, int, str, str]]:
    """Service, name and kind of every span, with service and name of its parent."""
    by_id = {span.span_id: span for span in spans}
    found = set()
    for span in spans:
        parent = by_id.get(span.parent_id)
        found.add((span.service, span.name, span.kind, *((parent.service, parent.name) if parent else ("", ""))))
    return found


WHOLE = {
    ("groundwire-gateway", ASK, SERVER, "", ""),
    ("groundwire-gateway", SEARCH, CLIENT, "groundwire-gateway", ASK),
    ("groundwire-search", SEARCH, SERVER, "groundwire-gateway", SEARCH),
    ("groundwire-search", "search local", CLIENT, "groundwire-search", SEARCH),
    ("groundwire-gateway", GENERATE, CLIENT, "groundwire-gateway", ASK),
    ("groundwire-inference", GENERATE, SERVER, "groundwire-gateway", GENERATE),
    ("groundwire-inference", "chat builtin", INTERNAL, "groundwire-inference", GENERATE),
    ("groundwire-inference", "queue", INTERNAL, "groundwire-inference", "chat builtin"),
    ("groundwire-inference", "prompt", INTERNAL, "groundwire-inference", "chat builtin"),
    ("groundwire-inference", "decode", INTERNAL, "groundwire-inference", "chat builtin"),
}


async def test_one_question_gives_one_trace(observed: ObservedStack, asking: Gateway) -> None:
    streamed = await stream(asking, cited(), metadata=(("x-request-id", "whole"),))
    assert streamed.kinds[-1] == "finished"
    usage = streamed.events[-1].finished.usage
    spans = trace_of(observed, "whole", {(service, name) for service, name, *_ in WHOLE})
    assert shape(spans) == WHOLE
    assert len(spans) == len(WHOLE)
    by_name = {(span.service, span.name): span for span in spans}
    assert not any(span.is_error for span in spans)
    root = by_name["groundwire-gateway", ASK]
    assert root.parent_id == ""
    for span in spans:
        assert root.start_ns <= span.start_ns <= span.end_ns, span
    request = by_name["groundwire-inference", "chat builtin"].attributes
    assert request["gen_ai.operation.name"] == "chat"
    assert request["gen_ai.request.model"] == request["gen_ai.response.model"] == "builtin"
    assert request["gen_ai.usage.input_tokens"] == usage.prompt_tokens > 0
    assert request["gen_ai.usage.output_tokens"] == usage.completion_tokens > 0
    assert request["gen_ai.response.finish_reasons"] == ["stop"]
    phases = [by_name["groundwire-inference", name] for name in ("queue", "prompt", "decode")]
    assert phases[0].end_ns == phases[1].start_ns
    assert phases[1].end_ns == phases[2].start_ns
    assert phases[2].end_ns == by_name["groundwire-inference", "chat builtin"].end_ns
    assert {
        span.attributes["rpc.response.status_code"] for span in spans if span.kind != INTERNAL and "/" in span.name
    } == {"OK"}
    assert root.attributes["groundwire.answer.outcome"] == "answered"
    told = json.dumps([span.attributes for span in spans], ensure_ascii=False)
    assert "rain gauge" not in told
    assert "Größe" not in told


async def test_a_trace_that_the_caller_began_goes_on(observed: ObservedStack, asking: Gateway) -> None:
    trace_id, parent_id = "0123456789abcdef0123456789abcdef", "0123456789abcdef"
    metadata = (("x-request-id", "continued"), ("traceparent", f"00-{trace_id}-{parent_id}-01"))
    await stream(asking, cited(), metadata=metadata)
    spans = trace_of(observed, "continued", {("groundwire-gateway", ASK)})
    assert {span.trace_id for span in spans} == {trace_id}
    (root,) = (span for span in spans if span.name == ASK)
    assert root.parent_id == parent_id


async def test_what_the_caller_does_not_sample_is_not_sent(observed: ObservedStack, asking: Gateway) -> None:
    trace_id = "ffffffffffffffffffffffffffffffff"
    metadata = (("x-request-id", "unsampled"), ("traceparent", f"00-{trace_id}-0123456789abcdef-00"))
    await stream(asking, cited(), metadata=metadata)
    await stream(asking, cited(), metadata=(("x-request-id", "after"),))
    trace_of(observed, "after", {("groundwire-inference", "decode")})
    assert observed.call_line("gateway", "unsampled")["trace_id"] == trace_id
    assert not [span for span in observed.collector.spans if span.trace_id == trace_id]


async def test_who_looks_every_second_begins_no_trace(observed: ObservedStack, asking: Gateway) -> None:
    trace_id = "abcdefabcdefabcdefabcdefabcdefab"
    await asking.GetStatus(gateway_pb2.GetStatusRequest(), timeout=10)
    metadata = (("traceparent", f"00-{trace_id}-0123456789abcdef-01"),)
    await asking.GetStatus(gateway_pb2.GetStatusRequest(), timeout=10, metadata=metadata)
    name = "groundwire.gateway.v1.AnswerService/GetStatus"
    spans = observed.collector.wait_for({("groundwire-gateway", name)})
    assert [span.trace_id for span in spans if span.name == name] == [trace_id]


async def test_a_cancelled_question_is_an_outcome_and_no_error(observed: ObservedStack, asking: Gateway) -> None:
    call = asking.Ask(long_answer(), timeout=60, metadata=(("x-request-id", "cancelled"),))
    async for event in call:
        if event.HasField("delta"):
            break
    call.cancel()
    ended = {("groundwire-gateway", ASK), ("groundwire-gateway", GENERATE), ("groundwire-inference", GENERATE)}
    spans = trace_of(observed, "cancelled", ended | {("groundwire-inference", "decode")})
    assert not [span for span in spans if span.is_error]
    codes = {span.name: span.attributes["rpc.response.status_code"] for span in spans if span.name in (ASK, GENERATE)}
    assert codes == {ASK: "CANCELLED", GENERATE: "CANCELLED"}
    (request,) = (span for span in spans if span.name == "chat builtin")
    assert request.attributes["groundwire.outcome"] == "cancelled"
    line = observed.call_line("inference", "cancelled")
    assert (line["code"], line["model"]) == ("CANCELLED", "builtin")
    assert line["queue_seconds"] >= 0


async def test_a_mistake_of_the_callers_is_no_error_of_the_servers(observed: ObservedStack, asking: Gateway) -> None:
    streamed = await stream(asking, AskRequest(question=""), metadata=(("x-request-id", "mistaken"),))
    assert streamed.failed.code is grpc.StatusCode.INVALID_ARGUMENT
    (span,) = trace_of(observed, "mistaken", {("groundwire-gateway", ASK)})
    assert not span.is_error
    assert span.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT"


async def test_the_lines_of_a_call_belong_together(observed: ObservedStack, asking: Gateway) -> None:
    await stream(asking, cited(), metadata=(("x-request-id", "told"),))
    gateway, search, inference = (observed.call_line(service, "told") for service in SERVICES)
    assert gateway["trace_id"] == search["trace_id"] == inference["trace_id"]
    assert (gateway["rpc"], search["rpc"], inference["rpc"]) == ("Ask", "Search", "Generate")
    assert gateway["outcome"] == "answered"
    assert gateway["citations"] >= 1
    assert 0 < gateway["first_token_seconds"] <= gateway["seconds"]
    assert gateway["completion_tokens"] == inference["completion_tokens"] > 0
    assert (search["provider"], search["from_cache"], search["results"] > 0) == ("local", False, True)
    for name in ("queue_seconds", "prompt_seconds", "generation_seconds", "first_token_seconds"):
        assert inference[name] >= 0


async def test_no_line_holds_a_question_or_an_answer(observed: ObservedStack, asking: Gateway) -> None:
    await stream(asking, cited(), metadata=(("x-request-id", "private"),))
    observed.call_line("gateway", "private")
    for service in SERVICES:
        log = json.dumps(observed.lines(service), ensure_ascii=False)
        assert ABOUT_RAIN not in log
        assert "Größe" not in log


async def test_the_metrics_of_a_question(observed: ObservedStack, asking: Gateway) -> None:
    before = {service: observed.scrape(service) for service in SERVICES}
    await stream(asking, cited(), metadata=(("x-request-id", "counted"),))
    for service in SERVICES:
        observed.call_line(service, "counted")
    after = {service: observed.scrape(service) for service in SERVICES}

    def grown(service: str, name: str, **labels: str) -> float:
        wanted = set(labels.items())
        then, now = (
            sum(value for found, value in samples(families, name).items() if wanted <= set(found))
            for families in (before[service], after[service])
        )
        return now - then

    assert grown("gateway", "rpc_server_call_duration_seconds_count", rpc_method=ASK) == 1
    assert grown("gateway", "rpc_client_call_duration_seconds_count", rpc_response_status_code="OK") == 2
    assert grown("gateway", "groundwire_answers_total", outcome="answered") == 1
    assert grown("gateway", "groundwire_citations_total") >= 1
    assert grown("gateway", "groundwire_answer_time_to_first_token_seconds_count") == 1
    assert grown("gateway", "gen_ai_client_token_usage_count", gen_ai_token_type="input") == 1
    assert grown("search", "groundwire_search_answers_total", provider="local", from_cache="false") == 1
    assert grown("search", "groundwire_search_provider_duration_seconds_count", provider="local", outcome="ok") == 1
    model = {"gen_ai_operation_name": "chat", "gen_ai_request_model": "builtin"}
    for name in ("time_to_first_token", "time_per_output_token", "request_duration"):
        assert grown("inference", f"gen_ai_server_{name}_seconds_count", **model) == 1
    assert grown("inference", "groundwire_inference_tokens_total", kind="completion") > 0
    assert grown("inference", "groundwire_inference_finished_total", reason="stop") == 1
    (slots,) = samples(after["inference"], "groundwire_inference_slots").values()
    assert slots == 2


async def test_refusals_are_counted_by_reason(observed: ObservedStack, asking: Gateway) -> None:
    await stream(asking, AskRequest(question=""), metadata=(("x-request-id", "refused"),))
    observed.call_line("gateway", "refused")
    found = samples(observed.scrape("gateway"), "groundwire_rpc_errors_total")
    labels = (
        ("reason", "INVALID_FIELDS"),
        ("rpc_method", ASK),
        ("rpc_response_status_code", "INVALID_ARGUMENT"),
    )
    assert found.get(labels, 0) >= 1, found


def deployed_expressions() -> dict[str, str]:
    """Every PromQL expression in the files for operators, by where it stands."""
    dashboard = json.loads((ROOT / "deploy/grafana/groundwire.json").read_text(encoding="utf-8"))
    alerts = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text(encoding="utf-8"))
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    }
    return found | {rule["alert"]: rule["expr"] for group in alerts["groups"] for rule in group["rules"]}


async def test_dashboard_and_alerts_name_metrics_that_exist(observed: ObservedStack, asking: Gateway) -> None:
    for request in (cited(), AskRequest(question="")):
        await stream(asking, request)
    families = [family for service in SERVICES for family in observed.scrape(service).values()]
    exposed: dict[str, set[str]] = {"up": set()}  # which Prometheus itself makes
    for family in families:
        labels = {label for sample in family.samples for label in sample.labels}
        suffixes = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",)}.get(family.type, ("",))
        for suffix in suffixes:
            exposed.setdefault(family.name + suffix, set()).update(labels)
    named: set[str] = set()
    for place, expression in deployed_expressions().items():
        found: list[Selected] = selected(expression)
        assert found, place
        for metric in found:
            assert metric.name in exposed, f"{place}: {metric.name}"
            if known := exposed[metric.name]:
                assert metric.labels <= known | {"job", "instance"}, f"{place}: {metric}"
            named.add(metric.name)
    ours = {name for name in exposed if name.startswith(("groundwire_", "gen_ai_"))}
    shown = {name for name in ours if any(each.startswith(_family(name)) for each in named)}
    assert ours - shown == {"groundwire_search_provider_available", "groundwire_search_quota_reset_timestamp_seconds"}


def _family(name: str) -> str:
    return re.sub(r"_(bucket|count|sum|total)$", "", name)


async def test_the_documentation_has_every_metric(observed: ObservedStack, asking: Gateway) -> None:
    await stream(asking, cited())
    table = (ROOT / "docs/observability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \| (\w+) \| ([a-z_, ]*?) ?\| (\w+) \|", table, re.MULTILINE)
    documented = {
        (service, name): (kind, set(filter(None, labels.split(", "))))
        for name, kind, labels, where in rows
        for service in (SERVICES if where == "all" else (where,))
    }
    exposed = {}
    for service in SERVICES:
        for family in observed.scrape(service).values():
            if family.name.startswith(("process_", "python_")) or (
                service != "gateway" and family.name.startswith("rpc_client_")
            ):
                continue
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            exposed[service, name] = (family.type, labels)
    assert documented.keys() == exposed.keys()
    for where, (kind, labels) in exposed.items():
        assert documented[where][0] == kind, where
        if labels:
            assert documented[where][1] == labels, where
