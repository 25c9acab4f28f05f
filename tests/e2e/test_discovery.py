"""What grpcurl and balancers use: reflection and health, on all three."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from groundwire_rpc.channels import open_channel
from tests.support.stack import Stack

SERVICES = {
    "gateway": ("groundwire.gateway.v1.AnswerService", {"Ask", "Answer", "GetStatus"}),
    "search": ("groundwire.search.v1.SearchService", {"Search", "GetStatus"}),
    "inference": (
        "groundwire.inference.v1.InferenceService",
        {"Generate", "Complete", "CountTokens", "GetModel", "GetStatus"},
    ),
}


def address(stack: Stack, name: str) -> str:
    return {"gateway": stack.gateway, "search": stack.search, "inference": stack.inference}[name].address


@pytest.mark.parametrize("name", SERVICES)
async def test_reflection_describes_the_service(stack: Stack, name: str) -> None:
    full_name, methods = SERVICES[name]
    async with open_channel(address(stack, name)) as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            iter(
                [
                    reflection_pb2.ServerReflectionRequest(list_services=""),
                    reflection_pb2.ServerReflectionRequest(file_containing_symbol=full_name),
                ]
            ),
            timeout=10,
        )
        listed, described = [response async for response in call]
    names = {service.name for service in listed.list_services_response.service}
    assert {full_name, "grpc.health.v1.Health"} <= names
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(file)
        for file in described.file_descriptor_response.file_descriptor_proto
    ]
    found = {method.name for file in files for service in file.service for method in service.method}
    assert methods <= found


@pytest.mark.parametrize("name", SERVICES)
async def test_health_by_name_and_overall(stack: Stack, name: str) -> None:
    async with open_channel(address(stack, name)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for asked in ("", SERVICES[name][0]):
            response = await stub.Check(health_pb2.HealthCheckRequest(service=asked), timeout=10)
            assert response.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stub.Check(health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=10)
    assert failure.value.code() is grpc.StatusCode.NOT_FOUND
