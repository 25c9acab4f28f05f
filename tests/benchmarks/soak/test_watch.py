from __future__ import annotations

import os

import pytest

from benchmarks.soak.watch import Footprint, Growth, Minute, Sample, footprint, growth, minutes, status_problems
from groundwire.inference.v1 import inference_pb2 as pb


def sample(at_seconds: float, rss_mib: float) -> Sample:
    return Sample(at_seconds, Footprint(rss_mib, 1, 1, 0), None, 0.0)


def test_memory_by_minute() -> None:
    samples = [sample(0, 10), sample(59.9, 30), sample(60, 20), sample(130, 5)]

    assert minutes(samples) == [Minute(1, 10, 30), Minute(2, 20, 20), Minute(3, 5, 5)]


def test_growth_is_from_behind_the_warm_up_to_the_end() -> None:
    samples = [sample(second, 100 + second) for second in range(305)]

    grown = growth(samples, run_seconds=300)

    assert grown is not None
    assert grown.warm_mib == pytest.approx(100 + (100 + 129) / 2)
    assert grown.end_mib == pytest.approx(100 + (270 + 304) / 2)


def test_no_growth_without_samples() -> None:
    assert growth([sample(0, 10)], run_seconds=60) is None


def test_the_bound_is_a_share_and_some_more() -> None:
    assert Growth(200.0, 300.0).bound_mib == pytest.approx(242.0)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, []),
        ({"slots_used": 9, "queue_length": 0}, ["more running than slots"]),
        ({"queue_length": 17}, ["more calls than places"]),
        ({"kv_cells_cached": 500}, ["more cells than there are"]),
        ({"prefix_cache_mib": 65}, ["more kept than the limit"]),
        ({"accepted_tokens_total": 6}, ["more accepted than drafted"]),
    ],
)
def test_statuses_that_cannot_be(change: dict[str, int], problem: list[str]) -> None:
    status = pb.GetStatusResponse(
        slots=8,
        slots_used=8,
        queue_capacity=16,
        queue_length=16,
        kv_cells=2048,
        kv_cells_reserved=1600,
        kv_cells_cached=400,
        prefix_cache_mib=64,
        prefix_cache_limit_mib=64,
        drafted_tokens_total=5,
        accepted_tokens_total=5,
    )
    status.MergeFrom(pb.GetStatusResponse(**change))
    for name, value in change.items():
        setattr(status, name, value)

    assert status_problems(status) == problem


def test_a_footprint_is_of_a_real_process() -> None:
    taken = footprint(os.getpid())

    assert taken.rss_mib > 1
    assert taken.threads >= 1
    assert taken.open_files >= 3
