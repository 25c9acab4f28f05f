"""GetStatus, health and reflection over real servers."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import AsyncExitStack

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway.config import GatewayConfig
from gateway.server import build_server
from gateway.servicer import SERVICE_NAME
from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire_rpc.channels import open_channel
from groundwire_rpc.version import version
from tests.support.fake_services import HANG, FakeInference, FakeSearch, serving


async def open_gateway(resources: AsyncExitStack, search: str, inference: str) -> str:
    config = GatewayConfig(gateway_listen="127.0.0.1:0", search_target=search, inference_target=inference)
    server = build_server(config, resources)
    address = await server.start()
    await server.set_serving(True)
    resources.push_async_callback(server.stop, 0)
    return address


async def test_the_status_tells_how_each_service_is_and_how_many_questions_run() -> None:
    async with AsyncExitStack() as resources:
        search = FakeSearch([HANG])
        target = await resources.enter_async_context(serving(search))
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            missing = f"127.0.0.1:{reserved.getsockname()[1]}"
        address = await open_gateway(resources, target, missing)
        stub = gateway_pb2_grpc.AnswerServiceStub(await resources.enter_async_context(open_channel(address)))
        asking = stub.Ask(gateway_pb2.AskRequest(question="Why?"), timeout=20)
        await asyncio.wait_for(search.arrived.wait(), 20)
        status = await stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=5)
        asking.cancel()

    assert status.version == version()
    assert status.running_asks == 1
    first, second = status.backends
    assert (first.name, first.target, first.detail) == ("search", target, "")
    assert (first.circuit, first.failures_in_row) == (gateway_pb2.CIRCUIT_STATE_CLOSED, 0)
    assert not first.HasField("retry_after")
    assert first.state == gateway_pb2.BACKEND_STATE_SERVING
    assert (second.name, second.state) == ("inference", gateway_pb2.BACKEND_STATE_UNREACHABLE)
    assert "groundwire serve inference" in second.detail


async def test_services_that_say_nothing_are_waited_for_together_and_not_long() -> None:
    async with AsyncExitStack() as resources:
        silent = resources.enter_context(socket.create_server(("127.0.0.1", 0)))
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        address = await open_gateway(resources, target, target)
        stub = gateway_pb2_grpc.AnswerServiceStub(await resources.enter_async_context(open_channel(address)))
        begun = time.monotonic()
        status = await stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=10)
    assert time.monotonic() - begun < 3.9
    assert [backend.state for backend in status.backends] == [gateway_pb2.BACKEND_STATE_UNREACHABLE] * 2


async def test_a_service_that_is_loading_is_not_serving() -> None:
    async with AsyncExitStack() as resources:
        loading = FakeInference([])
        target = await resources.enter_async_context(serving(loading, healthy=False))
        search = await resources.enter_async_context(serving(FakeSearch([HANG])))
        address = await open_gateway(resources, search, target)
        stub = gateway_pb2_grpc.AnswerServiceStub(await resources.enter_async_context(open_channel(address)))
        status = await stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=5)
    assert status.backends[1].state == gateway_pb2.BACKEND_STATE_NOT_SERVING
    assert "not ready" in status.backends[1].detail


@pytest.mark.parametrize("service", ["", SERVICE_NAME])
async def test_the_gateway_is_healthy_by_name_and_overall(service: str) -> None:
    async with AsyncExitStack() as resources:
        address = await open_gateway(resources, "127.0.0.1:1", "127.0.0.1:1")
        stub = health_pb2_grpc.HealthStub(await resources.enter_async_context(open_channel(address)))
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_service_and_describes_it() -> None:
    async with AsyncExitStack() as resources:
        address = await open_gateway(resources, "127.0.0.1:1", "127.0.0.1:1")
        stub = reflection_pb2_grpc.ServerReflectionStub(await resources.enter_async_context(open_channel(address)))
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE_NAME),
        ]
        listed, described = [answer async for answer in stub.ServerReflectionInfo(iter(asked), timeout=5)]
    names = {service.name for service in listed.list_services_response.service}
    assert {SERVICE_NAME, "grpc.health.v1.Health"} <= names
    assert described.file_descriptor_response.file_descriptor_proto
