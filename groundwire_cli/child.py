"""One child process: its lines as they come, its address once it serves, its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Self

from groundwire_cli import tether

LONGEST_LINE: Final = 64 * 1024
"""Bytes of a line of output that are kept."""

REMEMBERED_LINES: Final = 20
"""How many of the last lines on standard error are kept for the reason of a death."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run and how to know that it serves."""

    name: str
    """What it is called in logs and messages."""
    command: tuple[str, ...]
    """The program's path and its arguments."""
    environment: Mapping[str, str] = field(repr=False)  # holds the operator's secrets
    """Its whole environment."""

    @property
    def announcement(self) -> str:
        """What its line on standard output begins with once it serves; the address follows."""
        return f"{self.name} serving on "


LineTaker = Callable[[str, str], None]
"""Takes a child's name and one line of its output, without a line end."""


class Child:
    """A running process. It leads a process group of its own, and the kernel kills it if this process dies."""

    def __init__(self, spec: ChildSpec, process: subprocess.Popen[bytes], on_line: LineTaker) -> None:
        """Use `start`."""
        self.spec = spec
        self.address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Where it serves, once it has said so. Cancelled where it ends before."""
        self.last_errors: deque[str] = deque(maxlen=REMEMBERED_LINES)
        """Its last lines on standard error."""
        self._process = process
        self._on_line = on_line
        self._readers = [
            asyncio.create_task(self._read(pipe, take))
            for pipe, take in ((process.stdout, self._take_output), (process.stderr, self._take_error))
            if pipe is not None
        ]

    @classmethod
    def start(cls, spec: ChildSpec, on_line: LineTaker) -> Self:
        """Start it. Call inside a running loop. Raises OSError where the program cannot be run."""
        # Not asyncio's own: its wait() may return only when every pipe is closed, and a grandchild may hold them.
        process = subprocess.Popen(
            (sys.executable, "-I", "-S", str(Path(tether.__file__)), str(os.getpid()), *spec.command),
            env=dict(spec.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Else Ctrl-C on the terminal would reach it too, and the stop in order would count as the second signal.
            process_group=0,
        )
        return cls(spec, process, on_line)

    @property
    def pid(self) -> int:
        """Its process id, which is its group's too."""
        return self._process.pid

    async def ended(self) -> int:
        """Wait for its end and its last lines. Returns the exit status, negative for a signal."""
        status = await self._exit_status()
        self._signal_group(signal.SIGKILL)  # what it left behind
        # A grandchild that left the group may hold the pipes open; what it writes later is not waited for.
        _, late = await asyncio.wait(self._readers, timeout=1.0)
        for reader in late:
            reader.cancel()
        self.address.cancel()
        return status

    async def _exit_status(self) -> int:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        descriptor = os.pidfd_open(self._process.pid)
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        return self._process.wait()

    def terminate(self) -> None:
        """Ask it to stop."""
        self._process.terminate()

    def kill(self) -> None:
        """End it and whatever it started, now."""
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def _read(self, pipe: IO[bytes], take: Callable[[str], None]) -> None:
        stream = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), pipe
        )
        try:
            await self._take_lines(stream, take)
        finally:
            transport.close()

    async def _take_lines(self, stream: asyncio.StreamReader, take: Callable[[str], None]) -> None:
        rest = b""
        while piece := await stream.read(65_536):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._take(line, take)
            if len(rest) > LONGEST_LINE:
                self._take(rest, take)
                rest = b""
        if rest:
            self._take(rest, take)

    def _take(self, line: bytes, take: Callable[[str], None]) -> None:
        text = line[:LONGEST_LINE].decode(errors="replace").rstrip("\r")
        take(text)
        self._on_line(self.spec.name, text)

    def _take_output(self, line: str) -> None:
        if line.startswith(self.spec.announcement) and not self.address.done():
            self.address.set_result(line.removeprefix(self.spec.announcement).strip())

    def _take_error(self, line: str) -> None:
        self.last_errors.append(line)
