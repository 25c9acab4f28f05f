"""The composition root: channels, adapters, core and servicer put together."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from gateway.adapters.api_keys import ApiKeys, KeyLimits
from gateway.adapters.backends import Backend
from gateway.adapters.callers import Callers
from gateway.adapters.health_probe import HealthProbe
from gateway.adapters.inference_client import GRPC_SERVICE as INFERENCE_SERVICE
from gateway.adapters.inference_client import INFERENCE, InferenceClient
from gateway.adapters.observation import ObservedAnswerer
from gateway.adapters.search_client import GRPC_SERVICE as SEARCH_SERVICE
from gateway.adapters.search_client import SEARCH, SearchClient
from gateway.config import GatewayConfig
from gateway.core.admission import Admission, AdmissionLimits
from gateway.core.circuit import Circuit
from gateway.core.guards import GuardedProbe
from gateway.core.recent_findings import RecentFindings
from gateway.core.types import CircuitState, CircuitStatus
from gateway.servicer import SERVICE_NAME, AnswerServicer
from groundwire.gateway.v1 import gateway_pb2_grpc
from groundwire_rpc.channels import ChannelSecurity, open_channel
from groundwire_rpc.connections import channel_options
from groundwire_rpc.observed_channel import observed
from groundwire_rpc.running_telemetry import running_telemetry
from groundwire_rpc.security import ServerSecurity, server_security
from groundwire_rpc.server import RpcServer, serve_until_stopped
from groundwire_rpc.telemetry import OFF, Telemetry
from groundwire_rpc.tls import client_tls

if TYPE_CHECKING:
    from gateway.adapters.metrics import GatewayMetrics

log = structlog.get_logger(__name__)


def build_server(config: GatewayConfig, resources: AsyncExitStack, telemetry: Telemetry = OFF) -> RpcServer:
    """The gateway, not yet listening. Its channels are closed with `resources`; they connect when first used.

    Raises SettingsError where a certificate or the key file is no good.
    """
    search = Backend(SEARCH, config.search_target, SEARCH_SERVICE)
    inference = Backend(INFERENCE, config.inference_target, INFERENCE_SERVICE)
    # Channels retry nothing by themselves, whatever a service config says: the Answerer alone makes second attempts.
    options = channel_options(config.keepalive_seconds)
    search_channel = observed(open_channel(search.target, _channel_security(config, SEARCH), options), telemetry)
    resources.push_async_callback(search_channel.close)
    inference_channel = observed(
        open_channel(inference.target, _channel_security(config, INFERENCE), options), telemetry
    )
    resources.push_async_callback(inference_channel.close)
    metrics = _metrics(telemetry)
    search_circuit = _circuit(SEARCH, config, metrics)
    inference_circuit = _circuit(INFERENCE, config, metrics)
    answerer = ObservedAnswerer(
        SearchClient(search_channel, search),
        InferenceClient(inference_channel, inference),
        search_circuit=search_circuit,
        inference_circuit=inference_circuit,
        clock=time.monotonic,
        max_search_seconds=config.gateway_search_timeout_seconds,
        recent=_recent_findings(config),
        counts=metrics,
        logs_content=config.gateway_log_content,
    )
    admission = Admission(
        AdmissionLimits(config.gateway_max_asks, config.gateway_max_held_bytes, config.gateway_caller_share)
    )
    if telemetry.registry is not None:
        from gateway.adapters.metrics import StatusCollector

        circuits = {SEARCH: search_circuit, INFERENCE: inference_circuit}
        telemetry.registry.register(StatusCollector(answerer, admission, circuits))
    servicer = AnswerServicer(
        answerer,
        [
            GuardedProbe(HealthProbe(search_channel, search), search_circuit),
            GuardedProbe(HealthProbe(inference_channel, inference), inference_circuit),
        ],
        admission=admission,
        callers=Callers(config.backend_token, share_prompts=config.gateway_share_kept_prompts),
        default_timeout_seconds=config.ask_timeout_seconds,
        max_request_bytes=config.gateway_max_request_bytes,
        max_stall_seconds=config.gateway_stream_stall_seconds,
    )
    server = RpcServer(
        config.gateway_listen, [SERVICE_NAME], _security(config), telemetry, connections=config.connections
    )
    gateway_pb2_grpc.add_AnswerServiceServicer_to_server(servicer, server.grpc_server)
    return server


def _metrics(telemetry: Telemetry) -> GatewayMetrics | None:
    if telemetry.registry is None:
        return None
    from gateway.adapters.metrics import GatewayMetrics

    return GatewayMetrics(telemetry.registry)


def _circuit(service: str, config: GatewayConfig, metrics: GatewayMetrics | None) -> Circuit:
    def changed(service: str, status: CircuitStatus) -> None:
        _log_change(service, status)
        if metrics is not None:
            metrics.circuit_changed(service, status)

    return Circuit(
        service,
        clock=time.monotonic,
        failures_to_open=config.gateway_circuit_failures,
        open_seconds=config.gateway_circuit_open_seconds,
        on_change=changed,
    )


def _recent_findings(config: GatewayConfig) -> RecentFindings | None:
    if not config.gateway_brown_out_seconds:
        return None
    return RecentFindings(
        max_age_seconds=config.gateway_brown_out_seconds,
        max_entries=config.gateway_brown_out_entries,
        clock=time.monotonic,
    )


def _log_change(service: str, status: CircuitStatus) -> None:
    write = log.info if status.state is CircuitState.CLOSED else log.warning
    write("circuit", backend=service, state=status.state.value, failures_in_row=status.failures_in_row)


def _channel_security(config: GatewayConfig, service: str) -> ChannelSecurity:
    return ChannelSecurity(client_tls(config, service), config.backend_token)


def _security(config: GatewayConfig) -> ServerSecurity:
    keys_file = config.file("gateway_api_keys_file")
    keys = None
    if keys_file.path is not None:
        limits = KeyLimits(config.gateway_api_key_concurrency, config.gateway_api_key_requests_per_minute)
        keys = ApiKeys(keys_file, limits)
    return server_security(
        config,
        "gateway",
        config.gateway_listen,
        gate=keys,
        gate_setting=keys_file.variable,
        reflection=config.reflection,
        allow_insecure=config.allow_insecure_listen,
    )


async def serve(config: GatewayConfig) -> None:
    """Serve until SIGTERM or SIGINT. Raises AddressInUse and SettingsError."""
    async with AsyncExitStack() as resources:
        telemetry = await resources.enter_async_context(
            running_telemetry("gateway", config, metrics_listen=config.gateway_metrics_listen)
        )
        server = build_server(config, resources, telemetry)
        await serve_until_stopped(
            "gateway",
            server,
            grace_seconds=config.shutdown_grace_seconds,
            settle_seconds=config.shutdown_settle_seconds,
        )
