"""When calls arrive: bursts beyond what the service has places for, a steady trickle, and quiet."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

BURST_GAP_SECONDS = 0.004
"""Mean time between two arrivals of a burst: far below what an answer takes, so the queue fills and refuses."""

STEADY_GAP_SECONDS = 0.3
"""Mean time between two arrivals outside of bursts."""

_BURST_PLACES = (1.2, 3.0)
"""A burst's calls, as a multiple of the service's places."""
_STEADY_SECONDS = (1.0, 8.0)
_QUIET_SECONDS = (0.5, 3.0)
"""Long enough for a small service to fall idle, which is when it copies kept prompts out."""


def arrival_seconds(random: Random, *, places: int) -> Iterator[float]:
    """Times of arrival in seconds from the start, without end, ascending. Poisson within each phase.

    `places` is how many calls the service takes at once, running and waiting together.
    """
    now = 0.0
    while True:
        for _ in range(max(1, round(places * random.uniform(*_BURST_PLACES)))):
            now += random.expovariate(1 / BURST_GAP_SECONDS)
            yield now
        steady_until = now + random.uniform(*_STEADY_SECONDS)
        while (now := now + random.expovariate(1 / STEADY_GAP_SECONDS)) < steady_until:
            yield now
        now += random.uniform(*_QUIET_SECONDS)
