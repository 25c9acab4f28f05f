"""A system under test as a process: started with a deadline, watched, and ended by its own id whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import psutil

START_SECONDS = 180.0
"""A model of 2.4 GB may have to come from a slow disk."""
_POLL_SECONDS = 0.05
_LOG_TAIL_LINES = 25


class SystemFailed(RuntimeError):
    """A system did not start, or ended by itself. The message has the end of its log."""


class RunningProcess:
    """A started process and its log."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self._name = name
        self._process = process
        self._log = log

    def log_text(self) -> str:
        """All that it has written."""
        return self._log.read_text(errors="replace")

    def failure(self, what: str) -> SystemFailed:
        """What happened to it, with the end of its log."""
        tail = "\n".join(self.log_text().splitlines()[-_LOG_TAIL_LINES:])
        return SystemFailed(f"{self._name} {what}. The end of its log:\n{tail}")

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it is gone."""
        return self._process.poll() is not None

    def check(self) -> None:
        """Raise SystemFailed if it has ended."""
        if self.has_ended:
            raise self.failure(f"ended by itself with exit status {self._process.returncode}")

    async def until(self, ready: Callable[[], Awaitable[bool]], *, timeout_seconds: float = START_SECONDS) -> None:
        """Wait until it is ready. Raises SystemFailed where it ends before, or takes too long."""
        deadline = time.monotonic() + timeout_seconds
        while not await ready():
            self.check()
            if time.monotonic() > deadline:
                raise self.failure(f"was not ready within {timeout_seconds:g} s")
            await asyncio.sleep(_POLL_SECONDS)

    def peak_memory_mib(self) -> float:
        """The most memory that it and the processes that it started had resident, each at its own peak."""
        family = [self._process.pid, *(child.pid for child in self._children())]
        return sum(_peak_kib(pid) for pid in family) / 1024

    def end(self, *, grace_seconds: float) -> None:
        """SIGTERM, then SIGKILL; and SIGKILL to what it started and left behind."""
        started = self._children()
        self._process.terminate()
        try:
            self._process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for child in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()

    def _children(self) -> list[psutil.Process]:
        if self.has_ended:
            return []
        try:
            return psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


@contextlib.asynccontextmanager
async def running_process(
    name: str,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    grace_seconds: float = 20.0,
) -> AsyncIterator[RunningProcess]:
    """Run a command inside `folder`, its output in a log there, for the length of a block.

    At the block's end it is told to end, and killed after the grace. What goes wrong inside the block while the process
    is gone is reported as the process's own failure.
    """
    log = folder / f"{name.split()[0]}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 - takes milliseconds, and nothing else runs meanwhile
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    running = RunningProcess(name, process, log)
    try:
        yield running
    except Exception as error:
        if not isinstance(error, SystemFailed):
            if process.poll() is not None:
                raise running.failure(f"ended with exit status {process.returncode} while it was measured") from error
            error.add_note(str(running.failure("was running")))
        raise
    finally:
        running.end(grace_seconds=grace_seconds)


def treat_sigterm_as_ctrl_c() -> None:
    """Let SIGTERM, as of a `timeout` or a CI job, end this process by way of every `finally`, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def clean_environment(prefixes: tuple[str, ...], changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without the variables of these prefixes, then with the changes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return {**kept, **changes}


def _peak_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:  # it has just ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
