"""What the gateway counts and logs of questions, of the services behind it and of strangers."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import grpc
import pytest
import structlog
from prometheus_client import CollectorRegistry, generate_latest
from structlog.testing import capture_logs

from groundwire.gateway.v1 import gateway_pb2
from groundwire_rpc.metrics import RpcMetrics
from groundwire_rpc.status import RichStatus
from groundwire_rpc.telemetry import Telemetry
from tests.support.fake_services import answer_script
from tests.support.wired_gateway import DOWN, QUESTION, TWO_SOURCES, kinds, wired

CRASH = RichStatus(grpc.StatusCode.INTERNAL, "Nobody expected this.", reason="INTERNAL")
VIENNA = answer_script("Vienna [1].")
ASK = "groundwire.gateway.v1.AnswerService/Ask"


def watching() -> tuple[CollectorRegistry, Telemetry]:
    registry = CollectorRegistry()
    return registry, Telemetry(calls=RpcMetrics(registry), registry=registry)


def states(registry: CollectorRegistry, backend: str) -> dict[str, float]:
    labels = [{"backend": backend, "state": state} for state in ("closed", "open", "half_open")]
    return {each["state"]: registry.get_sample_value("groundwire_circuit_state", each) or 0.0 for each in labels}


async def test_circuits_and_second_attempts_are_seen() -> None:
    registry, telemetry = watching()
    scripts = [[DOWN], VIENNA, [CRASH], [CRASH]]
    settings = {"gateway_circuit_failures": 2, "gateway_circuit_open_seconds": 60}
    async with wired(inference=scripts, telemetry=telemetry, **settings) as gateway:
        assert states(registry, "inference") == {"closed": 1, "open": 0, "half_open": 0}
        assert kinds(await gateway.ask())[-1] == "finished"
        assert registry.get_sample_value("groundwire_retries_total") == 1
        assert registry.get_sample_value("groundwire_retries_left") == 9
        for _ in range(2):
            await gateway.refused()
        assert states(registry, "inference") == {"closed": 0, "open": 1, "half_open": 0}
        assert states(registry, "search") == {"closed": 1, "open": 0, "half_open": 0}
        assert (await gateway.refused()).reason == "INFERENCE_CIRCUIT_OPEN"
    opened = {"backend": "inference", "state": "open"}
    assert registry.get_sample_value("groundwire_circuit_changes_total", opened) == 1
    assert registry.get_sample_value("groundwire_circuit_failures_in_row", {"backend": "inference"}) == 2
    refused = {"rpc_method": ASK, "rpc_response_status_code": "UNAVAILABLE", "reason": "INFERENCE_CIRCUIT_OPEN"}
    assert registry.get_sample_value("groundwire_rpc_errors_total", refused) == 1


async def test_answers_from_old_sources_are_seen() -> None:
    registry, telemetry = watching()
    with capture_logs() as logs:
        async with wired(search=([TWO_SOURCES], [DOWN]), gateway_brown_out_seconds=60, telemetry=telemetry) as gateway:
            await gateway.ask()
            assert registry.get_sample_value("groundwire_stale_answers_total") == 0
            await gateway.ask()
    assert registry.get_sample_value("groundwire_stale_answers_total") == 1
    fresh, stale = [line for line in logs if line["event"] == "call" and line["rpc"] == "Ask"]
    assert "stale_age_seconds" not in fresh
    assert stale["stale_age_seconds"] > 0


async def test_running_answers_and_what_they_hold_are_seen() -> None:
    registry, telemetry = watching()
    go_on = asyncio.Event()
    async with wired(inference=[[go_on, *VIENNA]], telemetry=telemetry, gateway_max_asks=7) as gateway:
        asking = asyncio.create_task(gateway.ask())
        while not gateway.inference.calls:
            await asyncio.sleep(0.01)
        assert registry.get_sample_value("groundwire_asks_running") == 1
        assert registry.get_sample_value("groundwire_asks_limit") == 7
        assert (registry.get_sample_value("groundwire_held_bytes") or 0) > 0
        go_on.set()
        await asking
        assert await gateway.idle()
    assert registry.get_sample_value("groundwire_asks_running") == 0
    assert registry.get_sample_value("groundwire_held_bytes") == 0


async def test_strangers_are_counted_without_their_keys(tmp_path: Path) -> None:
    registry, telemetry = watching()
    keys = tmp_path / "keys"
    keys.write_text("alice " + hashlib.sha256(b"gwk_right").hexdigest() + "\n")
    with capture_logs() as logs:
        async with wired(telemetry=telemetry, gateway_api_keys_file=keys) as gateway:
            assert (await gateway.refused()).reason == "KEY_MISSING"
            metadata = (("authorization", "Bearer gwk_wrong-and-secret"),)
            assert (await gateway.refused(metadata=metadata)).reason == "KEY_REFUSED"
            await gateway.ask(metadata=(("authorization", "Bearer gwk_right"),))
    labels = {"rpc_method": ASK, "rpc_response_status_code": "UNAUTHENTICATED"}
    for reason in ("KEY_MISSING", "KEY_REFUSED"):
        assert registry.get_sample_value("groundwire_rpc_errors_total", {**labels, "reason": reason}) == 1
    exposed = generate_latest(registry).decode()
    for secret in ("wrong-and-secret", "gwk_right", "alice", "Vienna", "Austria"):
        assert secret not in exposed
    for secret in ("wrong-and-secret", "gwk_right"):
        assert secret not in json.dumps(logs, default=str)


@pytest.mark.parametrize("logs_content", [False, True])
async def test_questions_and_answers_are_logged_only_where_asked_for(logs_content: bool) -> None:
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        async with wired(gateway_log_content=logs_content) as gateway:
            await gateway.ask()
            await gateway.stub.Answer(gateway_pb2.AnswerRequest(ask=QUESTION), timeout=5)
    calls = [line for line in logs if line["event"] == "call" and line["rpc"] in ("Ask", "Answer")]
    assert len(calls) == 2
    for line in calls:
        assert (line.get("question"), line.get("answer")) == (
            (QUESTION.question, "Vienna [1].") if logs_content else (None, None)
        )
        assert line["outcome"] == "answered"
    if not logs_content:
        assert "Austria" not in json.dumps(logs, default=str)
