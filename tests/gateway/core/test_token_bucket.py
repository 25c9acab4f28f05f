from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.token_bucket import TokenBucket


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_worth_at_once_and_then_evenly() -> None:
    clock = Clock()
    bucket = TokenBucket(30, clock)
    assert [bucket.take() for _ in range(30)] == [0.0] * 30
    assert bucket.take() == pytest.approx(2)
    clock.now += 1.5
    assert bucket.take() == pytest.approx(0.5)
    clock.now += 0.6
    assert bucket.take() == 0
    assert bucket.take() == pytest.approx(1.9)


@given(st.integers(1, 600), st.lists(st.floats(0, 90), max_size=80))
def test_never_more_than_a_minutes_worth_beyond_the_rate(per_minute: int, pauses: list[float]) -> None:
    clock = Clock()
    bucket = TokenBucket(per_minute, clock)
    taken = 0
    for pause in pauses:
        clock.now += pause
        wait = bucket.take()
        taken += wait == 0
        assert taken <= per_minute + (clock.now - 1_000) * per_minute / 60 + 1e-6
        if wait:
            clock.now += wait + 1e-6
            assert bucket.take() == 0
            taken += 1
