"""Failures that end a command.

CommandError            what a person reads on standard error, and the exit code
├── BadUsage            the command line is not valid
├── Interrupted         Ctrl-C
├── OutputFailed        standard output cannot be written
└── OutputClosed        the reader of standard output went away; nothing is said
"""

from __future__ import annotations

from groundwire_cli.exit_codes import ExitCode


class CommandError(Exception):
    """Ends the command with a message and an exit code. The message may hold several lines."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


class BadUsage(CommandError):
    """The command line is not valid."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.USAGE)


class Interrupted(CommandError):
    """Ctrl-C was pressed, and what was running has been cancelled."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.INTERRUPTED)


class OutputFailed(CommandError):
    """Standard output cannot be written: a full disk, say."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"The output cannot be written: {error.strerror or error}.")


class OutputClosed(CommandError):
    """Standard output was closed by its reader."""

    def __init__(self) -> None:
        super().__init__("", ExitCode.OUTPUT_CLOSED)
