from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from groundwire.gateway.v1 import gateway_pb2_grpc
from groundwire.inference.v1 import inference_pb2_grpc
from groundwire_rpc.channels import open_channel
from tests.support.stack import Stack, running_stack


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All three services. A test that kills one starts it again."""
    with running_stack(tmp_path_factory.mktemp("stack")) as services:
        yield services


@pytest.fixture
async def to_gateway(stack: Stack) -> AsyncIterator[grpc.aio.Channel]:
    async with open_channel(stack.gateway.address) as channel:
        yield channel


@pytest.fixture
def gateway(to_gateway: grpc.aio.Channel) -> gateway_pb2_grpc.AnswerServiceAsyncStub:
    return gateway_pb2_grpc.AnswerServiceStub(to_gateway)


@pytest.fixture
async def inference(stack: Stack) -> AsyncIterator[inference_pb2_grpc.InferenceServiceAsyncStub]:
    async with open_channel(stack.inference.address) as channel:
        yield inference_pb2_grpc.InferenceServiceStub(channel)
