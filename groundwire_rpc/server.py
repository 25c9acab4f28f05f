"""One way to run a gRPC server: listen, announce, be healthy, and leave in order.

Order at SIGTERM or SIGINT: health turns NOT_SERVING, a settle time passes so that balancers notice, then new calls are
refused while running ones finish within the grace. A second signal ends at once.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final, Self

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from groundwire_rpc.connections import Connections
from groundwire_rpc.guard import Guard
from groundwire_rpc.malformed import MalformedRequests
from groundwire_rpc.request_reading import RequestReading
from groundwire_rpc.security import ServerSecurity
from groundwire_rpc.telemetry import OFF, Telemetry, TelemetryInterceptor

log = structlog.get_logger(__name__)

OVERALL: Final = ""
"""The name under which grpc.health.v1 reports the server as a whole."""

DEFAULT_SETTLE_SECONDS: Final = 0.2
"""Between NOT_SERVING and refusing new calls, where nobody says how long."""


FAILED_GRACE_SECONDS: Final = 1.0
"""What is still open when a service has failed: streams that watch its health, and clients that read slowly."""


class AddressInUse(Exception):
    """The address cannot be listened on: it is taken, not local, or not permitted."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"Cannot listen on {address}: it is in use by another process, or not an address of this host."
        )


_UNPROTECTED: Final = ServerSecurity()
_DEFAULT_CONNECTIONS: Final = Connections()


class RpcServer:
    """A grpc.aio server with health, and with reflection unless its security says otherwise.

    Add servicers to `grpc_server`, then `start`, then `set_serving(True)`.
    """

    def __init__(
        self,
        listen: str,
        service_names: Sequence[str],
        security: ServerSecurity = _UNPROTECTED,
        telemetry: Telemetry = OFF,
        connections: Connections = _DEFAULT_CONNECTIONS,
    ) -> None:
        """`listen` is HOST:PORT; `service_names` are the full names to report in health and reflection."""
        self._listen = listen
        self._service_names = tuple(service_names)
        self._tls = security.tls
        self._hurried = asyncio.Event()
        guards = [Guard(security.gate)] if security.gate is not None else []
        watchers = [TelemetryInterceptor(telemetry, service_names)] if telemetry.is_on else []
        # In this order: who may not call is refused before the request is read, and what is read may be no message.
        interceptors = [*watchers, *guards, RequestReading(connections.request_seconds), MalformedRequests()]
        self.grpc_server = grpc.aio.server(options=connections.server_options(), interceptors=interceptors)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc_server)
        if security.reflection:
            reflected = (*service_names, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(reflected, self.grpc_server)

    async def start(self) -> str:
        """Listen, not yet serving. Returns the bound HOST:PORT. Raises AddressInUse."""
        await self.set_serving(False)
        try:
            _try_to_listen(self._listen)  # gRPC would write a line of its own to standard error
            if self._tls is None:
                port = self.grpc_server.add_insecure_port(self._listen)
            else:
                port = self.grpc_server.add_secure_port(self._listen, self._tls.credentials)
        except (RuntimeError, OSError):
            port = 0
        if port == 0:
            raise AddressInUse(self._listen)
        await self.grpc_server.start()
        return f"{self._listen.rpartition(':')[0]}:{port}"

    async def set_serving(self, serving: bool) -> None:
        """Report every service, and the server as a whole, as SERVING or NOT_SERVING."""
        state = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in (OVERALL, *self._service_names):
            await self._health.set(name, state)

    async def stop(self, grace_seconds: float, settle_seconds: float = DEFAULT_SETTLE_SECONDS) -> None:
        """NOT_SERVING, settle, then finish running calls within the grace and cancel what is left."""
        await self._health.enter_graceful_shutdown()
        if grace_seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurried.wait(), settle_seconds)
        await self.grpc_server.stop(0 if self._hurried.is_set() else grace_seconds)

    async def hurry(self) -> None:
        """Cancel all calls and end at once, whatever `stop` still waits for."""
        self._hurried.set()
        await self.grpc_server.stop(0)


def _try_to_listen(address: str) -> None:
    """Raise OSError where nothing can listen on the address."""
    host, _, port = address.rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, bindable = found[0]
    socket.create_server(bindable[:2], family=family).close()


class StopSignal:
    """SIGTERM and SIGINT as something to wait for. Use as a context manager inside a running loop."""

    def __init__(self) -> None:
        self._first = asyncio.Event()
        self._second = asyncio.Event()

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._arrived)
        return self

    def __exit__(self, *exc: object) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    def _arrived(self) -> None:
        (self._second if self._first.is_set() else self._first).set()

    async def wait(self) -> None:
        """Return at the first signal."""
        await self._first.wait()

    async def wait_again(self) -> None:
        """Return at the second signal."""
        await self._second.wait()


async def serve_until_stopped(
    name: str,
    server: RpcServer,
    *,
    grace_seconds: float,
    settle_seconds: float = DEFAULT_SETTLE_SECONDS,
    work: Callable[[], Awaitable[None]] | None = None,
    failed: asyncio.Event | None = None,
) -> None:
    """Start, print `<name> serving on <host:port>` on stdout, and run until a signal; then stop in order.

    With `work` (loading a model, say), health stays NOT_SERVING and nothing is printed until `work()` returns, while
    the port already answers. What `work` raises ends the server and is raised here. Setting `failed` ends it like a
    signal, but sooner: the caller knows why, and has ended all calls that it could. Raises AddressInUse.
    """
    with StopSignal() as stop:
        address = await server.start()
        stopped = asyncio.create_task(_any_of(stop.wait(), failed))
        try:
            if work is not None:
                await _first_of(asyncio.ensure_future(work()), stopped)
            if not stopped.done():
                await server.set_serving(True)
                print(f"{name} serving on {address}", flush=True)  # noqa: T201 - the promised first line on stdout
                log.info("serving", service=name, address=address)
            await stopped
            log.info("stopping", service=name, grace_seconds=grace_seconds)
        finally:
            stopped.cancel()
            if failed is not None and failed.is_set():
                grace_seconds = min(grace_seconds, FAILED_GRACE_SECONDS)
            graceful = asyncio.ensure_future(server.stop(grace_seconds, settle_seconds))
            hurry = asyncio.create_task(stop.wait_again())
            await asyncio.wait({graceful, hurry}, return_when=asyncio.FIRST_COMPLETED)
            hurry.cancel()
            if not graceful.done():
                await server.hurry()
            await graceful


async def _any_of(signal_wait: Coroutine[Any, Any, None], failed: asyncio.Event | None) -> None:
    """Return at the signal or the failure, whichever comes first."""
    waiting = {asyncio.ensure_future(signal_wait)}
    if failed is not None:
        waiting.add(asyncio.ensure_future(_wait_for(failed)))
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def _wait_for(event: asyncio.Event) -> None:
    await event.wait()


async def _first_of(work: asyncio.Future[None], stopped: asyncio.Task[None]) -> None:
    """Wait for the work or the signal; raise what the work raised, cancel it where the signal came first."""
    await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        work.result()
    else:
        work.cancel()
        await asyncio.wait({work})


def local_address(address: str) -> str:
    """The address to reach a server of this host that listens on `address`: wildcard hosts become loopback."""
    host, _, port = address.rpartition(":")
    loopback = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - compared, not bound
    return f"{loopback.get(host, host)}:{port}"
