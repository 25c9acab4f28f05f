"""The three services as children of this process, wired to each other: search and inference first, then the gateway."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from groundwire_cli.child import ChildSpec
from groundwire_cli.config import CliConfig, child_environment
from groundwire_cli.errors import CommandError
from groundwire_cli.health import NotServing, wait_until_serving
from groundwire_cli.restarts import RestartPolicy
from groundwire_cli.services import GATEWAY, INFERENCE, SEARCH, SERVICES, Service
from groundwire_cli.supervisor import GRACE_SECONDS, GaveUp, Reporter, Supervisor
from groundwire_rpc.channels import PLAINTEXT, ChannelSecurity
from groundwire_rpc.server import local_address

READY_SECONDS: Final = 300.0
"""How long a service may take to serve: a large model on a slow disk takes minutes."""


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """Where the services listen, and what else they are told."""

    listen: Mapping[str, str]
    """HOST:PORT by the service's name. Port 0 takes any free one."""
    keep_targets: frozenset[str] = frozenset()
    """Names of back ends whose target the operator set: the gateway is not pointed at the ones started here."""
    settings: Mapping[str, str] | None = None
    """More environment variables, for all of them."""
    security: Mapping[str, ChannelSecurity] | None = None
    """How to call a service, by its name. Plaintext where nothing is said."""


class Fleet:
    """The running services. Use as an async context manager: leaving it stops them."""

    def __init__(
        self,
        plan: FleetPlan,
        reporter: Reporter,
        policy: RestartPolicy | None = None,
        *,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._plan = plan
        self._reporter = reporter
        self._supervisor = Supervisor(reporter, policy, grace_seconds=grace_seconds)

    async def __aenter__(self) -> Self:
        await self._supervisor.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._supervisor.__aexit__(*exc)

    async def start(self) -> str:
        """Start all of them and wait until they serve. Returns the gateway's target. Raises CommandError."""
        try:
            async with asyncio.TaskGroup() as group:
                search = group.create_task(self._start(SEARCH))
                inference = group.create_task(self._start(INFERENCE))
        except* CommandError as errors:
            raise next(error for error in errors.exceptions if isinstance(error, CommandError)) from None
        targets = {SEARCH: search.result(), INFERENCE: inference.result()}
        wiring = {
            service.target_variable: target
            for service, target in targets.items()
            if service.name not in self._plan.keep_targets
        }
        return await self._start(GATEWAY, wiring)

    async def _start(self, service: Service, wiring: Mapping[str, str] | None = None) -> str:
        spec = ChildSpec(
            service.name,
            (sys.executable, "-m", service.package),
            child_environment(
                **(self._plan.settings or {}),
                **{service.listen_variable: self._plan.listen[service.name]},
                **(wiring or {}),
            ),
        )
        try:
            address = await self._supervisor.start(spec, timeout_seconds=READY_SECONDS)
            # At a restart it must be found where its clients look for it, also where port 0 was asked for.
            self._supervisor.come_back_with(service.name, **{service.listen_variable: address})
            await wait_until_serving(
                local_address(address),
                service.rpc_service,
                timeout_seconds=READY_SECONDS,
                security=(self._plan.security or {}).get(service.name, PLAINTEXT),
            )
        except GaveUp as error:
            raise could_not_keep(error) from None
        except (TimeoutError, NotServing) as error:
            raise CommandError(f"The {service.name} service did not get ready: {error}") from None
        return local_address(address)

    def pid(self, name: str) -> int | None:
        """The process id of a service. None while it is not running."""
        return self._supervisor.pid(name)

    async def watch(self) -> None:
        """Wait until a service cannot be kept running. Raises CommandError then; does not return otherwise."""
        try:
            await self._supervisor.watch()
        except GaveUp as error:
            raise could_not_keep(error) from None

    def kill(self) -> None:
        """SIGKILL to all of them, now."""
        self._supervisor.kill()


def fleet_security(config: CliConfig) -> Mapping[str, ChannelSecurity]:
    """How the services of this host are called, by name. Raises CommandError where one has TLS and no CA is known."""
    for service in SERVICES.values():
        certificate = config.file(f"{service.name}_tls_certificate")
        ca = config.file(f"{service.name}_tls_ca")
        if certificate.path is not None and ca.path is None:
            raise CommandError(
                f"{certificate.variable} is set, so the {service.name} service speaks TLS. Set {ca.variable} too, to "
                "the CA of its certificate, so that it can be called."
            )
    return {service.name: config.channel_security(service) for service in SERVICES.values()}


def could_not_keep(error: GaveUp) -> CommandError:
    """The reason as it is told, with what the service said itself."""
    said = error.last_words or "It gave no reason; its log above may."
    return CommandError(f"{error}\n{said}")


def refuse_taken_ports(listen: Mapping[str, str]) -> None:
    """Raise CommandError that names every address that another process listens on."""
    taken = [(SERVICES[name], address) for name, address in listen.items() if _is_taken(address)]
    if taken:
        lines = [
            f"  {address} ({service.name}): set {service.listen_variable} for another one" for service, address in taken
        ]
        raise CommandError(
            "These addresses are in use. Is `groundwire up` running already? (`groundwire status` tells.)\n"
            + "\n".join(lines)
        )


def _is_taken(address: str) -> bool:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if port == "0":
        return False
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
            probe.listen(1)
        except OSError:
            return True
    return False
