from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from groundwire.gateway.v1 import gateway_pb2
from groundwire.inference.v1 import inference_pb2
from groundwire.search.v1 import search_pb2
from groundwire_cli.services import GATEWAY, INFERENCE, SEARCH
from groundwire_cli.status_client import Report, ServiceReport, gather_report
from groundwire_cli.status_text import status_json, status_lines
from tests.support.command_line import groundwire
from tests.support.scripted_gateway import scripted_gateway

NOWHERE = "127.0.0.1:1"


def report(**changes: object) -> Report:
    parts: dict[str, object] = {
        "gateway": ServiceReport(GATEWAY, "127.0.0.1:50051", "serving"),
        "search": ServiceReport(SEARCH, "127.0.0.1:50052", "serving"),
        "inference": ServiceReport(INFERENCE, "127.0.0.1:50053", "serving"),
        "gateway_status": gateway_pb2.GetStatusResponse(
            version="0.1.0",
            running_asks=1,
            backends=[
                gateway_pb2.BackendStatus(
                    name="search", target="127.0.0.1:50052", state=gateway_pb2.BACKEND_STATE_SERVING
                )
            ],
        ),
        "search_status": search_pb2.GetStatusResponse(
            version="0.1.0",
            default_provider=search_pb2.PROVIDER_BRAVE,
            cached_queries=3,
            providers=[
                search_pb2.ProviderStatus(
                    provider=search_pb2.PROVIDER_BRAVE,
                    available=True,
                    quotas=[
                        search_pb2.Quota(
                            window=Duration(seconds=2_592_000),
                            limit=15_000,
                            remaining=14_990,
                            reset_time=Timestamp(seconds=1_750_000_000),
                        )
                    ],
                ),
                search_pb2.ProviderStatus(provider=search_pb2.PROVIDER_LOCAL, detail="The index is \x1b[2Jempty."),
            ],
        ),
        "inference_status": inference_pb2.GetStatusResponse(
            version="0.1.0",
            slots=4,
            slots_used=1,
            queue_capacity=64,
            kv_cells=4096,
            kv_cells_reserved=700,
            kv_cells_cached=120,
            prefix_cache_mib=3,
            prefix_cache_limit_mib=2048,
            prompt_tokens_total=3000,
            cached_tokens_total=1000,
            completion_tokens_total=500,
            drafted_tokens_total=400,
            accepted_tokens_total=300,
            step_seconds_total=10.0,
            forward_seconds_total=9.5,
        ),
        "model": inference_pb2.GetModelResponse(
            name="tiny", architecture="phi3", parameter_count=12_340_000, quantization="Q8_0", context_length=4096
        ),
    }
    return Report(**{**parts, **changes})  # type: ignore[arg-type]  # a table of parts


def shown(of: Report) -> str:
    return "\n".join(line.plain for line in status_lines(of))


def test_everything_that_was_promised_is_shown() -> None:
    text = shown(report())
    for told in (
        "version 0.1.0, 1 question being answered",
        "searches brave by default, 3 answers cached",
        "14,990 of 15,000 calls left in 30 days, whole again at 2025-06-15 15:06:40 UTC",
        "local not available: The index is empty.",
        "1 of 4 slots used, 0 of 64 places in the queue taken",
        "model tiny: phi3, 12.3 million parameters, Q8_0, context 4,096 tokens",
        "KV cache 4,096 tokens, 700 reserved, 120 kept for reuse, and 3 of 2,048 MiB of host memory",
        "since it started: 4,000 prompt tokens, 25.0% of them from kept prompts; 500 generated; 400 drafted, 75.0% of",
        "5.0% of the time with requests was spent outside forward passes",
    ):
        assert told in text
    assert report().all_serve


def test_what_may_run_at_once_is_shown() -> None:
    busy = gateway_pb2.GetStatusResponse(version="0.1.0", running_asks=2, max_asks=256, held_mib=3, held_limit_mib=1024)
    searching = search_pb2.GetStatusResponse(version="0.1.0", running_searches=4, max_searches=100)
    text = shown(report(gateway_status=busy, search_status=searching))
    assert "2 questions being answered, 256 at most; 3 of 1,024 MiB held for them" in text
    assert "0 answers cached, 4 of 100 searches running" in text


