from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_service.adapters.brave_rates import rate_windows
from search_service.core.limiter import RateWindow

MONTH = 2_592_000.0


def headers(limit: str, policy: str | None, remaining: str, reset: str) -> dict[str, str]:
    named = {"x-ratelimit-limit": limit, "x-ratelimit-remaining": remaining, "x-ratelimit-reset": reset}
    return named if policy is None else {**named, "x-ratelimit-policy": policy}


@pytest.mark.parametrize("policy", ["1;w=1, 15000;w=2592000", "1; w=1,15000 ;w = 2592000", None, "nonsense"])
def test_pairs(policy: str | None) -> None:
    assert rate_windows(headers("1, 15000", policy, "1, 1000", "1, 1419704")) == (
        RateWindow(1.0, 1, 1, 1.0),
        RateWindow(MONTH, 15_000, 1_000, 1_419_704.0),
    )


def test_a_limit_of_zero_is_none() -> None:
    found = rate_windows(headers("50, 0", "50;w=1, 0;w=2592000", "49, 0", "1, 1419704"))
    assert found == (RateWindow(1.0, 50, 49, 1.0),)


@pytest.mark.parametrize(
    "given_headers",
    [
        {},
        headers("1", None, "1, 2", "1"),
        headers("1, 2", None, "x, 2", "1, 2"),
        headers("1, 2", None, "1, 2", "1, nan"),
        headers("", "", "", ""),
    ],
)
def test_what_is_malformed_teaches_nothing(given_headers: dict[str, str]) -> None:
    assert rate_windows(given_headers) == ()


PART = st.one_of(st.text(max_size=6), st.integers().map(str), st.just("1;w=1"))
HEADER = st.lists(PART, max_size=3).map(",".join)


@given(HEADER, HEADER, HEADER, HEADER)
def test_any_header_is_read_without_harm(limit: str, policy: str, remaining: str, reset: str) -> None:
    for window in rate_windows(headers(limit, policy, remaining, reset)):
        assert window.limit >= 1
        assert window.remaining >= 0
        assert 0 <= window.reset_seconds <= 2 * window.window_seconds
