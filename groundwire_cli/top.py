"""`groundwire top`: the services live, on a terminal or line by line into a pipe."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from rich.console import Group

from groundwire_cli.config import load_config, target_or_default
from groundwire_cli.errors import CommandError
from groundwire_cli.services import GATEWAY, SERVICES
from groundwire_cli.status_client import Report, status_calls
from groundwire_cli.terminal import output_console
from groundwire_cli.top_text import Sample, frame
from groundwire_rpc.channels import ChannelSecurity

Ask = Callable[[], Awaitable[Report]]


def show_top(*, target: str | None, interval_seconds: float, once: bool) -> None:
    """Show how the services are until Ctrl-C, or one frame. Raises CommandError where there is no gateway at first."""
    config = load_config()
    targets = {name: config.target(service) for name, service in SERVICES.items()}
    security = {name: config.channel_security(service) for name, service in SERVICES.items()}
    targets["gateway"] = target_or_default(target, GATEWAY)
    try:
        asyncio.run(_top(targets, security, interval_seconds, once=once))
    except KeyboardInterrupt:
        return  # the way to leave it


async def _top(
    targets: Mapping[str, str], security: Mapping[str, ChannelSecurity], interval_seconds: float, *, once: bool
) -> None:
    async with status_calls(targets, security) as ask:
        first = await _sample(ask)
        gateway = first.report.gateway
        if gateway.state == "unreachable":
            raise CommandError(f"There is no gateway at {gateway.target}. {gateway.problem}")
        if once or not output_console().is_terminal:
            await _print(ask, first, interval_seconds, once=once)
        else:
            await _live(ask, first, interval_seconds)


async def _sample(ask: Ask) -> Sample:
    report = await ask()
    return Sample(report, time.monotonic())


async def _print(ask: Ask, before: Sample, interval_seconds: float, *, once: bool) -> None:
    """Frames one below the other. Each tells of the interval that it ends."""
    console = output_console()
    while True:
        await asyncio.sleep(interval_seconds)
        now = await _sample(ask)
        for line in frame(now, before):
            console.print(line)
        if once:
            return
        console.print()
        before = now


async def _live(ask: Ask, before: Sample, interval_seconds: float) -> None:
    """Frames in each other's place, on a screen of their own."""
    from rich.live import Live

    with Live(Group(*frame(before, None)), console=output_console(), screen=True, auto_refresh=False) as live:
        live.refresh()
        while True:
            await asyncio.sleep(interval_seconds)
            now = await _sample(ask)
            live.update(Group(*frame(now, before)), refresh=True)
            before = now