def test_an_engine_that_has_done_nothing_and_keeps_nothing_says_so() -> None:
    idle = inference_pb2.GetStatusResponse(version="0.1.0", slots=4, queue_capacity=64, kv_cells=4096)
    text = shown(report(inference_status=idle))
    assert "KV cache 4,096 tokens, 0 reserved, no prompts are kept for reuse" in text
    assert "since it started" not in text
    assert "forward passes" not in text


def test_nothing_is_said_of_drafts_where_there_were_none() -> None:
    undrafted = inference_pb2.GetStatusResponse(
        prompt_tokens_total=9, completion_tokens_total=3, step_seconds_total=1.0, forward_seconds_total=1.1
    )
    text = shown(report(inference_status=undrafted))
    assert "since it started: 9 prompt tokens, 0.0% of them from kept prompts; 3 generated\n" in text
    assert "0.0% of the time with requests" in text


def test_a_gateway_that_looks_in_the_wrong_place_is_told_where_to_look() -> None:
    lost = gateway_pb2.GetStatusResponse(
        version="0.1.0",
        backends=[
            gateway_pb2.BackendStatus(
                name="search",
                target="127.0.0.1:9",
                state=gateway_pb2.BACKEND_STATE_UNREACHABLE,
                detail="Connection refused.",
            )
        ],
    )
    misled = report(gateway_status=lost)
    assert not misled.all_serve
    assert "From here it serves at 127.0.0.1:50052: set GROUNDWIRE_SEARCH_TARGET for the gateway." in shown(misled)


@pytest.mark.parametrize(
    ("circuit", "told", "all_serve"),
    [
        (
            gateway_pb2.BackendStatus(
                circuit=gateway_pb2.CIRCUIT_STATE_OPEN,
                failures_in_row=5,
                retry_after=Duration(seconds=3, nanos=140_000_000),
            ),
            "The gateway refuses questions that need inference: 5 calls in a row to it failed. It is tried again in 3",
            False,
        ),
        (
            gateway_pb2.BackendStatus(circuit=gateway_pb2.CIRCUIT_STATE_HALF_OPEN, failures_in_row=1),
            "The next question tries whether inference is well again: 1 call to it failed.\n",
            True,
        ),
        (gateway_pb2.BackendStatus(circuit=gateway_pb2.CIRCUIT_STATE_CLOSED, failures_in_row=4), "", True),
    ],
)
def test_a_circuit_that_is_not_closed_is_told(circuit: gateway_pb2.BackendStatus, told: str, all_serve: bool) -> None:
    circuit.name = "inference"
    circuit.state = gateway_pb2.BACKEND_STATE_SERVING
    seen = report(gateway_status=gateway_pb2.GetStatusResponse(version="0.1.0", backends=[circuit]))
    assert told in shown(seen)
    assert ("failed" in shown(seen)) == bool(told)
    assert seen.all_serve is all_serve


def test_json_has_every_service() -> None:
    written = json.loads(json.dumps(status_json(report(model=None))))
    assert written["all_serve"] is True
    assert written["gateway"]["state"] == "serving"
    assert written["search"]["status"]["providers"][0]["quotas"][0]["remaining"] == 14_990
    assert written["inference"]["status"]["slots"] == 4
    assert written["inference"]["status"]["prefix_cache_limit_mib"] == 2048
    assert written["inference"]["model"] is None


async def test_what_is_missing_and_how_to_start_it(tmp_path: Path) -> None:
    ran = await groundwire(
        "status",
        folder=tmp_path,
        GROUNDWIRE_GATEWAY_LISTEN=NOWHERE,
        GROUNDWIRE_SEARCH_LISTEN=NOWHERE,
        GROUNDWIRE_INFERENCE_LISTEN=NOWHERE,
    )
    assert ran.code == 1
    for name in ("gateway", "search", "inference"):
        assert f"Start it with `groundwire serve {name}`, or everything with `groundwire up`." in ran.stdout


async def test_what_answers_is_asked_and_another_service_is_recognised() -> None:
    status = gateway_pb2.GetStatusResponse(version="7.0.0")
    async with scripted_gateway(status=status) as gateway:
        # A gateway stands where the search service should.
        told = await gather_report({"gateway": gateway.target, "search": gateway.target, "inference": NOWHERE})
    assert told.gateway.serving
    assert told.gateway_status == status
    assert told.search.problem == "What answers there is not the search service."
    assert told.inference.state == "unreachable"
    assert not told.all_serve
