"""The pace at which a provider may be asked, learned from what it says about its limits.

Short windows (a rate) set the pace: calls wait in line, where callers take turns. Long windows (a quota) are not waited
for: once spent, calls are refused at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from search_service.core.errors import QuotaExhausted, RateLimited
from search_service.core.ports import Clock
from search_service.core.turns import FairTurns
from search_service.core.types import Quota

LONGEST_RATE_WINDOW_SECONDS: Final = 60.0
"""Windows up to this are rates, longer ones quotas."""

MAX_QUEUE_SECONDS: Final = 5.0
"""No call waits in line for longer, whatever its deadline: the caller plans better with the time in hand."""

QUOTA_PROBE_SECONDS: Final = 600.0
"""While a quota is spent, one call in this time is let through: the plan may have been changed."""

LONGEST_PAUSE_SECONDS: Final = 60.0
"""Refusals that follow each other make the pauses between them grow up to this."""

_MARGIN_SECONDS: Final = 0.05
"""Added to a rate's window: two calls may travel at different speeds."""


@dataclass(frozen=True, slots=True)
class RateWindow:
    """One limit as a provider reports it."""

    window_seconds: float
    limit: int
    """Calls in a window, at least 1."""
    remaining: int
    reset_seconds: float
    """Until the window is whole again, at least 0."""


CONSERVATIVE_START: Final = RateWindow(window_seconds=1.0, limit=1, remaining=1, reset_seconds=0.0)
"""What is assumed until the first answer: the smallest plan there is."""


@dataclass(frozen=True, slots=True)
class _Reported:
    window: RateWindow
    at: float
    """In the monotonic clock."""

    @property
    def whole_at(self) -> float:
        return self.at + self.window.reset_seconds


