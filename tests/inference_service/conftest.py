"""The service over a real gRPC connection, on real weights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest
import pytest_asyncio

from groundwire.inference.v1 import inference_pb2 as pb
from groundwire.inference.v1 import inference_pb2_grpc
from groundwire_rpc.channels import open_channel
from groundwire_rpc.server import RpcServer
from inference_service.config import InferenceConfig
from inference_service.core.generation import Generation
from inference_service.server import open_model
from inference_service.servicer import SERVICE_NAME, InferenceServicer
from tests.inference_service.service_calls import QUEUE, SLOTS
from tests.support.builtin_model import BUILTIN_MODEL


@asynccontextmanager
async def serving(**settings: object) -> AsyncIterator[inference_pb2_grpc.InferenceServiceAsyncStub]:
    config = InferenceConfig(
        model=str(BUILTIN_MODEL),
        inference_slots=SLOTS,
        inference_queue=QUEUE,
        inference_context=4096,
        inference_threads=1,
        inference_gpu_layers=0,
        **settings,
    )
    async with AsyncExitStack() as resources:
        generation = Generation(clock=asyncio.get_running_loop().time)
        server = RpcServer("127.0.0.1:0", [SERVICE_NAME])
        servicer = InferenceServicer(generation, default_timeout_seconds=60, stall_seconds=20)
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(servicer, server.grpc_server)
        address = await server.start()
        resources.push_async_callback(server.stop, 0)
        channel = await resources.enter_async_context(open_channel(address))
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as loading:
            await stub.GetModel(pb.GetModelRequest())
        assert loading.value.code() is grpc.StatusCode.UNAVAILABLE
        generation.attach(await open_model(config, resources, lambda failure: None))
        yield stub


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service() -> AsyncIterator[inference_pb2_grpc.InferenceServiceAsyncStub]:
    async with serving() as stub:
        yield stub


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def repeating_service() -> AsyncIterator[inference_pb2_grpc.InferenceServiceAsyncStub]:
    """A service that keeps nothing, so that a request without drafts takes the same passes over the same cells each
    time. In others logits round differently, and then a warm draw may fall on another token.
    """
    async with serving(inference_prefix_cache_mib=0) as stub:
        yield stub
