"""Small child processes for the supervisor: real ones, that behave as told."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from groundwire_cli.child import ChildSpec

SERVES = "print('{name} serving on 127.0.0.1:{port}', flush=True)\n"
SLEEPS = "import time; time.sleep(60)\n"


def script(name: str, program: str) -> ChildSpec:
    """A child that runs this Python program."""
    return ChildSpec(name, (sys.executable, "-I", "-S", "-c", program), {"PATH": os.environ.get("PATH", "")})


def server(name: str, port: int = 7, before: str = "", after: str = SLEEPS) -> ChildSpec:
    """A child that says that it serves, and then does what it is told."""
    return script(name, before + SERVES.format(name=name, port=port) + after)


def is_alive(pid: int) -> bool:
    """Whether the process runs. One that ended and was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(*pids: int, seconds: float = 5.0) -> list[int]:
    """Wait until none of them is alive. Returns those that still are."""
    deadline = time.monotonic() + seconds
    while (alive := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return alive


def kill_all(*pids: int) -> None:
    """Leave nothing behind after a test that failed."""
    for pid in pids:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
