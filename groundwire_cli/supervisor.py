"""Keeps child processes running: starts them, restarts what dies, gives up where that is no use, stops them all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol, Self

from groundwire_cli.child import Child, ChildSpec
from groundwire_cli.restarts import Death, RestartHistory, RestartPolicy

GRACE_SECONDS: Final = 15.0
"""From SIGTERM to SIGKILL. Longer than the services' own grace for running calls."""


class GaveUp(Exception):
    """A child cannot be kept running."""

    def __init__(self, name: str, death: Death, deaths: int, last_words: str) -> None:
        self.name = name
        self.death = death
        self.last_words = last_words
        often = f" {deaths} times in a row, the last time" if deaths > 1 else ""
        super().__init__(f"{name} {death.in_words}{often} after {death.lived_seconds:.1f} s.")


class Reporter(Protocol):
    """What is told of the children."""

    def line(self, name: str, line: str) -> None:
        """A child wrote a line."""
        ...

    def note(self, name: str, text: str) -> None:
        """Something happened to a child."""
        ...


class _Kept:
    """One child that is kept running."""

    def __init__(self, spec: ChildSpec, policy: RestartPolicy, reporter: Reporter) -> None:
        self.spec = spec
        self._history = RestartHistory(policy)
        self._reporter = reporter
        self._stopping = asyncio.Event()
        self.first_address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.child: Child | None = None
        self.keeping = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        """Ends when it was told to stop. Raises GaveUp."""
        while not self._stopping.is_set():
            child, death = await self._live_once()
            if self._stopping.is_set():
                return
            delay_seconds = self._history.next_delay_seconds(death)
            if delay_seconds is None:
                raise GaveUp(self.spec.name, death, self._history.quick_deaths, last_words(child.last_errors))
            self._reporter.note(self.spec.name, f"{death.in_words}; it is started again in {delay_seconds:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_seconds)

    async def _live_once(self) -> tuple[Child, Death]:
        started = time.monotonic()
        child = Child.start(self.spec, self._reporter.line)
        child.address.add_done_callback(self._note_address)
        self.child = child
        try:
            status = await child.ended()
        finally:
            self.child = None
        served = child.address.done() and not child.address.cancelled()
        return child, Death(status, time.monotonic() - started, served)

    def _note_address(self, announced: asyncio.Future[str]) -> None:
        if not announced.cancelled() and not self.first_address.done():
            self.first_address.set_result(announced.result())

    def come_back_with(self, **environment: str) -> None:
        """Change the environment of later starts."""
        self.spec = replace(self.spec, environment={**self.spec.environment, **environment})

    async def stop(self, grace_seconds: float) -> None:
        """SIGTERM, the grace, SIGKILL. Returns when it is gone."""
        self._stopping.set()
        if self.child is not None:
            self.child.terminate()
        try:
            await asyncio.wait({self.keeping}, timeout=grace_seconds)
        finally:
            self.kill()
        if not self.keeping.done():
            await asyncio.wait({self.keeping})

    def kill(self) -> None:
        """SIGKILL now, and no restart."""
        self._stopping.set()
        if self.child is not None:
            self.child.kill()


class Supervisor:
    """Several children. Use as an async context manager: leaving it stops all of them."""

    def __init__(
        self, reporter: Reporter, policy: RestartPolicy | None = None, *, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self._reporter = reporter
        self._policy = policy or RestartPolicy()
        self._grace_seconds = grace_seconds
        self._kept: dict[str, _Kept] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self, spec: ChildSpec, *, timeout_seconds: float) -> str:
        """Start a child and wait until it says where it serves; it is kept running from then on.

        Returns the address. Raises GaveUp, and TimeoutError where it does not serve in time.
        """
        kept = self._kept[spec.name] = _Kept(spec, self._policy, self._reporter)
        awaited: set[asyncio.Future[str] | asyncio.Task[None]] = {kept.first_address, kept.keeping}
        await asyncio.wait(awaited, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        if kept.first_address.done():
            return kept.first_address.result()
        if kept.keeping.done():
            await kept.keeping
        raise TimeoutError(f"{spec.name} did not say that it serves within {timeout_seconds:g} s.")

    def come_back_with(self, name: str, **environment: str) -> None:
        """Change the environment that a child is started with from its next start on."""
        self._kept[name].come_back_with(**environment)

    def pid(self, name: str) -> int | None:
        """The process id of a child. None while it is not running."""
        child = self._kept[name].child
        return child.pid if child else None

    async def watch(self) -> None:
        """Wait until a child cannot be kept running, and raise GaveUp for it. Does not return otherwise."""
        keeping = {kept.keeping for kept in self._kept.values()}
        done, _ = await asyncio.wait(keeping, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task

    async def stop(self) -> None:
        """Stop the child that was started last, then all others together. Each gets the grace."""
        others = list(self._kept.values())
        try:
            if others:
                await others.pop().stop(self._grace_seconds)
            await asyncio.gather(*(kept.stop(self._grace_seconds) for kept in others))
        finally:
            self.kill()
            keeping = [kept.keeping for kept in self._kept.values()]
            for kept in self._kept.values():
                kept.first_address.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)

    def kill(self) -> None:
        """SIGKILL to every child, now."""
        for kept in self._kept.values():
            kept.kill()


def last_words(lines: Sequence[str]) -> str:
    """What a child wrote last for a person: its last lines that are no structured log lines."""
    told = [line for line in lines if line.strip() and not _is_log_line(line)]
    return "\n".join(told)


def _is_log_line(line: str) -> bool:
    if not line.startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
