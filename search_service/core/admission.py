"""How many searches may run at once, waiting in line for a provider included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from search_service.core.errors import SearchBusy
from search_service.core.ports import Clock

_FIRST_GUESS_SECONDS: Final = 1.0
_SHORTEST_WAIT_SECONDS: Final = 0.1
_WEIGHT: Final = 0.1
"""Of the newest search in the running mean of how long one takes."""


class Admission:
    """Places for running searches. A search that finds none is refused at once: a line would only hide the overload."""

    def __init__(self, max_in_flight: int, clock: Clock) -> None:
        """`max_in_flight` is at least 1."""
        self._max = max_in_flight
        self._clock = clock
        self._running = 0
        self._mean_seconds = _FIRST_GUESS_SECONDS

    @property
    def running(self) -> int:
        """Searches that run now."""
        return self._running

    @property
    def max_in_flight(self) -> int:
        """How many may."""
        return self._max

    @contextmanager
    def place(self) -> Iterator[None]:
        """One place for the length of the block. Raises SearchBusy, which says when one should be free."""
        if self._running >= self._max:
            raise SearchBusy(self._max, retry_after_seconds=max(_SHORTEST_WAIT_SECONDS, self._mean_seconds))
        self._running += 1
        began = self._clock.monotonic()
        try:
            yield
        finally:
            self._running -= 1
            self._mean_seconds += _WEIGHT * (self._clock.monotonic() - began - self._mean_seconds)
