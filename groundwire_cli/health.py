"""Asks a service whether it serves, by grpc.health.v1."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from groundwire_rpc.channels import open_channel

POLL_SECONDS: Final = 0.1
"""Between two health checks while waiting."""


class NotServing(Exception):
    """The service did not say that it serves in time."""


async def reports_serving(channel: grpc.aio.Channel, rpc_service: str, *, timeout_seconds: float) -> bool:
    """Whether it answers SERVING under this name. Raises grpc.aio.AioRpcError where it gives no answer."""
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=rpc_service)
    response = await stub.Check(request, timeout=timeout_seconds)  # type: ignore[attr-defined]  # not in its stubs
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


async def wait_until_serving(target: str, rpc_service: str, *, timeout_seconds: float) -> None:
    """Wait until the service reports SERVING under this name. Raises NotServing after the timeout."""
    deadline = time.monotonic() + timeout_seconds
    async with open_channel(target) as channel:
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise NotServing(f"{rpc_service} at {target} did not report SERVING within {timeout_seconds:g} s")
            with contextlib.suppress(grpc.aio.AioRpcError):
                if await reports_serving(channel, rpc_service, timeout_seconds=min(remaining, 2.0)):
                    return
            await asyncio.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
