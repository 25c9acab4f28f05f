"""Whether calls are let through to a service behind the gateway.

    closed ── so many failures in a row ──► open ── some seconds ──► half-open
      ▲                                       ▲                        │ one call at a time
      └──────────── it answers ───────────────┼────────────────────────┤
                                              └───── it fails ─────────┘

Pure policy on an injected clock: half-open is what open becomes by the time alone, so nothing runs in the background.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gateway.core.errors import (
    BackendBroken,
    BackendExhausted,
    BackendFailed,
    BackendNotSetUp,
    BackendUnavailable,
    CircuitOpen,
    RequestRefused,
)
from gateway.core.ports import Clock
from gateway.core.types import CircuitState, CircuitStatus

MIN_RETRY_SECONDS: Final = 0.25
"""What a refused caller is told to wait at least: while a probe runs, nobody knows how long it takes."""

_UNWELL_CODES: Final = frozenset({"INTERNAL", "UNKNOWN"})
_WELL_ITSELF: Final = frozenset({"PROVIDER_UNAVAILABLE"})
"""Reasons of a service that is well, though what it asks in turn is not."""

OnChange = Callable[[str, CircuitStatus], None]
"""Told of the service's name and of its circuit whenever that opens or closes."""


def _tell_nobody(service: str, status: CircuitStatus) -> None:
    pass


class Passage:
    """One call that was let through."""

    def __init__(self, circuit: Circuit, era: int) -> None:
        self._circuit = circuit
        self.era = era
        """Which of the circuit's changes it came after. What an older one tells is of no use any more."""

    def answered(self, *, whole: bool) -> None:
        """The service answered; `whole`: to the end."""
        self._circuit._answered(self, whole)


class Circuit:
    """Lets calls through to one service, or refuses them at once while it is known to be down."""

    def __init__(
        self,
        service: str,
        *,
        clock: Clock,
        failures_to_open: int,
        open_seconds: float,
        on_change: OnChange = _tell_nobody,
    ) -> None:
        """`failures_to_open` in a row open it, at least 1; after `open_seconds`, above 0, one call tries again."""
        self._service = service
        self._clock = clock
        self._failures_to_open = failures_to_open
        self._open_seconds = open_seconds
        self._on_change = on_change
        self._failures = 0
        self._opened: float | None = None
        self._probe: Passage | None = None
        self._probe_began = 0.0
        self._era = 0

    def status(self) -> CircuitStatus:
        """How it is now."""
        if self._opened is None:
            return CircuitStatus(CircuitState.CLOSED, self._failures)
        left = self._opened + self._open_seconds - self._clock()
        if left > 0:
            return CircuitStatus(CircuitState.OPEN, self._failures, left)
        return CircuitStatus(CircuitState.HALF_OPEN, self._failures)

    def check(self) -> None:
        """Raise CircuitOpen where a call would be refused now."""
        status = self.status()
        if status.state is CircuitState.CLOSED:
            return
        wait = status.retry_after_seconds
        if wait is None:
            # A probe that hangs must not keep the service shut: after as long again, another call may try.
            if self._probe is None or self._clock() >= self._probe_began + self._open_seconds:
                return
            wait = self._probe_began + self._open_seconds - self._clock()
        raise CircuitOpen(self._service, self._failures, retry_after_seconds=max(wait, MIN_RETRY_SECONDS))

    @contextmanager
    def passage(self) -> Iterator[Passage]:
        """Let one call through for the length of the block, and learn from how it fails. Raises CircuitOpen.

        A block that ends otherwise, by a cancellation for one, tells nothing but what `Passage.answered` was told.
        """
        self.check()
        passage = Passage(self, self._era)
        if self._opened is not None:
            self._probe, self._probe_began = passage, self._clock()
        try:
            yield passage
        except BackendFailed as error:
            if is_unwell(error):
                self._failed(passage)
            elif is_well(error):
                self._answered(passage, whole=True)
            raise
        finally:
            if self._probe is passage:
                self._probe = None

    def _answered(self, passage: Passage, whole: bool) -> None:
        if passage.era != self._era:
            return
        if self._opened is not None:
            self._opened = None
            # Only a whole answer ends the row. A service that takes calls and dies of each is shut again at once.
            self._failures = self._failures_to_open - 1
            self._change()
            passage.era = self._era
        if whole:
            self._failures = 0

    def _failed(self, passage: Passage) -> None:
        if passage.era != self._era:
            return
        self._failures += 1
        if self._failures >= self._failures_to_open:
            self._opened = self._clock()
            self._change()

    def _change(self) -> None:
        self._probe = None
        self._era += 1
        self._on_change(self._service, self.status())


def is_unwell(error: BackendFailed) -> bool:
    """Whether the failure means that the service is not there, or not well.

    A caller's mistake, a full queue, a deadline and a cancelled call do not mean that.
    """
    if isinstance(error, BackendUnavailable):
        return error.code_name != "CANCELLED" and error.reason not in _WELL_ITSELF
    return isinstance(error, BackendBroken) and error.code_name in _UNWELL_CODES


def is_well(error: BackendFailed) -> bool:
    """Whether the failure means that the service is there and at work."""
    return isinstance(error, (RequestRefused, BackendNotSetUp, BackendExhausted)) or error.reason in _WELL_ITSELF
