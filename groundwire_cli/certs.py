"""`groundwire certs`: certificates to try TLS with.

Imported only when it is used (groundwire_cli.lazy_group), so this module may import what making them needs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from groundwire_cli.certificates import LOCAL_HOSTS, Authority, Issued
from groundwire_cli.errors import BadUsage, CommandError
from groundwire_cli.private_files import PRIVATE_MODE, PUBLIC_MODE, replace_file
from groundwire_cli.services import SERVICES
from groundwire_cli.terminal import error_console, write_output
from groundwire_cli.terminal_text import printable_line

CA_DAYS: Final = 3650
"""How long the CA is valid."""

_HOST: Final = re.compile(r"[A-Za-z0-9.:*_-]{1,253}")

app = typer.Typer(no_args_is_help=True)


@app.callback()
def certs() -> None:
    """Make certificates to try TLS with."""


@app.command()
def dev(
    folder: Annotated[Path, typer.Argument(help="Where to put them.", file_okay=False)] = Path("certs"),
    host: Annotated[
        list[str] | None,
        typer.Option(help="Another name or address of the server. May be repeated.", show_default=False),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=825, help="How long the two certificates are valid.")] = 365,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there, the CA too.")] = False,
) -> None:
    """Make a CA, a server certificate for this host and a client certificate, and print the settings that use them.

    For development: whoever can read ca.key can make certificates that are trusted. Keys get the mode 600.

    Examples:

    groundwire certs dev >> .env

    groundwire certs dev --host gpu.example.org /etc/groundwire/certs
    """
    hosts = [*LOCAL_HOSTS, *(host or ())]
    for name in hosts:
        if not _HOST.fullmatch(name):
            raise BadUsage(f"--host {printable_line(name)}: give a host name or an IP address.")
    authority = Authority.create("Groundwire development CA", days=CA_DAYS)
    files: dict[str, Issued] = {
        "ca": authority.issued,
        "server": authority.server(hosts, days=days),
        "client": authority.client("groundwire-client", days=days),
    }
    _write(folder, files, force=force)
    write_output("\n".join(settings_lines(folder.absolute())) + "\n")
    shown = printable_line(str(folder))
    error_console().print(
        f"Made in {shown}: a CA, a certificate for {', '.join(hosts)} and one for clients. The lines are for .env."
    )


def settings_lines(folder: Path) -> list[str]:
    """What to set for TLS with client certificates on every hop, as lines of a .env file."""
    lines = []
    for name in SERVICES:
        prefix = f"GROUNDWIRE_{name.upper()}_TLS"
        lines += [
            _setting(f"{prefix}_CERTIFICATE", folder / "server.pem"),
            _setting(f"{prefix}_KEY", folder / "server.key"),
            _setting(f"{prefix}_CLIENT_CA", folder / "ca.pem"),
            _setting(f"{prefix}_CA", folder / "ca.pem"),
        ]
    return [
        *lines,
        _setting("GROUNDWIRE_CLIENT_TLS_CERTIFICATE", folder / "client.pem"),
        _setting("GROUNDWIRE_CLIENT_TLS_KEY", folder / "client.key"),
    ]


def _setting(variable: str, path: Path) -> str:
    text = str(path)
    if re.fullmatch(r"[\w./+@-]+", text):
        return f"{variable}={text}"
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"{variable}='{quoted}'"


def _write(folder: Path, files: dict[str, Issued], *, force: bool) -> None:
    """Raises CommandError where a file is there and may not be replaced, or cannot be written."""
    paths = {name: (folder / f"{name}.pem", folder / f"{name}.key") for name in files}
    there = [path for pair in paths.values() for path in pair if path.exists()]
    if there and not force:
        named = ", ".join(printable_line(str(path)) for path in there)
        raise CommandError(f"These are there already: {named}. Name another folder, or replace them with --force.")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, issued in files.items():
            certificate, key = paths[name]
            replace_file(key, issued.key, mode=PRIVATE_MODE)
            replace_file(certificate, issued.certificate, mode=PUBLIC_MODE)
    except OSError as error:
        raise CommandError(
            f"The certificates cannot be written to {printable_line(str(folder))}: {error.strerror or error}."
        ) from None
