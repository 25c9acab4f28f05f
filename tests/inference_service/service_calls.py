"""Calls of the inference service, and what they fail with."""

from __future__ import annotations

import asyncio
import itertools

import grpc
import pytest
from google.protobuf import json_format

from groundwire.inference.v1 import inference_pb2 as pb
from groundwire.inference.v1 import inference_pb2_grpc

SLOTS = 2
QUEUE = 2


_salts = itertools.count()


def request(**fields: object) -> pb.GenerateRequest:
    """A request that shares nothing with another, unless the test gives them the same salt."""
    defaults = {"text": "The quick brown fox", "cacheSalt": f"request {next(_salts)}"}
    return json_format.ParseDict({**defaults, **fields}, pb.GenerateRequest())


async def until_idle(service: inference_pb2_grpc.InferenceServiceAsyncStub) -> pb.GetStatusResponse:
    async with asyncio.timeout(20):
        while True:
            status = await service.GetStatus(pb.GetStatusRequest())
            if (status.slots_used, status.queue_length, status.kv_cells_reserved) == (0, 0, 0):
                return status
            await asyncio.sleep(0.005)


async def failure(call: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value


GROUNDED = {
    "text": None,
    "chat": {
        "messages": [{"role": "ROLE_USER", "content": "Which port does the gateway listen on?"}],
        "documents": [
            {"title": "Weather", "host": "example.org", "text": "It rains in spring."},
            {"title": "Ports", "host": "local", "text": "The gateway listens on port 50051. It has no state."},
        ],
    },
}


def grounded(**fields: object) -> pb.GenerateRequest:
    return request(**{**GROUNDED, **fields})
