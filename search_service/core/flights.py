"""Single flight: callers who want the same thing at the same time share one call for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True, eq=False)
class Flight(Generic[V]):
    """One call under way."""

    task: asyncio.Task[V]
    ends_by: float
    """The moment, in the caller's clock, by which the call gives up by itself."""
    callers: int = 0


class Flights(Generic[K, V]):
    """The calls under way, by key."""

    def __init__(self) -> None:
        self._flights: dict[K, Flight[V]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def current(self, key: K) -> Flight[V] | None:
        """The call for this key that is under way, if any."""
        return self._flights.get(key)

    def start(self, key: K, call: Callable[[], Coroutine[Any, Any, V]], *, ends_by: float) -> Flight[V]:
        """Begin a call. Whoever starts one must join it."""
        flight = Flight(asyncio.create_task(call()), ends_by)
        self._flights[key] = flight
        flight.task.add_done_callback(lambda _: self._land(key, flight))
        return flight

    async def join(self, key: K, flight: Flight[V]) -> V:
        """Wait for its outcome. A cancelled caller leaves the others theirs; the last one to leave cancels the call."""
        flight.callers += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.callers -= 1
            if flight.callers == 0 and not flight.task.done():
                self._land(key, flight)  # at once, so that nobody joins a call that is being cancelled
                flight.task.cancel()

    def _land(self, key: K, flight: Flight[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if flight.task.done() and not flight.task.cancelled():
            flight.task.exception()  # seen, even where every caller has left
