"""A question or a query from the command line or from standard input."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from groundwire_cli.errors import BadUsage

MAX_STDIN_CHARACTERS: Final = 65_536
"""The most that is read from standard input. The services allow a few thousand and say so."""


def words_or_stdin(words: Sequence[str], *, what: str) -> str:
    """The words joined by spaces; standard input where they are `-`, or absent and it is not a terminal.

    Raises BadUsage where there is nothing, naming `what` is missing.
    """
    if list(words) == ["-"] or (not words and not sys.stdin.isatty()):
        try:
            text = sys.stdin.read(MAX_STDIN_CHARACTERS)
        except UnicodeDecodeError:
            raise BadUsage("Standard input is not valid UTF-8 text.") from None
    else:
        text = " ".join(words)
    if not text.strip():
        raise BadUsage(f'No {what} was given. Write it as words, such as: groundwire ask "What is gRPC?"')
    return text.strip()
