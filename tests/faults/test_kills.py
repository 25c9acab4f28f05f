"""Each service killed in the middle of its callers' answers, and started again by the supervisor."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from benchmarks.faults.kills import RunningFleet, kill_under_callers, running_fleet
from tests.support.stack import INFERENCE, build_index

TOLD_SECONDS = 5.0
"""A busy machine may be late; `make faults` judges by one second."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningFleet]:
    folder: Path = tmp_path_factory.mktemp("kills")
    index = await asyncio.to_thread(build_index, folder)
    async with running_fleet({**INFERENCE, "GROUNDWIRE_INDEX_PATH": str(index)}) as running:
        yield running


@pytest.mark.parametrize(
    ("service", "number"),
    [
        ("search", signal.SIGKILL),
        ("inference", signal.SIGKILL),
        ("inference", signal.SIGABRT),
        ("gateway", signal.SIGKILL),
    ],
)
async def test_every_caller_is_told_once_and_the_service_comes_back(
    fleet: RunningFleet, service: str, number: signal.Signals
) -> None:
    kills = await kill_under_callers(fleet, service, times=1, callers=5, answer_tokens=60, number=number)
    assert kills.count == 1
    assert (kills.hung, kills.dishonest) == (0, 0)
    assert set(kills.codes) <= {"OK", "UNAVAILABLE"}
    assert kills.codes["UNAVAILABLE"] == len(kills.told_seconds)
    assert max(kills.told_seconds, default=0.0) < TOLD_SECONDS
    if service != "search":  # which nobody needs any more who has their sources
        assert kills.codes["UNAVAILABLE"] >= 1
