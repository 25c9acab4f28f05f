"""`groundwire demo`: the whole path once, with what is built in."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final, TextIO

from rich.console import Console
from rich.text import Text

from groundwire_cli.answer_output import AnswerPrinter
from groundwire_cli.asking import ask_and_print
from groundwire_cli.config import CliConfig, load_config
from groundwire_cli.errors import CommandError
from groundwire_cli.exit_codes import ExitCode
from groundwire_cli.fleet import Fleet, FleetPlan, fleet_security
from groundwire_cli.gateway_client import Question, call_metadata
from groundwire_cli.restarts import RestartPolicy
from groundwire_cli.services import GATEWAY, SERVICES
from groundwire_cli.terminal import error_console, output_console
from groundwire_cli.terminal_text import printable_line

DEMO_QUESTION: Final = "Can a web page forge a control token?"
"""About this project's own documents, which are the sample index."""

TIMEOUT_SECONDS: Final = 120.0
"""For the answer, from the question to the end."""

PULLED_MODEL: Final = "phi-3-mini"
"""The model that the demo recommends, by its name in models/manifest.toml."""


class LogFile:
    """The services' lines in a file, each behind its service's name."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def line(self, name: str, line: str) -> None:
        """A line that a service wrote."""
        self._file.write(f"{name:<10} | {line}\n")
        self._file.flush()

    def note(self, name: str, text: str) -> None:
        """What the supervisor says of a service."""
        self.line("groundwire", f"{name} {text}")


def demo_plan(config: CliConfig, folder: Path) -> FleetPlan:
    """Free ports, so that it works beside a running `up`; what is built in, where the operator set nothing."""
    settings = {}
    if not config.model:
        settings["GROUNDWIRE_MODEL"] = "builtin"
    if not config.index_path:
        # An index of its own: the operator's may hold other documents, and the demo's question is about these.
        settings["GROUNDWIRE_INDEX_PATH"] = str(folder / "index.sqlite3")
    return FleetPlan(listen=dict.fromkeys(SERVICES, "127.0.0.1:0"), settings=settings, security=fleet_security(config))


def introduction(config: CliConfig) -> list[Text]:
    """Which model and which provider, and how to move to Phi-3 and Brave."""
    searches_web = config.search_provider in ("", "auto", "brave") and bool(
        config.brave_api_key and config.brave_api_key.get_secret_value().strip()
    )
    model = printable_line(config.model) if config.model else "the built-in model (tiny: it shows the path)"
    documents = "the local index" if config.index_path else "this project's own documents"
    where = "Brave Search" if searches_web else documents
    steps = []
    if not config.model:
        steps.append(f"`groundwire model pull {PULLED_MODEL}`, then set GROUNDWIRE_MODEL={PULLED_MODEL}")
    if not searches_web:
        steps.append("for the web, set BRAVE_API_KEY")
    line = Text(f"Running on {model} and {where}.", style="bold")
    if steps:
        line.append(f" For real answers: {'; '.join(steps)}.", style="not bold")
    return [line]


async def run_demo(question: str) -> ExitCode:
    """Start, ask, print, stop. OK where a whole answer came. Raises CommandError that names the logs."""
    config = load_config()
    folder = Path(tempfile.mkdtemp(prefix="groundwire-demo-"))
    log_path = folder / "services.log"
    is_kept = False
    try:
        with log_path.open("w", encoding="utf-8") as file:
            exit_code = await _ask_once(question, config, folder, LogFile(file))
        if exit_code is ExitCode.NOTHING_FOUND:
            raise CommandError("The demo found no sources.", exit_code)
    except CommandError as error:
        if not error.message:  # the reader of the output went away
            raise
        is_kept = True
        raise CommandError(f"{error.message}\nThe services' logs are in {log_path}", error.exit_code) from None
    finally:
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)
    return ExitCode.OK


async def _ask_once(question: str, config: CliConfig, folder: Path, log: LogFile) -> ExitCode:
    output, errors = output_console(), error_console()
    for line in introduction(config):
        output.print(line)
    # One attempt each: whoever waits for a demo wants the reason at once.
    async with Fleet(
        demo_plan(config, folder), log, RestartPolicy(quick_deaths=1), grace_seconds=config.stop_seconds
    ) as fleet:
        _say(errors, "Starting search, inference and gateway on free ports …")
        target = await fleet.start()
        output.print(Text("\nQuestion: ", style="bold").append(printable_line(question), style="not bold"))
        exit_code = await ask_and_print(
            target,
            Question(question),
            AnswerPrinter(),
            metadata=call_metadata(None),
            timeout_seconds=TIMEOUT_SECONDS,
            security=config.channel_security(GATEWAY),
        )
        _say(errors, "Stopping the services …")
    return exit_code


def _say(console: Console, text: str) -> None:
    console.print(Text(text, style="dim"))
