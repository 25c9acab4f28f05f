"""What the `groundwire` command exits with: promises that scripts may rely on."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """Exit codes of every command, and when each is used."""

    OK = 0
    """Answered with at least one citation; or the command did what it was asked."""
    FAILED = 1
    """The call failed, something is not set up, or a service is not serving (`status`)."""
    USAGE = 2
    """The command line or the request is not valid (INVALID_ARGUMENT)."""
    NOT_IN_SOURCES = 3
    """The model said that the sources do not answer the question."""
    NOTHING_FOUND = 4
    """The search found nothing; the model was not asked."""
    UNCITED = 5
    """There is an answer, but it cites none of the sources."""
    UNAVAILABLE = 6
    """A service cannot be reached or has failed (UNAVAILABLE)."""
    EXHAUSTED = 7
    """Too busy or out of quota; try later (RESOURCE_EXHAUSTED)."""
    TOO_LATE = 8
    """The deadline passed before there was a whole answer (DEADLINE_EXCEEDED)."""
    INTERRUPTED = 130
    """Ctrl-C; the call was cancelled. 128 + SIGINT, as shells have it."""
    OUTPUT_CLOSED = 141
    """The reader of standard output went away (as in `| head`). 128 + SIGPIPE, as shells have it."""


_BY_STATUS: Final = {
    "OK": ExitCode.OK,
    "INVALID_ARGUMENT": ExitCode.USAGE,
    "UNAVAILABLE": ExitCode.UNAVAILABLE,
    "RESOURCE_EXHAUSTED": ExitCode.EXHAUSTED,
    "DEADLINE_EXCEEDED": ExitCode.TOO_LATE,
}

_BY_OUTCOME: Final = {
    "OUTCOME_ANSWERED": ExitCode.OK,
    "OUTCOME_NOT_IN_SOURCES": ExitCode.NOT_IN_SOURCES,
    "OUTCOME_UNCITED": ExitCode.UNCITED,
    "OUTCOME_NO_RESULTS": ExitCode.NOTHING_FOUND,
}

ASK_EPILOG: Final = (
    "Exit codes: 0 answered and cited · 1 failed · 2 bad usage or request · 3 not in the sources · 4 nothing found · "
    "5 answered without citing a source · 6 a service is unavailable · 7 too busy or out of quota · 8 too late · "
    "130 Ctrl-C · 141 the reader of the output went away"
)
"""The end of `groundwire ask --help`. A test holds it against the codes."""

SEARCH_EPILOG: Final = (
    "Exit codes: 0 found · 1 failed · 2 bad usage or request · 4 nothing found · 6 the service is unavailable · "
    "7 too busy or out of quota · 8 too late · 130 Ctrl-C · 141 the reader of the output went away"
)
"""The end of `groundwire search --help`."""


def code_for_status(name: str) -> ExitCode:
    """The exit code for a call that ended with the gRPC status of this name, such as UNAVAILABLE."""
    return _BY_STATUS.get(name, ExitCode.FAILED)


def code_for_outcome(name: str) -> ExitCode:
    """The exit code for an answer with the outcome of this name, such as OUTCOME_UNCITED. An unknown one: FAILED."""
    return _BY_OUTCOME.get(name, ExitCode.FAILED)
