"""The figures, by hand."""

from __future__ import annotations

import pytest

from benchmarks.engine.metrics import (
    METRICS,
    SHOWN,
    amount,
    first_token_figures,
    gap_figures,
    generation_rate,
    kept_figures,
    percentile,
    throughput,
)
from benchmarks.engine.requests import Arrival, Reply, Usage


def reply(sent_at: float, *arrivals: tuple[float, int], usage: Usage | None = None) -> Reply:
    return Reply(sent_at, [Arrival(at, count) for at, count in arrivals], usage=usage)


def values(figures):
    return {figure.metric: figure.value for figure in figures}


def test_throughput_counts_no_pauses_between_waves():
    first = [reply(10.0, (11.0, 1), (14.0, 9)), reply(10.0, (13.0, 10))]
    second = [reply(100.0, (101.0, 20))]
    assert throughput([first, second]) == pytest.approx(40 / (4 + 1))


def test_the_generation_rate_begins_behind_the_first_message():
    assert generation_rate([reply(0.0, (8.0, 4), (10.0, 6)), reply(0.0, (1.0, 1), (4.0, 9))]) == pytest.approx(15 / 5)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 2.5), (0.95, 3.85), (1.0, 4.0)])
def test_percentiles_lie_between_neighbours(share, expected):
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == pytest.approx(expected)


def test_there_is_no_percentile_of_nothing():
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)


def test_first_tokens_and_gaps():
    replies = [reply(0.0, (1.0, 1), (1.5, 1), (3.5, 1)), reply(0.0, (3.0, 1), (4.0, 1))]
    assert values(first_token_figures(replies)) == {"ttft_p50": 2.0, "ttft_p95": pytest.approx(2.9)}
    assert values(gap_figures(replies)) == {"gap_p50": 1.0, "gap_p95": pytest.approx(1.9), "gap_max": 2.0}
    assert gap_figures([reply(0.0, (1.0, 5))]) == []


def test_what_was_kept_and_drafted_is_a_share_of_all():
    replies = [
        reply(0.0, (1.0, 10), usage=Usage(100, 40, drafted_tokens=9, accepted_tokens=6)),
        reply(0.0, (1.0, 10), usage=Usage(300, 0)),
    ]
    assert values(kept_figures(replies)) == {"cached_share": 0.1, "accepted_share": 0.3}


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1440.4, "tokens/s", "1,440 tokens/s"),
        (43.21, "tokens/s", "43.2 tokens/s"),
        (4.321, "s", "4.32 s"),
        (0.0321, "s", "32.1 ms"),
        (0.321, "share", "0.32 share"),
    ],
)
def test_amounts_have_three_digits(value, unit, expected):
    assert amount(value, unit) == expected


def test_what_is_shown_is_measured():
    assert set(SHOWN) < set(METRICS)
