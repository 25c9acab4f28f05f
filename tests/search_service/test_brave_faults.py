"""A Brave that misbehaves, behind the real service on real sockets."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.search_faults.brave import EXPECTED, one_fault, storm
from search_service.adapters.brave import MAX_RETRIES
from search_service.adapters.brave_http import MAX_BODY_BYTES
from tests.support.brave_stand_in import BraveStandIn, Fault


@pytest.mark.parametrize("fault", EXPECTED)
async def test_each_fault_ends_in_time_with_its_status_and_no_call_too_many(tmp_path: Path, fault: Fault) -> None:
    outcome = await one_fault(fault, tmp_path)
    assert outcome.problem(EXPECTED[fault]) == ""


async def test_a_body_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    outcome = await one_fault(Fault.ENDLESS, tmp_path)
    # What is beyond the limit lies in the buffers of both sockets.
    assert outcome.sent_bytes < 4 * MAX_BODY_BYTES


async def test_links_into_the_network_do_not_come_through(tmp_path: Path) -> None:
    assert (await one_fault(Fault.INTERNAL_LINKS, tmp_path)).urls == ("https://example.org/fine",)


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:1/res/v1/web/search",
        "//127.0.0.1/res/v1/web/search",
        "http://0x7f.1/",
        "file:///etc/passwd",
        "https://127.0.0.1/",
        "http://[::1",
        "",
    ],
)
async def test_no_redirect_leads_elsewhere(tmp_path: Path, location: str) -> None:
    outcome = await one_fault(Fault.REDIRECT_HOST, tmp_path, redirect_to=location)
    assert outcome.ended == "UNAVAILABLE PROVIDER_UNAVAILABLE"
    assert outcome.calls <= 1 + MAX_RETRIES  # one that is no URL counts as a broken connection


async def test_a_redirect_to_an_internal_server_does_not_reach_it(tmp_path: Path) -> None:
    async with BraveStandIn() as inside:
        outcome = await one_fault(Fault.REDIRECT_HOST, tmp_path, redirect_to=f"{inside.base_url}/web/search?q=x")
        assert outcome.ended == "UNAVAILABLE PROVIDER_UNAVAILABLE"
        assert (inside.requests, inside.connections) == ([], 0)


async def test_a_storm_of_refusals_keeps_to_the_smallest_plan(tmp_path: Path) -> None:
    tally = await storm(tmp_path, callers=40, seconds=3.0)
    assert tally.calls <= tally.permitted
    assert (tally.untyped, tally.late) == (0, 0)
