"""`groundwire status`: how the services are."""

from __future__ import annotations

from groundwire_cli.config import load_config, target_or_default
from groundwire_cli.exit_codes import ExitCode
from groundwire_cli.interrupts import run_interruptible
from groundwire_cli.proto_json import plain_json_line
from groundwire_cli.services import GATEWAY, SERVICES
from groundwire_cli.status_client import gather_report
from groundwire_cli.status_text import status_json, status_lines
from groundwire_cli.terminal import output_console, write_output


def show_status(*, target: str | None, as_json: bool) -> ExitCode:
    """Ask all services and print what they say. OK where all of them serve, else FAILED. Raises CommandError."""
    config = load_config()
    targets = {name: config.target(service) for name, service in SERVICES.items()}
    security = {name: config.channel_security(service) for name, service in SERVICES.items()}
    targets["gateway"] = target_or_default(target, GATEWAY)
    report = run_interruptible(gather_report(targets, security))
    if as_json:
        write_output(plain_json_line(status_json(report)))
    else:
        console = output_console()
        for line in status_lines(report):
            console.print(line)
    return ExitCode.OK if report.all_serve else ExitCode.FAILED
