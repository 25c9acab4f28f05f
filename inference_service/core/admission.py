"""Who is let in to run or wait, and who is refused at once: pure policy, without threads or a clock of its own."""

from __future__ import annotations

from collections import Counter, deque

from inference_service.core.errors import CallerQueueFull, QueueFull, QueueTooSlow

_MIN_RETRY_SECONDS = 0.5
_MAX_RETRY_SECONDS = 30.0

_CALLER_SHARE = 0.75
"""Of the queue, what one caller may hold where nobody says how much."""

_MARGIN = 1.25
"""What is expected may take a quarter longer: who is let in by the mean alone is late half of the time."""

_RUNS_KNOWN = 32
"""How many of the last runs tell how long a run takes."""

_MIN_TURNS_KNOWN = 8
"""Of the last turns, how many the pace is judged by at least; and never fewer than two for each slot."""


def default_caller_queue(queue: int) -> int:
    """How many of the queue's places one caller may hold where nobody says: three quarters, rounded up."""
    return -int(-queue * _CALLER_SHARE // 1)


class QueuePace:
    """How long a turn takes: the mean time from one running request's end to the next, while others wait for a slot."""

    def __init__(self, *, slots: int) -> None:
        # Requests that began together end together: only a round of all slots tells how fast turns come.
        self._slots = slots
        self._turns: deque[float] = deque(maxlen=max(_MIN_TURNS_KNOWN, 2 * slots))

    def observe(self, seconds: float) -> None:
        """A running request ended, so long after the one before, or after the last slot was taken."""
        self._turns.append(seconds)

    @property
    def turn_seconds(self) -> float | None:
        """The mean of the last turns. None: there were too few to tell."""
        if len(self._turns) < self._slots:
            return None
        return sum(self._turns) / len(self._turns)


class RunTimes:
    """How long requests run once it is their turn: the mean of the last ones, their prompts included."""

    def __init__(self) -> None:
        self._runs: deque[tuple[float, int]] = deque(maxlen=_RUNS_KNOWN)

    def observe(self, seconds: float, tokens: int) -> None:
        """A request ran so long, to its end or to its deadline, and so many tokens were generated."""
        self._runs.append((seconds, tokens))

    def estimate(self, max_tokens: int) -> float:
        """Seconds that a request will probably run that generates at most so many tokens. 0: nothing is known."""
        if not self._runs:
            return 0.0
        seconds = sum(seconds for seconds, _ in self._runs)
        tokens = sum(tokens for _, tokens in self._runs)
        return min(seconds / len(self._runs), max_tokens * seconds / max(1, tokens))


class Admission:
    """Counts each caller's places and refuses what there is no room or no time for.

    A place is waiting from the moment it is taken until its request runs.
    """

    def __init__(self, *, slots: int, queue: int, caller_queue: int | None = None) -> None:
        """`queue` requests may wait for `slots`, `caller_queue` of them one caller's; None: three quarters."""
        self._slots = slots
        self._queue = queue
        self._caller_queue = default_caller_queue(queue) if caller_queue is None else caller_queue
        self._waiting: Counter[str] = Counter()
        self._waiting_count = 0
        self._running = 0
        self._runnable = slots
        self._pace = QueuePace(slots=slots)
        self._runs = RunTimes()
        self._full_since: float | None = None

    @property
    def taken(self) -> int:
        """Places that are taken, running and waiting together."""
        return self._running + self._waiting_count

    @property
    def wait_seconds(self) -> float:
        """How long a request of a new caller would probably wait for its slot, if it came now. 0 where that is not
        known.
        """
        return self._wait_seconds("")

    def set_runnable(self, count: int, *, now: float) -> None:
        """How many requests can run at once now: fewer than there are slots where KV cells are short."""
        self._runnable = count
        self._note_whether_full(now)

    def enter(self, caller: str, *, now: float, timeout_seconds: float, max_tokens: int) -> None:
        """Take a waiting place for a request that must be answered within the timeout.

        Raises QueueFull, CallerQueueFull or QueueTooSlow; then nothing is taken.
        """
        if self.taken >= self._slots + self._queue:
            raise QueueFull(
                f"The service has all the requests that it takes: {self._running} of {self._slots} slots are in use, "
                f"and {self._waiting_count} requests are waiting.",
                limit=self._queue,
                retry_after_seconds=self._retry_seconds(),
            )
        free = self._free
        if self._waiting_count >= free and self._waiting[caller] >= self._caller_queue + free:
            raise CallerQueueFull(
                f"{self._waiting[caller]} requests of this caller are waiting already, and one caller may have "
                f"{self._caller_queue} of the queue's {self._queue} places.",
                limit=self._caller_queue,
                retry_after_seconds=self._retry_seconds(),
            )
        wait = self._wait_seconds(caller)
        needed = _MARGIN * (wait + self._runs.estimate(max_tokens))
        if wait and needed > timeout_seconds:
            raise QueueTooSlow(
                f"The request may take {needed:.1f} s, as it would wait for about {wait:.1f} s, and its deadline is in "
                f"{timeout_seconds:.1f} s.",
                timeout_seconds=timeout_seconds,
                retry_after_seconds=_clamped(needed - timeout_seconds),
            )
        self._waiting[caller] += 1
        self._waiting_count += 1
        self._note_whether_full(now)

    def start(self, caller: str) -> None:
        """A waiting request runs."""
        self._leave_queue(caller)
        self._running += 1

    def leave(self, caller: str, *, now: float, running: bool) -> None:
        """A place is free again; `running`: its request had started."""
        if not running:
            self._leave_queue(caller)
        else:
            if self._full_since is not None:
                self._pace.observe(now - self._full_since)
                self._full_since = now
            self._running -= 1
        self._note_whether_full(now)

    def observe_run(self, seconds: float, *, tokens: int) -> None:
        """A request ran so long, to its end or to its deadline, and so many tokens were generated."""
        self._runs.observe(seconds, tokens)

    def _note_whether_full(self, now: float) -> None:
        if not self._is_full:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = now

    def _leave_queue(self, caller: str) -> None:
        self._waiting_count -= 1
        self._waiting[caller] -= 1
        if not self._waiting[caller]:
            del self._waiting[caller]

    @property
    def _free(self) -> int:
        return max(0, self._runnable - self._running)

    @property
    def _is_full(self) -> bool:
        """Whether whoever came now would have to wait."""
        return self._waiting_count >= self._free

    def _wait_seconds(self, caller: str) -> float:
        """The turns until a further request of this caller would run, by the pace of the last ones."""
        own = self._waiting[caller]
        before = own + sum(min(count, own + 1) for other, count in self._waiting.items() if other != caller)
        turns = before + 1 - self._free
        turn_seconds = self._pace.turn_seconds
        return turns * turn_seconds if turns > 0 and turn_seconds is not None else 0.0

    def _retry_seconds(self) -> float:
        """When half of those who wait will have had their turn: the next place comes free sooner, but others come back
        for it too.
        """
        turn_seconds = self._pace.turn_seconds
        return _MIN_RETRY_SECONDS if turn_seconds is None else _clamped(turn_seconds * (1 + self._waiting_count) / 2)


def _clamped(seconds: float) -> float:
    return min(_MAX_RETRY_SECONDS, max(_MIN_RETRY_SECONDS, seconds))
