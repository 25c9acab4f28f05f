"""What settings switch on, what they refuse, and that nothing runs where they say nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from groundwire_rpc.calls import serving_call
from groundwire_rpc.channels import open_channel
from groundwire_rpc.guard import SharedToken
from groundwire_rpc.metrics import MAX_REASONS, OTHER, BoundedLabel, RpcMetrics
from groundwire_rpc.running_telemetry import running_telemetry
from groundwire_rpc.security import ServerSecurity
from groundwire_rpc.server import RpcServer
from groundwire_rpc.settings import SettingsError, load_settings
from groundwire_rpc.telemetry import OFF, Telemetry, watched_call
from groundwire_rpc.telemetry_settings import TelemetrySettings
from tests.support.scripted_service import SCRIPTED_METHOD, SCRIPTED_SERVICE, add_scripted_service

OPEN = ServerSecurity()
OPTIONAL = ("opentelemetry", "prometheus_client")


def python(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def test_nothing_is_imported_where_nothing_is_asked_for() -> None:
    done = python(
        "import asyncio, sys\n"
        "import gateway.__main__, search_service.__main__, inference_service.__main__\n"
        "from groundwire_rpc.running_telemetry import running_telemetry\n"
        "from groundwire_rpc.telemetry_settings import TelemetrySettings\n"
        "async def run():\n"
        "    async with running_telemetry('gateway', TelemetrySettings(), metrics_listen=None) as telemetry:\n"
        "        assert not telemetry.is_on\n"
        "asyncio.run(run())\n"
        f"print([name for name in sys.modules if name.partition('.')[0] in {OPTIONAL}])\n"
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


@pytest.mark.parametrize(
    ("package", "service", "setting", "value"),
    [
        ("opentelemetry", "gateway", "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
        ("prometheus_client", "gateway", "GROUNDWIRE_GATEWAY_METRICS_LISTEN", "127.0.0.1:0"),
        ("prometheus_client", "search_service", "GROUNDWIRE_SEARCH_METRICS_LISTEN", "127.0.0.1:0"),
        ("prometheus_client", "inference_service", "GROUNDWIRE_INFERENCE_METRICS_LISTEN", "127.0.0.1:0"),
    ],
)
def test_a_service_that_lacks_the_package_says_what_to_install(
    package: str, service: str, setting: str, value: str
) -> None:
    done = python(
        f"import sys\nsys.modules[{package!r}] = None\nfrom {service}.__main__ import main\nsys.exit(main())\n",
        **{setting: value},
    )
    assert done.returncode == 1
    assert f"{setting} is set, but the package {package} is not installed here" in done.stderr
    assert "pip install 'groundwire[telemetry]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["127.0.0.1:4318", "http://", "http://me:hidden@host:4318", "ftp://host"])
def test_a_bad_endpoint_is_named_and_not_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    with pytest.raises(SettingsError) as caught:
        load_settings(TelemetrySettings)
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in str(caught.value)
    assert "hidden" not in str(caught.value)


async def test_metrics_for_other_hosts_want_a_word() -> None:
    with pytest.raises(SettingsError, match="GROUNDWIRE_METRICS_REMOTE=true"):
        async with running_telemetry("search", TelemetrySettings(), metrics_listen="0.0.0.0:0"):
            pass
    allowed = TelemetrySettings(metrics_remote=True)
    async with running_telemetry("search", allowed, metrics_listen="0.0.0.0:0") as telemetry:
        assert telemetry.registry is not None


def test_values_of_a_label_are_bounded() -> None:
    label = BoundedLabel()
    assert label.value("QUEUE_FULL") == "QUEUE_FULL"
    assert label.value("what is my password") == OTHER
    assert len({label.value(f"REASON_{number}") for number in range(1000)}) == MAX_REASONS
    assert label.value("QUEUE_FULL") == "QUEUE_FULL"


@asynccontextmanager
async def served(telemetry: Telemetry, security: ServerSecurity = OPEN) -> AsyncIterator[str]:
    async def behave(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        async with serving_call("Do", context, lambda _: None):
            if request == b"fail":
                raise ZeroDivisionError
            return b"on" if watched_call() is not None else b"off"

    server = RpcServer("127.0.0.1:0", [SCRIPTED_SERVICE], security, telemetry)
    add_scripted_service(server.grpc_server, behave)
    address = await server.start()
    try:
        yield address
    finally:
        await server.stop(0)


async def test_calls_are_watched_only_where_someone_wants_to_know() -> None:
    registry = CollectorRegistry()
    for telemetry, expected in ((OFF, b"off"), (Telemetry(calls=RpcMetrics(registry)), b"on")):
        async with served(telemetry) as address, open_channel(address) as channel:
            assert await channel.unary_unary(SCRIPTED_METHOD)(b"", timeout=10) == expected


async def test_strangers_make_no_label() -> None:
    """Each with a method and a token of their own, none of which may be seen in the metrics."""
    registry = CollectorRegistry()
    gate = SharedToken(SecretStr("0123456789abcdef"), "GROUNDWIRE_BACKEND_TOKEN")
    telemetry = Telemetry(calls=RpcMetrics(registry))
    async with served(telemetry, ServerSecurity(gate=gate)) as address, open_channel(address) as channel:
        for number in range(5):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(f"/tests.Scripted/Stranger{number}")(
                    b"", timeout=10, metadata=(("authorization", f"Bearer secret-number-{number:04}"),)
                )
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    found = {
        sample.name: (sample.labels, sample.value)
        for family in registry.collect()
        for sample in family.samples
        if sample.name in ("groundwire_rpc_errors_total", "rpc_server_call_duration_seconds_count")
    }
    labels = {"rpc_method": OTHER, "rpc_response_status_code": "UNAUTHENTICATED"}
    assert found["rpc_server_call_duration_seconds_count"] == (labels, 5)
    assert found["groundwire_rpc_errors_total"] == ({**labels, "reason": "TOKEN_REFUSED"}, 5)
    assert "secret-number" not in str(list(registry.collect()))


async def test_what_nobody_expected_is_counted() -> None:
    registry = CollectorRegistry()
    async with served(Telemetry(calls=RpcMetrics(registry))) as address, open_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(SCRIPTED_METHOD)(b"fail", timeout=10)
    labels = {"rpc_method": OTHER, "rpc_response_status_code": "INTERNAL", "reason": "INTERNAL"}
    assert registry.get_sample_value("groundwire_rpc_errors_total", labels) == 1
