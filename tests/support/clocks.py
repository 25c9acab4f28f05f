"""A clock that tests turn by hand."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta


class ManualClock:
    """Time passes when `advance` is called. A sleeper wakes once its moment has come."""

    def __init__(self) -> None:
        self._seconds = 1_000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self._seconds

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self._seconds - 1_000.0)

    async def sleep(self, seconds: float) -> None:
        sleeper = (self._seconds + seconds, asyncio.get_running_loop().create_future())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1]
        finally:
            self._sleepers.remove(sleeper)

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking sleepers in their order, and let everything that can run do so."""
        end = self._seconds + seconds
        await settle()
        while due := [sleeper for sleeper in self._sleepers if sleeper[0] <= end and not sleeper[1].done()]:
            moment, wake = min(due, key=lambda sleeper: sleeper[0])
            self._seconds = max(self._seconds, moment)
            wake.set_result(None)
            await settle()
        self._seconds = end
        await settle()


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)
