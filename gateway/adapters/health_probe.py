"""Asks a service behind the gateway how it is, through grpc.health.v1."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.adapters.backends import Backend
from gateway.core.types import BackendState, BackendStatus


class HealthProbe:
    """A BackendProbe over a channel to the service. The caller closes the channel."""

    def __init__(self, channel: grpc.aio.Channel, backend: Backend) -> None:
        self._backend = backend
        self._stub = health_pb2_grpc.HealthStub(channel)

    async def probe(self, *, timeout_seconds: float) -> BackendStatus:
        """How the service is, within the time."""
        backend = self._backend
        try:
            answer = await self._stub.Check(  # type: ignore[attr-defined]  # the published stubs leave it out
                health_pb2.HealthCheckRequest(service=backend.grpc_service),
                timeout=timeout_seconds,
                wait_for_ready=False,
            )
        except grpc.aio.AioRpcError as error:
            return self._failed(error.code(), error.details() or "", timeout_seconds)
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return BackendStatus(backend.name, backend.target, BackendState.SERVING)
        detail = f"The {backend.name} service is starting, loading or stopping: it is not ready to serve."
        return BackendStatus(backend.name, backend.target, BackendState.NOT_SERVING, detail)

    def _failed(self, code: grpc.StatusCode, details: str, timeout_seconds: float) -> BackendStatus:
        backend = self._backend
        state = BackendState.UNREACHABLE
        match code:
            case grpc.StatusCode.NOT_FOUND | grpc.StatusCode.UNIMPLEMENTED:
                state = BackendState.NOT_SERVING
                detail = f"What answers at {backend.target} is not the {backend.name} service. {backend.how_to_reach}"
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                detail = f"The {backend.name} service did not answer its health check within {timeout_seconds:g} s."
            case grpc.StatusCode.UNAVAILABLE if problem := backend.distrust(details):
                detail = problem
            case _:
                detail = f"The {backend.name} service cannot be reached. {backend.how_to_reach}"
        return BackendStatus(backend.name, backend.target, state, detail)
