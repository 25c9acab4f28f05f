"""The `groundwire` command as a real process, with pipes or with a terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import clean_environment

COMMAND = (sys.executable, "-m", "groundwire_cli")
LIMIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


async def start_groundwire(
    *arguments: str,
    folder: Path,
    stdin: int | None = asyncio.subprocess.DEVNULL,
    stdout: int = asyncio.subprocess.PIPE,
    stderr: int = asyncio.subprocess.PIPE,
    **environment: str,
) -> asyncio.subprocess.Process:
    """Start the command in a folder, with these settings and no others. The caller waits for it."""
    return await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        cwd=folder,
        env=clean_environment(**environment),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


async def groundwire(*arguments: str, folder: Path, text: str | None = None, **environment: str) -> Ended:
    """Run the command to its end with pipes; `text` is its standard input."""
    process = await start_groundwire(
        *arguments,
        folder=folder,
        stdin=asyncio.subprocess.PIPE if text is not None else asyncio.subprocess.DEVNULL,
        **environment,
    )
    return await ended(process, text)


async def ended(process: asyncio.subprocess.Process, text: str | None = None) -> Ended:
    """Wait for a started command. It is killed after a limit, and the test fails."""
    try:
        stdout, stderr = await asyncio.wait_for(
            process.communicate(None if text is None else text.encode()), LIMIT_SECONDS
        )
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ended(process.returncode, (stdout or b"").decode(), (stderr or b"").decode())


async def groundwire_on_terminal(arguments: Sequence[str], *, folder: Path, **environment: str) -> Ended:
    """Run the command with a terminal as standard output and standard error; both are in `stdout`."""
    ours, theirs = pty.openpty()
    try:
        process = await start_groundwire(
            *arguments, folder=folder, stdout=theirs, stderr=theirs, **{"TERM": "xterm-256color", **environment}
        )
    finally:
        os.close(theirs)
    try:
        shown = await asyncio.wait_for(asyncio.to_thread(_read_all, ours), LIMIT_SECONDS)
        code = await asyncio.wait_for(process.wait(), LIMIT_SECONDS)
    finally:
        os.close(ours)
    return Ended(code, shown, "")


def _read_all(descriptor: int) -> str:
    received = b""
    while True:
        try:
            piece = os.read(descriptor, 65_536)
        except OSError:  # EIO: the other side is closed
            return received.decode()
        if not piece:
            return received.decode()
        received += piece
