"""Asks every service how it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

import grpc

from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire.inference.v1 import inference_pb2, inference_pb2_grpc
from groundwire.search.v1 import search_pb2, search_pb2_grpc
from groundwire_cli.health import reports_serving
from groundwire_cli.rpc_errors import distrust_lines
from groundwire_cli.services import GATEWAY, INFERENCE, SEARCH, Service
from groundwire_cli.terminal_text import printable_line
from groundwire_rpc.channels import PLAINTEXT, ChannelSecurity, open_channel
from groundwire_rpc.status import from_rpc_error

TIMEOUT_SECONDS: Final = 5.0
"""For each call. The gateway's answer includes its own checks of the services behind it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServiceReport:
    """One service."""

    service: Service
    """Which one."""
    target: str
    """Where it was looked for."""
    state: str
    """serving, not serving, or unreachable."""
    problem: str = ""
    """What is wrong and how to mend it. Empty where nothing is."""

    @property
    def serving(self) -> bool:
        """Whether it answered that it serves."""
        return self.state == "serving"


@dataclass(frozen=True, slots=True)
class Report:
    """All services, and what those told that could be asked."""

    gateway: ServiceReport
    """The gateway's health."""
    search: ServiceReport
    """The search service's health."""
    inference: ServiceReport
    """The inference service's health."""
    gateway_status: gateway_pb2.GetStatusResponse | None
    """None where it did not answer."""
    search_status: search_pb2.GetStatusResponse | None
    """None where it did not answer."""
    inference_status: inference_pb2.GetStatusResponse | None
    """None where it did not answer."""
    model: inference_pb2.GetModelResponse | None
    """None where the inference service did not answer."""

    @property
    def services(self) -> tuple[ServiceReport, ServiceReport, ServiceReport]:
        """The three in the order that they are shown."""
        return self.gateway, self.search, self.inference

    @property
    def all_serve(self) -> bool:
        """Whether every service serves and answers this command, and the gateway reaches all and refuses nothing."""
        behind = self.gateway_status.backends if self.gateway_status else ()
        return all(service.serving and not service.problem for service in self.services) and all(
            backend.state == gateway_pb2.BACKEND_STATE_SERVING and backend.circuit != gateway_pb2.CIRCUIT_STATE_OPEN
            for backend in behind
        )


async def gather_report(targets: Mapping[str, str], security: Mapping[str, ChannelSecurity] | None = None) -> Report:
    """Ask all of them at once. `targets` and `security` by the service's name; without security in plaintext."""
    async with status_calls(targets, security) as ask:
        return await ask()


@asynccontextmanager
async def status_calls(
    targets: Mapping[str, str], security: Mapping[str, ChannelSecurity] | None = None
) -> AsyncIterator[Callable[[], Awaitable[Report]]]:
    """The same to ask again and again: the connections last as long as the block."""
    secured = security or {}
    async with (
        open_channel(targets["gateway"], secured.get("gateway", PLAINTEXT)) as to_gateway,
        open_channel(targets["search"], secured.get("search", PLAINTEXT)) as to_search,
        open_channel(targets["inference"], secured.get("inference", PLAINTEXT)) as to_inference,
    ):
        yield lambda: _ask_all(targets, to_gateway, to_search, to_inference)


async def _ask_all(
    targets: Mapping[str, str],
    to_gateway: grpc.aio.Channel,
    to_search: grpc.aio.Channel,
    to_inference: grpc.aio.Channel,
) -> Report:
    gateway_stub = gateway_pb2_grpc.AnswerServiceStub(to_gateway)
    search_stub = search_pb2_grpc.SearchServiceStub(to_search)
    inference_stub = inference_pb2_grpc.InferenceServiceStub(to_inference)
    seconds = TIMEOUT_SECONDS
    async with asyncio.TaskGroup() as group:
        ask = group.create_task
        gateway = ask(_health(GATEWAY, targets["gateway"], to_gateway))
        search = ask(_health(SEARCH, targets["search"], to_search))
        inference = ask(_health(INFERENCE, targets["inference"], to_inference))
        gateway_status = ask(_told(gateway_stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=seconds)))
        search_status = ask(_told(search_stub.GetStatus(search_pb2.GetStatusRequest(), timeout=seconds)))
        inference_status = ask(_told(inference_stub.GetStatus(inference_pb2.GetStatusRequest(), timeout=seconds)))
        model = ask(_told(inference_stub.GetModel(inference_pb2.GetModelRequest(), timeout=seconds)))
    return Report(
        gateway=_with_refusal(gateway.result(), gateway_status.result()),
        search=_with_refusal(search.result(), search_status.result()),
        inference=_with_refusal(inference.result(), inference_status.result()),
        gateway_status=gateway_status.result().answer,
        search_status=search_status.result().answer,
        inference_status=inference_status.result().answer,
        model=model.result().answer,
    )


@dataclass(frozen=True, slots=True)
class _Told(Generic[T]):
    """What a service told of itself, or that it does not tell strangers."""

    answer: T | None
    refusal: str = ""


async def _told(call: Awaitable[T]) -> _Told[T]:
    try:
        return _Told(await call)
    except grpc.aio.AioRpcError as error:
        status = from_rpc_error(error)
        return _Told(None, status.message if status.code is grpc.StatusCode.UNAUTHENTICATED else "")


def _with_refusal(report: ServiceReport, told: _Told[T]) -> ServiceReport:
    return replace(report, problem=printable_line(told.refusal)) if told.refusal and not report.problem else report


async def _health(service: Service, target: str, channel: grpc.aio.Channel) -> ServiceReport:
    try:
        serving = await reports_serving(channel, service.rpc_service, timeout_seconds=TIMEOUT_SECONDS)
    except grpc.aio.AioRpcError as error:
        return ServiceReport(service, target, "unreachable", _why_unreachable(service, error))
    if serving:
        return ServiceReport(service, target, "serving")
    return ServiceReport(
        service, target, "not serving", "It is starting, loading its model, or stopping. Its log says which."
    )


def _why_unreachable(service: Service, error: grpc.aio.AioRpcError) -> str:
    status = from_rpc_error(error)
    if status.code is grpc.StatusCode.NOT_FOUND:
        return f"What answers there is not the {service.name} service."
    advice = f"Start it with `groundwire serve {service.name}`, or everything with `groundwire up`."
    if status.code is grpc.StatusCode.UNAVAILABLE and "refused" in status.message.lower():
        return f"Nothing listens there. {advice}"
    if distrust := distrust_lines(service, "there", status.message):
        return " ".join(distrust)
    return f"{printable_line(status.message) or status.code.name}. {advice}"
