"""How often something may begin: a bucket of tokens that fills evenly."""

from __future__ import annotations

from gateway.core.ports import Clock


class TokenBucket:
    """Holds a minute's worth of tokens at most, and is full at first: so much may begin at once, then as it fills."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        """`per_minute` tokens, at least 1, come in a minute."""
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        self._tokens = self._capacity
        self._filled = clock()

    def take(self) -> float:
        """Take a token: 0. Where there is none, nothing is taken: the seconds until there is one, above 0."""
        now = self._clock()
        self._tokens = min(self._capacity, self._tokens + (now - self._filled) * self._per_second)
        self._filled = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._per_second
        self._tokens -= 1
        return 0.0
