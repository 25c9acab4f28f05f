"""The real services as processes on free ports of the loopback interface, for end-to-end tests."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

PACKAGES = {"search": "search_service", "inference": "inference_service", "gateway": "gateway"}
READY_SECONDS = 60.0
STOP_SECONDS = 20.0


class NotStarted(AssertionError):
    """A service ended, or said nothing, before it served. The message has its standard error."""


def clean_environment(**changes: str) -> dict[str, str]:
    """This process's environment without any setting of Groundwire, then with the changes."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GROUNDWIRE_", "OTEL_")) and name not in {"BRAVE_API_KEY", "NO_COLOR", "FORCE_COLOR"}
    }
    return {**kept, **changes}


class ServiceProcess:
    """One service as a process. It remembers its port, so that it comes back at the same address."""

    def __init__(self, service: str, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        """`folder` is where it runs and where its standard error is written; `environment` holds its settings."""
        self.service = service
        self.log_path = folder / f"{service}.log"
        self._folder = folder
        self._settings = dict(environment or {})
        self._listen_variable = f"GROUNDWIRE_{service.upper()}_LISTEN"
        self._settings.setdefault(self._listen_variable, "127.0.0.1:0")
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def start(self) -> Self:
        """Start it and wait until it says where it serves. Raises NotStarted."""
        assert not self.is_running(), f"{self.service} is running already"
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", PACKAGES[self.service]],
                cwd=self._folder,
                env=clean_environment(**self._settings),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        try:
            line = self._first_line()
            prefix = f"{self.service} serving on "
            if not line.startswith(prefix):
                raise NotStarted(f"{self.service} said {line!r}; its standard error:\n{self.log()}")
        except BaseException:
            self.kill()
            raise
        self.address = line.removeprefix(prefix).strip()
        self._settings[self._listen_variable] = self.address
        return self

    def _first_line(self) -> str:
        process = self._running()
        assert process.stdout is not None
        deadline = time.monotonic() + READY_SECONDS
        received = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in received:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise NotStarted(f"{self.service} did not serve within {READY_SECONDS:g} s:\n{self.log()}")
                piece = os.read(process.stdout.fileno(), 4096)
                if not piece:
                    raise NotStarted(f"{self.service} ended before it served:\n{self.log()}")
                received += piece
        return received.split(b"\n")[0].decode()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.service} was not started"
        return self._process

    @property
    def pid(self) -> int:
        """The process id."""
        return self._running().pid

    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """What it wrote on standard error so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def stop(self) -> int:
        """SIGTERM, then SIGKILL after a grace. Returns the exit status, negative for a signal."""
        process = self._running()
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._close()
        return process.returncode

    def restart(self) -> None:
        """Start it again at the same address, after a SIGKILL where it still runs."""
        if self.is_running():
            self.kill()
        self.start()

    def kill(self) -> None:
        """SIGKILL to it and to whatever it started, and wait until it is gone."""
        process = self._running()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_SECONDS)
        self._close()

    def _close(self) -> None:
        stdout = self._running().stdout
        if stdout is not None:
            stdout.close()


@contextlib.contextmanager
def running(service: str, folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[ServiceProcess]:
    """One service for the length of a block. It may be killed and started again inside."""
    process = ServiceProcess(service, folder, environment).start()
    try:
        yield process
    finally:
        process.stop()
