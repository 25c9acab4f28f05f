"""`groundwire keys`: API keys of the gateway. It reads and writes the key file itself.

Imported only when it is used (groundwire_cli.lazy_group), so this module may import what the gateway needs.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from gateway.adapters.api_keys import NAME, key_line, new_key, parse_keys, without_key
from groundwire_cli.config import load_config
from groundwire_cli.errors import BadUsage, CommandError
from groundwire_cli.private_files import append_line, replace_file
from groundwire_cli.terminal import error_console, write_output
from groundwire_cli.terminal_text import printable_line
from groundwire_rpc.settings import FileSetting, SettingsError

KEYS_FILE = "gateway_api_keys_file"
"""The field of the setting that names the file."""

app = typer.Typer(no_args_is_help=True)


FileOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The key file. Default: GROUNDWIRE_GATEWAY_API_KEYS_FILE.", dir_okay=False),
]


@app.callback()
def keys() -> None:
    """Make, list and remove API keys of the gateway. A running gateway follows its key file by itself."""


@app.command()
def new(
    name: Annotated[
        str, typer.Argument(help="Who or what it is for: letters, digits, dots, - and _.", show_default=False)
    ],
    file: FileOption = None,
) -> None:
    """Print a new key, once, and add its hash to the key file. A running gateway takes it at once.

    Examples:

    groundwire keys new alice

    GROUNDWIRE_API_KEY=$(groundwire keys new --file keys.txt ci) groundwire ask "What is a slot?"
    """
    if not NAME.fullmatch(name):
        raise BadUsage(f"{printable_line(name)}: give 1 to 64 letters, digits, dots, hyphens or underscores.")
    setting, path = _key_file(file)
    shown = printable_line(str(path))
    key = new_key()
    try:
        known = parse_keys(setting.read(), setting) if path.exists() else {}
        if name in known.values():
            raise CommandError(
                f"{shown} has a key {name} already. To replace it, remove it first: groundwire keys remove {name}"
            )
        append_line(path, key_line(name, key))
    except SettingsError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"The key cannot be added to {shown}: {error.strerror or error}.") from None
    write_output(key + "\n")
    error_console().print(f"Its hash is in {shown} under the name {name}. The key is not shown again.")


@app.command(name="list")
def list_names(file: FileOption = None) -> None:
    """Print the names of the keys, one a line. The keys themselves are known to nobody but those who have them.

    Examples:

    groundwire keys list

    groundwire keys list --file keys.txt
    """
    setting, path = _key_file(file)
    known = _known(setting)
    write_output("".join(f"{name}\n" for name in known.values()))
    if not known:
        error_console().print(f"{printable_line(str(path))} holds no key. Make one with: groundwire keys new NAME")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="The key's name, as `groundwire keys list` prints it.")],
    file: FileOption = None,
) -> None:
    """Remove a key from the key file. A running gateway refuses it from the next call on.

    Examples:

    groundwire keys remove alice

    groundwire keys remove --file keys.txt ci
    """
    setting, path = _key_file(file)
    shown = printable_line(str(path))
    left = [known for known in _known(setting).values() if known != name]
    if len(left) == len(_known(setting)):
        raise CommandError(f"{shown} has no key {printable_line(name)}. `groundwire keys list` prints those it has.")
    try:
        replace_file(path, without_key(setting.read(), name), mode=stat.S_IMODE(path.stat().st_mode))
    except OSError as error:
        raise CommandError(f"{shown} cannot be written: {error.strerror or error}.") from None
    error_console().print(f"{name} is removed from {shown}; its running answers go on.")
    if not left:
        error_console().print("It was the last key: nobody can call a gateway that reads this file.")


def _key_file(file: Path | None) -> tuple[FileSetting, Path]:
    """The key file that is meant. Raises BadUsage where none is named."""
    setting = load_config().file(KEYS_FILE) if file is None else FileSetting("--file", file)
    if setting.path is None:
        raise BadUsage(f"Say which file: set {setting.variable}, or give --file FILE.")
    return setting, setting.path


def _known(setting: FileSetting) -> Mapping[str, str]:
    """Names by hash. Raises CommandError."""
    try:
        return parse_keys(setting.read(), setting)
    except SettingsError as error:
        raise CommandError(str(error)) from None
