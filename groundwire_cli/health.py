"""Asks a service whether it serves, by grpc.health.v1."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from groundwire_rpc.channels import PLAINTEXT, ChannelSecurity, open_channel
from groundwire_rpc.tls import closed_at_once, tls_problem

POLL_SECONDS: Final = 0.1
"""Between two health checks while waiting."""

CLOSED_OFTEN: Final = 20
"""Connections that are closed one after another until waiting is given up: a service that starts closes one at most."""


class NotServing(Exception):
    """The service did not say that it serves in time."""


async def reports_serving(channel: grpc.aio.Channel, rpc_service: str, *, timeout_seconds: float) -> bool:
    """Whether it answers SERVING under this name. Raises grpc.aio.AioRpcError where it gives no answer."""
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=rpc_service)
    response = await stub.Check(request, timeout=timeout_seconds)  # type: ignore[attr-defined]  # not in its stubs
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


async def wait_until_serving(
    target: str, rpc_service: str, *, timeout_seconds: float, security: ChannelSecurity = PLAINTEXT
) -> None:
    """Wait until the service reports SERVING under this name.

    Raises NotServing after the timeout, and at once where the two sides do not agree on TLS: waiting mends no
    certificate.
    """
    deadline = time.monotonic() + timeout_seconds
    closed = 0
    async with open_channel(target, security) as channel:
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise NotServing(f"{rpc_service} at {target} did not report SERVING within {timeout_seconds:g} s")
            try:
                if await reports_serving(channel, rpc_service, timeout_seconds=min(remaining, 2.0)):
                    return
            except grpc.aio.AioRpcError as error:
                details = error.details() or ""
                if problem := tls_problem(details):
                    raise NotServing(f"{rpc_service} at {target} {problem}") from None
                closed = closed + 1 if closed_at_once(details) else 0
                if closed == CLOSED_OFTEN:
                    raise NotServing(
                        f"{rpc_service} at {target} closes every connection; it may want TLS or a certificate"
                    ) from None
            await asyncio.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
