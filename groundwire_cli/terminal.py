"""Standard output and standard error: consoles, progress on a terminal, and a quiet end when the reader goes away."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundwire_cli.errors import CommandError, OutputClosed, OutputFailed
from groundwire_cli.terminal_text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status
    from rich.text import Text


def output_console() -> Console:
    """A console on standard output that neither wraps nor guesses at markup. Styles and links only on a terminal."""
    return _console(stderr=False)


def error_console() -> Console:
    """The same on standard error."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    class _Console(Console):
        def on_broken_pipe(self) -> None:
            raise OutputClosed

        def print(self, *objects: Any, **options: Any) -> None:  # Any: what rich prints
            try:
                super().print(*objects, **options)
            except OSError as error:
                raise OutputFailed(error) from None

    return _Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def write_output(text: str) -> None:
    """Write to standard output at once. Raises OutputClosed where its reader went away, and OutputFailed."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise OutputClosed from None
    except OSError as error:
        raise OutputFailed(error) from None


def report_error(error: CommandError) -> None:
    """Print the error on standard error, safe to show whatever it quotes. Nothing for an empty message."""
    if error.message:
        from rich.text import Text

        with contextlib.suppress(OSError, OutputClosed, OutputFailed):
            error_console().print(
                Text("groundwire: ", style="bold red").append(printable(error.message), style="not bold default")
            )


def settle_output() -> None:
    """Flush standard output; where that fails, make sure that the interpreter does not complain at exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_missing_streams() -> None:
    """Put the null device in the place of standard streams that whoever started this process has closed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open to the end


def tolerate_any_encoding() -> None:
    """Print what the terminal's encoding has no character for as `?` rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # TextIO in general has none


class ProgressLine:
    """One line with a spinner on standard error, only where that is a terminal."""

    def __init__(self) -> None:
        self._console = error_console()
        self._status: Status | None = None

    def show(self, text: Text) -> None:
        """Show the text, or change what is shown."""
        if not self._console.is_terminal:
            return
        if self._status is None:
            self._status = self._console.status(text)
            self._status.start()
        else:
            self._status.update(text)

    def hide(self) -> None:
        """Take the line away. Anything else may be printed only after this."""
        if self._status is not None:
            self._status.stop()
            self._status = None