class Limiter:
    """One for all calls to a provider with one token."""

    def __init__(self, name: str, clock: Clock) -> None:
        """`name` is the provider's, for messages and quota subjects."""
        self._name = name
        self._clock = clock
        self._reported: tuple[_Reported, ...] = ()
        self._rate = CONSERVATIVE_START
        self._starts: deque[float] = deque()
        self._not_before = 0.0
        self._paused_until = 0.0
        self._pauses = 0  # since the last call that was answered
        self._refusal: QuotaExhausted | None = None  # the provider's own, where no report told of a spent quota
        self._quota_probed_at: float | None = None
        self._turns = FairTurns()

    async def acquire(self, *, timeout_seconds: float, caller: str = "") -> None:
        """Return when a call of this caller may start.

        Raises RateLimited at once if that takes longer than the timeout or MAX_QUEUE_SECONDS, and QuotaExhausted.
        """
        self._check_quota()
        patience = min(timeout_seconds, MAX_QUEUE_SECONDS)
        gives_up_at = self._clock.monotonic() + patience
        self._check_wait(self._wait_seconds(ahead=self._turns.ahead(caller)), patience)
        async with self._turns.turn(caller):
            while (wait := self._wait_seconds(ahead=0)) > 0:
                # What was learned while waiting in line, and who came after, may have made the wait longer.
                self._check_wait(wait, gives_up_at - self._clock.monotonic())
                await self._clock.sleep(wait)
            self._check_quota(probing=True)
            self._note_start()

    def observe(self, windows: Sequence[RateWindow]) -> None:
        """Learn from an answer's report. An empty one teaches nothing."""
        if not windows:
            return
        now = self._clock.monotonic()
        self._reported = tuple(_Reported(w, now) for w in sorted(windows, key=lambda w: w.window_seconds))
        rates = [w for w in windows if w.window_seconds <= LONGEST_RATE_WINDOW_SECONDS]
        if rates:
            self._rate = min(rates, key=lambda w: w.limit / w.window_seconds)
            if self._rate.remaining <= 0:
                self._not_before = max(self._not_before, now + min(self._rate.reset_seconds, self._rate.window_seconds))
        if self._spent_quota() is not None and self._quota_probed_at is None:
            self._quota_probed_at = now

    def answered(self) -> None:
        """Note that a call was answered and not refused."""
        self._pauses = 0
        self._refusal = None
        if self._spent_quota() is None:
            self._quota_probed_at = None

    def pause(self, seconds: float) -> None:
        """Let no call start for this long, as one was refused; doubled with each pause that ends in a refusal.

        Calls that were under way together are refused together: what comes during a pause does not lengthen it.
        """
        now = self._clock.monotonic()
        if now < self._paused_until:
            return
        self._paused_until = now + min(seconds * 2**self._pauses, LONGEST_PAUSE_SECONDS)
        self._pauses = min(self._pauses + 1, 16)
        self._not_before = max(self._not_before, self._paused_until)

    def exhausted(self, refusal: QuotaExhausted) -> None:
        """Note that the provider says that a quota is spent, whatever it reports."""
        self._refusal = refusal
        self._quota_probed_at = self._clock.monotonic()

    def quota_error(self) -> QuotaExhausted | None:
        """The error to give while a quota is spent, else None."""
        spent = self._spent_quota()
        if spent is None:
            known = self._refusal
            if known is None:
                return None
            # A new one each time: an error that is raised again and again gathers tracebacks.
            return QuotaExhausted(
                str(known),
                subject=known.subject,
                retry_after_seconds=known.retry_after_seconds or self._probe_seconds(),
            )
        seconds = max(0.0, spent.whole_at - self._clock.monotonic())
        whole = (self._clock.now() + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M UTC")
        return QuotaExhausted(
            f"The {self._name} plan's quota of {spent.window.limit:,} calls is spent until {whole}.",
            subject=f"{self._name}:{'month' if spent.window.window_seconds > 20 * 86_400 else 'window'}",
            retry_after_seconds=seconds,
        )

    def quotas(self) -> tuple[Quota, ...]:
        """What was reported last, the shortest window first."""
        elapsed = self._clock.monotonic()
        now = self._clock.now()
        return tuple(
            Quota(
                timedelta(seconds=r.window.window_seconds),
                r.window.limit,
                r.window.remaining,
                now + timedelta(seconds=r.whole_at - elapsed),
            )
            for r in self._reported
        )

    def _spent_quota(self) -> _Reported | None:
        now = self._clock.monotonic()
        for reported in self._reported:
            long = reported.window.window_seconds > LONGEST_RATE_WINDOW_SECONDS
            if long and reported.window.remaining <= 0 and now < reported.whole_at:
                return reported
        return None

    def _probe_seconds(self) -> float:
        """Until the provider is asked again whether a spent quota has changed: before that no try is of any use."""
        probed_at = self._clock.monotonic() if self._quota_probed_at is None else self._quota_probed_at
        return max(0.0, probed_at + QUOTA_PROBE_SECONDS - self._clock.monotonic())

    def _check_quota(self, *, probing: bool = False) -> None:
        error = self.quota_error()
        if error is None:
            return
        now = self._clock.monotonic()
        if self._quota_probed_at is not None and now - self._quota_probed_at < QUOTA_PROBE_SECONDS:
            raise error
        if probing:
            self._quota_probed_at = now

    def _note_start(self) -> None:
        now = self._clock.monotonic()
        self._starts.append(now)
        # What is older than the window says nothing more, nor does what is beyond the limit.
        oldest = now - self._rate.window_seconds - _MARGIN_SECONDS
        while len(self._starts) > self._rate.limit or self._starts[0] < oldest:
            self._starts.popleft()

    def _wait_seconds(self, *, ahead: int) -> float:
        """Seconds until a call may start that has so many others before it in line."""
        now = self._clock.monotonic()
        window = self._rate.window_seconds + _MARGIN_SECONDS
        starts = list(self._starts)
        at = max(now, self._not_before)
        for _ in range(ahead + 1):
            at = max(now, self._not_before)
            if len(starts) >= self._rate.limit:
                at = max(at, starts[-self._rate.limit] + window)
            starts.append(at)
        return at - now

    def _check_wait(self, wait_seconds: float, patience_seconds: float) -> None:
        if wait_seconds > 0 and wait_seconds >= patience_seconds:
            raise RateLimited(
                f"The {self._name} plan allows {self._rate.limit:,} calls in {self._rate.window_seconds:g} s; "
                f"the next free one is {wait_seconds:.1f} s away.",
                retry_after_seconds=wait_seconds,
            )
