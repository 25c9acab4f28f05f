"""The composition root: channels, adapters, core and servicer put together."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

import structlog

from gateway.adapters.api_keys import ApiKeys
from gateway.adapters.backends import Backend
from gateway.adapters.health_probe import HealthProbe
from gateway.adapters.inference_client import GRPC_SERVICE as INFERENCE_SERVICE
from gateway.adapters.inference_client import INFERENCE, InferenceClient
from gateway.adapters.search_client import GRPC_SERVICE as SEARCH_SERVICE
from gateway.adapters.search_client import SEARCH, SearchClient
from gateway.config import GatewayConfig
from gateway.core.answer import Answerer
from gateway.core.circuit import Circuit
from gateway.core.guards import GuardedProbe
from gateway.core.types import CircuitState, CircuitStatus
from gateway.servicer import SERVICE_NAME, AnswerServicer
from groundwire.gateway.v1 import gateway_pb2_grpc
from groundwire_rpc.channels import ChannelSecurity, open_channel
from groundwire_rpc.security import ServerSecurity, server_security
from groundwire_rpc.server import RpcServer, serve_until_stopped
from groundwire_rpc.tls import client_tls

log = structlog.get_logger(__name__)


def build_server(config: GatewayConfig, resources: AsyncExitStack) -> RpcServer:
    """The gateway, not yet listening. Its channels are closed with `resources`; they connect when first used.

    Raises SettingsError where a certificate or the key file is no good.
    """
    search = Backend(SEARCH, config.search_target, SEARCH_SERVICE)
    inference = Backend(INFERENCE, config.inference_target, INFERENCE_SERVICE)
    # Channels retry nothing by themselves, whatever a service config says: the Answerer alone makes second attempts.
    search_channel = open_channel(search.target, _channel_security(config, SEARCH))
    resources.push_async_callback(search_channel.close)
    inference_channel = open_channel(inference.target, _channel_security(config, INFERENCE))
    resources.push_async_callback(inference_channel.close)
    search_circuit = _circuit(SEARCH, config)
    inference_circuit = _circuit(INFERENCE, config)
    answerer = Answerer(
        SearchClient(search_channel, search),
        InferenceClient(inference_channel, inference),
        search_circuit=search_circuit,
        inference_circuit=inference_circuit,
        clock=time.monotonic,
        max_search_seconds=config.gateway_search_timeout_seconds,
    )
    servicer = AnswerServicer(
        answerer,
        [
            GuardedProbe(HealthProbe(search_channel, search), search_circuit),
            GuardedProbe(HealthProbe(inference_channel, inference), inference_circuit),
        ],
        default_timeout_seconds=config.ask_timeout_seconds,
        max_request_bytes=config.gateway_max_request_bytes,
    )
    server = RpcServer(config.gateway_listen, [SERVICE_NAME], _security(config))
    gateway_pb2_grpc.add_AnswerServiceServicer_to_server(servicer, server.grpc_server)
    return server


def _circuit(service: str, config: GatewayConfig) -> Circuit:
    return Circuit(
        service,
        clock=time.monotonic,
        failures_to_open=config.gateway_circuit_failures,
        open_seconds=config.gateway_circuit_open_seconds,
        on_change=_log_change,
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
        keys = ApiKeys(keys_file, max_concurrent_calls=config.gateway_api_key_concurrency)
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
        server = build_server(config, resources)
        await serve_until_stopped("gateway", server, grace_seconds=config.shutdown_grace_seconds)
