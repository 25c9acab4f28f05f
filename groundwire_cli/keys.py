"""`groundwire keys`: API keys of the gateway. It writes the key file itself.

Imported only when it is used (groundwire_cli.lazy_group), so this module may import what the gateway needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.adapters.api_keys import NAME, key_line, new_key, parse_keys
from groundwire_cli.config import load_config
from groundwire_cli.errors import BadUsage, CommandError
from groundwire_cli.private_files import append_line
from groundwire_cli.terminal import error_console, write_output
from groundwire_cli.terminal_text import printable_line
from groundwire_rpc.settings import FileSetting, SettingsError

KEYS_FILE = "gateway_api_keys_file"
"""The field of the setting that names the file."""

app = typer.Typer(no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Make API keys for the gateway. A key whose line is deleted from the file is refused from then on."""


@app.command()
def new(
    name: Annotated[
        str, typer.Argument(help="Who or what it is for: letters, digits, dots, - and _.", show_default=False)
    ],
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The key file. Default: GROUNDWIRE_GATEWAY_API_KEYS_FILE.", dir_okay=False),
    ] = None,
) -> None:
    """Print a new key, once, and add its hash to the key file. A running gateway takes it at once.

    Examples:

    groundwire keys new alice

    GROUNDWIRE_API_KEY=$(groundwire keys new --file keys.txt ci) groundwire ask "What is a slot?"
    """
    if not NAME.fullmatch(name):
        raise BadUsage(f"{printable_line(name)}: give 1 to 64 letters, digits, dots, hyphens or underscores.")
    setting = load_config().file(KEYS_FILE)
    if file is not None:
        setting = FileSetting("--file", file)
    if setting.path is None:
        raise BadUsage(f"Say which file: set {setting.variable}, or give --file FILE.")
    shown = printable_line(str(setting.path))
    key = new_key()
    try:
        known = parse_keys(setting.read(), setting) if setting.path.exists() else {}
        if name in known.values():
            raise CommandError(f"{shown} has a key {name} already. Delete its line to replace it.")
        append_line(setting.path, key_line(name, key))
    except SettingsError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"The key cannot be added to {shown}: {error.strerror or error}.") from None
    write_output(key + "\n")
    error_console().print(f"Its hash is in {shown} under the name {name}. The key is not shown again.")
