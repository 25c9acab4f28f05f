"""How many searches may run at once, waiting in line for a provider included."""

from __future__ import annotations

from collections import Counter
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
    """Places for running searches. A search that finds none is refused at once: a line would only hide the overload.

    One caller may have a part of them only, so that others find some.
    """

    def __init__(self, max_in_flight: int, clock: Clock, *, caller_share: float = 1.0) -> None:
        """`max_in_flight` is at least 1; `caller_share` is above 0, to 1, and at least one place."""
        self._max = max_in_flight
        self._caller_max = max(1, int(max_in_flight * caller_share))
        self._clock = clock
        self._running: Counter[str] = Counter()
        self._mean_seconds = _FIRST_GUESS_SECONDS

    @property
    def running(self) -> int:
        """Searches that run now."""
        return self._running.total()

    @property
    def max_in_flight(self) -> int:
        """How many may."""
        return self._max

    @contextmanager
    def place(self, caller: str) -> Iterator[None]:
        """One place for the length of the block. Raises SearchBusy, which says when one should be free."""
        wait = max(_SHORTEST_WAIT_SECONDS, self._mean_seconds)
        if self.running >= self._max:
            raise SearchBusy(self._max, retry_after_seconds=wait)
        if self._running[caller] >= self._caller_max:
            raise SearchBusy(self._caller_max, retry_after_seconds=wait, of_caller=True)
        self._running[caller] += 1
        began = self._clock.monotonic()
        try:
            yield
        finally:
            self._running[caller] -= 1
            if not self._running[caller]:
                del self._running[caller]
            self._mean_seconds += _WEIGHT * (self._clock.monotonic() - began - self._mean_seconds)
