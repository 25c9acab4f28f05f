"""`groundwire serve`: one service in this process."""

from __future__ import annotations

import importlib.util
import os
import sys
from enum import StrEnum
from typing import Annotated

import typer

from groundwire_cli.errors import CommandError
from groundwire_cli.services import SERVICES


class ServiceName(StrEnum):
    """What `serve` can run."""

    SEARCH = "search"
    INFERENCE = "inference"
    GATEWAY = "gateway"


def serve(
    service: Annotated[ServiceName, typer.Argument(help="Which service to run.", show_default=False)],
) -> None:
    """Run one service until Ctrl-C or SIGTERM. Its settings come from the environment and from a .env file.

    Examples:

    groundwire serve inference

    GROUNDWIRE_SEARCH_LISTEN=127.0.0.1:6000 groundwire serve search
    """
    package = SERVICES[service].package
    if importlib.util.find_spec(f"{package}.__main__") is None:
        raise CommandError(
            f"The {service} service is not installed here. Install it with: pip install 'groundwire[{service}]'"
        )
    sys.stdout.flush()
    sys.stderr.flush()
    # The service takes this process's place, so signals and the exit code are its own.
    os.execv(sys.executable, [sys.executable, "-m", package])  # noqa: S606 - no shell is wanted
