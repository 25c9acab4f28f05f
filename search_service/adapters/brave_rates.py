"""Brave's rate headers: comma-separated pairs, per second and then per month.

X-RateLimit-Limit: 1, 15000
X-RateLimit-Policy: 1;w=1, 15000;w=2592000
X-RateLimit-Remaining: 1, 1000
X-RateLimit-Reset: 1, 1419704   (seconds to wait)
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

from search_service.core.limiter import RateWindow

_POLICY: Final = re.compile(r"\s*(\d{1,12})\s*;\s*w\s*=\s*(\d{1,12})\s*")
_MAX: Final = 2**32 - 1
"""What the contract's uint32 holds."""
_LONGEST_WINDOW_SECONDS: Final = 366 * 86_400
_DEFAULT_WINDOWS: Final = (1, 30 * 86_400)


def rate_windows(headers: Mapping[str, str]) -> tuple[RateWindow, ...]:
    """What the headers say, or nothing where they are missing or malformed. A limit of 0 means no limit."""
    remaining = _numbers(headers.get("x-ratelimit-remaining", ""))
    reset = _numbers(headers.get("x-ratelimit-reset", ""))
    policies = [_POLICY.fullmatch(part) for part in headers.get("x-ratelimit-policy", "").split(",")]
    if all(policies) and len(policies) == len(remaining):
        limits: list[int | None] = [int(policy[1]) for policy in policies if policy]
        windows = [int(policy[2]) for policy in policies if policy]
    else:
        limits = _numbers(headers.get("x-ratelimit-limit", ""))
        windows = list(_DEFAULT_WINDOWS)
    if not len(limits) == len(windows) == len(remaining) == len(reset):
        return ()
    found = []
    for limit, window, left, seconds in zip(limits, windows, remaining, reset, strict=True):
        if limit is None or left is None or seconds is None:
            return ()
        if limit > 0 and 0 < window <= _LONGEST_WINDOW_SECONDS:
            found.append(RateWindow(float(window), min(limit, _MAX), min(left, _MAX), float(min(seconds, 2 * window))))
    return tuple(found)


def _numbers(header: str) -> list[int | None]:
    return [_number(part) for part in header.split(",")] if header else []


def _number(text: str) -> int | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return max(0, math.ceil(value)) if math.isfinite(value) else None
