"""While the search service is down: no answer, or one from older sources where an operator allowed that."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from groundwire_rpc.status import RichStatus
from tests.support.fake_services import answer_script
from tests.support.wired_gateway import TWO_SOURCES, kinds, wired

DOWN = RichStatus(grpc.StatusCode.UNAVAILABLE, "Gone.", reason="PROVIDER_UNAVAILABLE")
SEARCHES: Any = ([TWO_SOURCES], [DOWN])


async def test_by_default_a_question_ends_with_the_outage() -> None:
    async with wired(search=SEARCHES) as gateway:
        await gateway.ask()
        assert (await gateway.refused()).code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("circuit_failures", [1, 5])
async def test_where_allowed_older_sources_are_answered_from_and_flagged(circuit_failures: int) -> None:
    crashed = RichStatus(grpc.StatusCode.INTERNAL if circuit_failures == 1 else grpc.StatusCode.UNAVAILABLE, "Gone.")
    async with wired(
        search=([TWO_SOURCES], [crashed]),
        inference=(answer_script("Vienna [1]."),),
        gateway_brown_out_seconds=60,
        gateway_circuit_failures=circuit_failures,
    ) as gateway:
        fresh = await gateway.ask()
        if circuit_failures == 1:  # the first failure opens the circuit, and is told itself
            assert (await gateway.refused()).code is grpc.StatusCode.INTERNAL
        stale = await gateway.ask()
        assert kinds(stale) == kinds(fresh)
        (before,), (after,) = (
            [event.sources for event in events if event.WhichOneof("event") == "sources"] for events in (fresh, stale)
        )
        assert (before.HasField("stale_age"), before.from_cache) == (False, False)
        assert (after.HasField("stale_age"), after.from_cache) == (True, True)
        assert 0 < after.stale_age.ToTimedelta().total_seconds() < 60
        assert list(after.sources) == list(before.sources)
