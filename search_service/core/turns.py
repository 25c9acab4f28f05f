"""One turn at a time: callers take turns, and the calls of one caller go first come, first served."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairTurns:
    """Who has more calls in line than others waits longer for the last of them, and nobody else does."""

    def __init__(self) -> None:
        self._line: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._is_taken = False
        self._holder = ""

    def ahead(self, caller: str) -> int:
        """How many calls would have their turn before a new one of this caller, the running one included."""
        own = len(self._line.get(caller, ()))
        # Whoever has the turn now comes after the others, so one less of theirs is ahead.
        others = sum(
            min(len(queue), own + (name != self._holder)) for name, queue in self._line.items() if name != caller
        )
        return own + others + self._is_taken

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it for the length of the block. Whoever is cancelled leaves the line."""
        if self._is_taken:
            await self._wait(caller)
        self._is_taken, self._holder = True, caller
        try:
            yield
        finally:
            self._pass_on(caller)

    async def _wait(self, caller: str) -> None:
        called = asyncio.get_running_loop().create_future()
        self._line.setdefault(caller, deque()).append(called)
        try:
            await called
        except asyncio.CancelledError:
            if not called.cancelled():  # it was called, and leaves all the same
                self._pass_on(caller)
            elif called in (queue := self._line.get(caller, deque())):
                queue.remove(called)
                if not queue:
                    del self._line[caller]
            raise

    def _pass_on(self, last: str) -> None:
        """Call who is next. The turn stays taken meanwhile, so that nobody comes in between."""
        while self._line:
            caller = next((name for name in self._line if name != last), last)
            queue = self._line.pop(caller)
            called = queue.popleft()
            if queue:
                self._line[caller] = queue  # behind all others
            if not called.done():  # else it was cancelled just now
                called.set_result(None)
                return
        self._is_taken = False
