"""The real service as a process on a free port of the loopback interface, and what its log says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from groundwire_cli.health import NotServing, wait_until_serving

_READY_SECONDS = 600.0
"""A model of many gigabytes may come from a slow disk."""
_STOP_SECONDS = 60.0
_PREFIX = "inference serving on "
_KEPT = ("GROUNDWIRE_MODELS_DIR",)


class NotStarted(Exception):
    """The service ended, or said nothing, before it served. The message has the end of its log."""


@dataclass(slots=True)
class Service:
    """A running service."""

    address: str
    pid: int
    log_path: Path
    process: asyncio.subprocess.Process

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None

    async def stop(self) -> int:
        """SIGTERM. Returns the exit status; negative for a signal, SIGKILL's where it did not end by itself."""
        if self.is_running:
            self.process.terminate()
        try:
            return await asyncio.wait_for(self.process.wait(), _STOP_SECONDS)
        except TimeoutError:
            await self.kill()
            return -signal.SIGKILL

    async def kill(self) -> None:
        """SIGKILL to it and to what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self.process.wait()


@contextlib.asynccontextmanager
async def running_service(folder: Path, settings: Mapping[str, str]) -> AsyncIterator[Service]:
    """The service with these GROUNDWIRE_… settings and no others, until the block ends. Raises NotStarted.

    It runs in `folder`, where its log is written too.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GROUNDWIRE_")}
    environment |= {name: os.environ[name] for name in _KEPT if name in os.environ}
    log_path = folder / "inference.log"
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "inference_service",
            cwd=folder,
            env={**environment, **settings},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    service = Service("", process.pid, log_path, process)
    try:
        service.address = await _address(service)
        yield service
    finally:
        if service.is_running:
            await service.kill()


async def _address(service: Service) -> str:
    assert service.process.stdout is not None  # noqa: S101 - it is a pipe
    try:
        async with asyncio.timeout(_READY_SECONDS):
            line = (await service.process.stdout.readline()).decode()
            if not line.startswith(_PREFIX):
                raise NotStarted(f"The service said {line!r}. The end of its log:\n{_tail(service.log_path)}")
            address = line.removeprefix(_PREFIX).strip()
            await wait_until_serving(address, "", timeout_seconds=_READY_SECONDS)
    except (TimeoutError, NotServing):
        raise NotStarted(f"The service did not serve in time. The end of its log:\n{_tail(service.log_path)}") from None
    return address


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-20:])


@dataclass(frozen=True, slots=True)
class LogSummary:
    """What a service's log says."""

    errors: tuple[str, ...] = ()
    """Lines of level error or above."""
    strangers: tuple[str, ...] = ()
    """Lines that are no log lines: a library's own, or a traceback."""
    calls: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By request id, the status of each line that reports the end of a call."""
    levels: Mapping[str, int] = field(default_factory=dict)
    """Lines by level."""


def read_log(lines: Iterable[str]) -> LogSummary:
    """Sort a log's lines."""
    errors: list[str] = []
    strangers: list[str] = []
    calls: dict[str, tuple[str, ...]] = {}
    levels: Counter[str] = Counter()
    for line in lines:
        try:
            entry = json.loads(line)
            level = entry["level"]
        except (ValueError, KeyError, TypeError):
            if line.strip():
                strangers.append(line.rstrip())
            continue
        levels[level] += 1
        if level in ("error", "critical", "exception"):
            errors.append(line.rstrip())
        if entry.get("event") == "call":
            calls[entry["request_id"]] = (*calls.get(entry["request_id"], ()), entry["code"])
    return LogSummary(tuple(errors), tuple(strangers), calls, levels)
