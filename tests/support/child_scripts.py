"""Child processes: small real ones that behave as told, and a look at those that a command has started."""

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


def services_of(parent_pid: int) -> dict[str, int]:
    """The process ids of the services that a process has started, by their package."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            command = (stat.parent / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == parent_pid and b"-m" in command:
            found[command[command.index(b"-m") + 1].decode()] = int(stat.parent.name)
    return found


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
