from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from search_service.core.errors import QuotaExhausted, RateLimited
from search_service.core.limiter import (
    LONGEST_PAUSE_SECONDS,
    MAX_QUEUE_SECONDS,
    QUOTA_PROBE_SECONDS,
    Limiter,
    RateWindow,
)
from search_service.core.types import Quota
from tests.support.clocks import ManualClock, settle

MONTH = 2_592_000.0


class Line:
    """Callers of one limiter, and when each got its turn."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.limiter = Limiter("brave", self.clock)
        self.began = self.clock.monotonic()
        self.turns: list[tuple[str, float]] = []

    async def call(self, name: str = "", timeout_seconds: float = 10.0, caller: str = "") -> None:
        await self.limiter.acquire(timeout_seconds=timeout_seconds, caller=caller)
        self.turns.append((name, round(self.clock.monotonic() - self.began, 2)))


async def test_it_starts_with_one_call_a_second_first_come_first_served() -> None:
    line = Line()
    calls = [asyncio.create_task(line.call(name)) for name in "abc"]
    await line.clock.advance(5)
    await asyncio.gather(*calls)
    assert line.turns == [("a", 0.0), ("b", 1.05), ("c", 2.1)]


async def test_callers_take_turns() -> None:
    line = Line()
    calls = [asyncio.create_task(line.call(f"hog {n}", caller="hog")) for n in range(4)]
    await settle()
    calls += [asyncio.create_task(line.call(f"other {n}", caller="other")) for n in range(2)]
    await line.clock.advance(20)
    await asyncio.gather(*calls, return_exceptions=True)
    assert [name for name, _ in line.turns] == ["hog 0", "hog 1", "other 0", "hog 2", "other 1"]
    with pytest.raises(RateLimited):  # the others made its wait longer than anyone waits
        await calls[3]


async def test_one_caller_cannot_fill_the_line_for_another() -> None:
    line = Line()
    hogs = [asyncio.create_task(line.call(caller="hog", timeout_seconds=60)) for _ in range(50)]
    await settle()
    other = asyncio.create_task(line.call("other", caller="other"))
    await line.clock.advance(3)
    await other
    assert [moment for name, moment in line.turns if name == "other"] == [2.1]
    await line.clock.advance(10)
    refused = await asyncio.gather(*hogs, return_exceptions=True)
    assert all(error is None or isinstance(error, RateLimited) for error in refused)


async def test_it_learns_a_higher_rate() -> None:
    line = Line()
    await line.call()
    line.limiter.observe([RateWindow(1, 20, 19, 1)])
    calls = [asyncio.create_task(line.call()) for _ in range(25)]
    await line.clock.advance(5)
    await asyncio.gather(*calls)
    moments = [moment for _, moment in line.turns]
    assert moments == [0.0] * 20 + [1.05] * 6


async def test_a_wait_beyond_the_deadline_is_refused_at_once() -> None:
    line = Line()
    await line.call()
    with pytest.raises(RateLimited) as caught:
        await line.call(timeout_seconds=0.5)
    assert caught.value.retry_after_seconds == pytest.approx(1.05)
    assert line.clock.monotonic() == line.began


async def test_a_long_line_is_refused_at_once_whatever_the_deadline() -> None:
    line = Line()
    calls = [asyncio.create_task(line.call()) for _ in range(5)]
    await settle()
    with pytest.raises(RateLimited) as caught:
        await line.call(timeout_seconds=600)
    assert caught.value.retry_after_seconds > MAX_QUEUE_SECONDS
    await line.clock.advance(10)
    await asyncio.gather(*calls)


async def test_a_cancelled_caller_gives_its_turn_to_the_next() -> None:
    line = Line()
    await line.call("a")
    b, c = (asyncio.create_task(line.call(name)) for name in "bc")
    await settle()
    b.cancel()
    await line.clock.advance(5)
    await c
    assert line.turns == [("a", 0.0), ("c", 1.05)]
    assert b.cancelled()


async def test_a_spent_window_is_waited_out() -> None:
    line = Line()
    line.limiter.observe([RateWindow(1, 20, 0, 0.7)])
    call = asyncio.create_task(line.call())
    await line.clock.advance(2)
    await call
    assert line.turns == [("", 0.7)]


async def test_a_pause_learned_while_waiting_is_kept_or_refused() -> None:
    line = Line()
    await line.call()
    patient = asyncio.create_task(line.call("patient"))
    await settle()
    line.limiter.pause(3)
    await line.clock.advance(4)
    await patient
    assert line.turns[-1] == ("patient", 3.0)
    hasty = asyncio.create_task(line.call("hasty", timeout_seconds=1.5))
    await settle()
    line.limiter.pause(4)
    await line.clock.advance(3)
    with pytest.raises(RateLimited):
        await hasty


async def test_pauses_grow_with_each_refusal_and_end_with_an_answer() -> None:
    line = Line()
    for _ in range(3):
        for _ in range(5):  # refused together: one refusal
            line.limiter.pause(1)
        waiting = asyncio.create_task(line.call())
        await line.clock.advance(4.5)
        await waiting
    assert [round(moment % 4.5, 2) for _, moment in line.turns] == [1.0, 2.0, 4.0]
    line.limiter.answered()
    line.limiter.pause(1)
    waiting = asyncio.create_task(line.call())
    await line.clock.advance(1.2)
    await waiting


async def test_pauses_stay_bounded() -> None:
    line = Line()
    for _ in range(50):
        line.limiter.pause(1)
        await line.clock.advance(LONGEST_PAUSE_SECONDS)
    await line.call()


async def test_a_refusal_for_a_spent_quota_is_remembered_and_probed() -> None:
    line = Line()
    line.limiter.exhausted(QuotaExhausted("No credit.", subject="brave:account", retry_after_seconds=None))
    line.limiter.observe([RateWindow(1, 50, 49, 0)])  # which tells nothing of it
    caught = []
    for _ in range(2):
        with pytest.raises(QuotaExhausted, match="No credit") as error:
            await line.call()
        caught.append(error.value)
    assert caught[0] is not caught[1]
    assert [error.retry_after_seconds for error in caught] == [QUOTA_PROBE_SECONDS] * 2
    await line.clock.advance(QUOTA_PROBE_SECONDS / 4)
    with pytest.raises(QuotaExhausted) as later:
        await line.call()
    assert later.value.retry_after_seconds == pytest.approx(QUOTA_PROBE_SECONDS * 3 / 4)
    await line.clock.advance(QUOTA_PROBE_SECONDS * 3 / 4)
    await line.call()
    with pytest.raises(QuotaExhausted):
        await line.call()
    line.limiter.answered()
    await line.call()


async def test_a_junk_limit_gathers_no_memory() -> None:
    line = Line()
    line.limiter.observe([RateWindow(1, 2**32 - 1, 2**32 - 1, 0)])
    for _ in range(200):
        await line.call()
        await line.clock.advance(0.1)
    assert len(line.limiter._starts) < 20


async def test_a_spent_quota_is_refused_at_once_until_it_is_whole() -> None:
    line = Line()
    line.limiter.observe([RateWindow(1, 1, 1, 0), RateWindow(MONTH, 2_000, 0, 1_000)])
    with pytest.raises(QuotaExhausted) as caught:
        await line.call()
    assert caught.value.subject == "brave:month"
    assert caught.value.retry_after_seconds == 1_000
    assert "2,000 calls" in str(caught.value)
    assert "2030-01-01 00:16 UTC" in str(caught.value)
    await line.clock.advance(1_001)
    await line.call()
    assert line.limiter.quota_error() is None


async def test_a_spent_quota_is_probed_now_and_then() -> None:
    line = Line()
    spent = [RateWindow(1, 1, 1, 0), RateWindow(MONTH, 2_000, 0, MONTH)]
    line.limiter.observe(spent)
    await line.clock.advance(QUOTA_PROBE_SECONDS)
    await line.call()
    line.limiter.observe(spent)
    with pytest.raises(QuotaExhausted):
        await line.call()
    await line.clock.advance(QUOTA_PROBE_SECONDS)
    await line.call()
    line.limiter.observe([RateWindow(1, 1, 1, 0), RateWindow(MONTH, 9_000, 7_000, MONTH)])
    await line.clock.advance(2)
    await line.call()


async def test_quotas_are_told_the_shortest_first() -> None:
    line = Line()
    assert line.limiter.quotas() == ()
    line.limiter.observe([RateWindow(MONTH, 2_000, 1_500, 60), RateWindow(1, 1, 0, 1)])
    line.limiter.observe([])
    await line.clock.advance(10)
    start = datetime(2030, 1, 1, tzinfo=UTC)
    assert line.limiter.quotas() == (
        Quota(timedelta(seconds=1), 1, 0, start + timedelta(seconds=1)),
        Quota(timedelta(seconds=MONTH), 2_000, 1_500, start + timedelta(seconds=60)),
    )
