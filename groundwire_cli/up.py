"""`groundwire up`: all three services in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import Coroutine
from typing import Final

from rich.console import Console
from rich.text import Text

from groundwire_cli.config import CliConfig, load_config
from groundwire_cli.demo import DEMO_QUESTION
from groundwire_cli.errors import OutputClosed, OutputFailed
from groundwire_cli.fleet import Fleet, FleetPlan, fleet_security, refuse_taken_ports
from groundwire_cli.log_lines import readable
from groundwire_cli.services import INFERENCE, SEARCH, SERVICES
from groundwire_cli.terminal import output_console
from groundwire_cli.terminal_text import printable_line
from groundwire_rpc.server import StopSignal

_STYLES: Final = {"search": "cyan", "inference": "magenta", "gateway": "green", "groundwire": "bold"}


class PrefixedLog:
    """Lines of the services on standard output, each behind its service's name."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def line(self, name: str, line: str) -> None:
        """A line that a service wrote: easy to read on a terminal, as it is elsewhere."""
        self._print(name, Text(readable(line) if self._console.is_terminal else printable_line(line)))

    def note(self, name: str, text: str) -> None:
        """What the supervisor says of a service."""
        self._print("groundwire", Text(f"{name} {text}" if name else text, style="bold"))

    def _print(self, name: str, text: Text) -> None:
        # Without a reader of the log the services still run.
        with contextlib.suppress(OutputClosed, OutputFailed):
            self._console.print(Text(f"{name:<10} | ", style=_STYLES.get(name, "")).append_text(text))


def plan_of(config: CliConfig) -> FleetPlan:
    """Every service where its settings say. A back end's target that was set stays as it is."""
    return FleetPlan(
        listen={name: config.listen_address(service) for name, service in SERVICES.items()},
        keep_targets=frozenset(service.name for service in (SEARCH, INFERENCE) if config.configured_target(service)),
        security=fleet_security(config),
    )


def grpcurl_options(config: CliConfig) -> str:
    """What grpcurl needs to call the gateway: TLS or none, and the API key as a variable of the shell, never shown."""
    options = ["-plaintext"]
    if config.gateway_tls_ca is not None:
        options = ["-cacert", shlex.quote(str(config.gateway_tls_ca))]
        if config.client_tls_certificate is not None and config.client_tls_key is not None:
            options += ["-cert", shlex.quote(str(config.client_tls_certificate))]
            options += ["-key", shlex.quote(str(config.client_tls_key))]
    if config.gateway_api_keys_file is not None:
        options += ["-H", '"authorization: Bearer $GROUNDWIRE_API_KEY"']
    return " ".join(options)


async def run_up() -> None:
    """Run until SIGINT or SIGTERM. Raises CommandError where a service cannot be kept running."""
    config = load_config()
    plan = plan_of(config)
    refuse_taken_ports(plan.listen)
    log = PrefixedLog(output_console())
    with StopSignal() as stop:
        fleet = Fleet(plan, log, grace_seconds=config.stop_seconds)
        hurry = asyncio.create_task(_kill_at_second_signal(stop, fleet))
        try:
            async with fleet:
                await _until_signal(stop, _keep(fleet, log, config))
                log.note("", "stopping; press Ctrl-C again to end everything at once")
        finally:
            hurry.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await hurry
    log.note("", "all services have ended")


async def _keep(fleet: Fleet, log: PrefixedLog, config: CliConfig) -> None:
    target = await fleet.start()
    log.note("", f"ready: the gateway answers at {target}. Try, in another terminal:")
    log.note("", f'  groundwire ask "{DEMO_QUESTION}"')
    log.note(
        "",
        f"""  grpcurl {grpcurl_options(config)} -d '{{"question":"What is Groundwire?"}}' {target} """
        "groundwire.gateway.v1.AnswerService/Ask",
    )
    log.note("", "Ctrl-C stops everything")
    await fleet.watch()


async def _until_signal(stop: StopSignal, work: Coroutine[object, object, None]) -> None:
    working = asyncio.create_task(work)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        working.cancel()
        stopped.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)


async def _kill_at_second_signal(stop: StopSignal, fleet: Fleet) -> None:
    await stop.wait_again()
    fleet.kill()
