from __future__ import annotations

import pytest

from gateway.core.errors import BackendFailed, BackendNotSetUp, BackendTooSlow, BackendUnavailable, CircuitOpen
from gateway.core.recent_findings import MAX_CHARACTERS, BrownOutFinder, RecentFindings
from gateway.core.types import Findings, FoundResult, Provider, SearchOptions, SourceQuery
from tests.support.fake_backends import SteppingClock


def query(text: str = "rain", **options: object) -> SourceQuery:
    return SourceQuery(text, 10, SearchOptions(**options))  # type: ignore[arg-type]


def findings(text: str = "It rains.") -> Findings:
    return Findings((FoundResult("T", "example.org", text),), Provider.BRAVE)


class ScriptedFinder:
    def __init__(self, *outcomes: Findings | Exception) -> None:
        self.outcomes = list(outcomes)

    async def find(self, query: SourceQuery, *, timeout_seconds: float, metadata: object) -> Findings:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def recent(clock: SteppingClock, *, max_age_seconds: float = 60, max_entries: int = 3) -> RecentFindings:
    return RecentFindings(max_age_seconds=max_age_seconds, max_entries=max_entries, clock=clock)


async def find(finder: BrownOutFinder, asked: SourceQuery) -> Findings:
    return await finder.find(asked, timeout_seconds=5, metadata=())


@pytest.mark.parametrize("down", [BackendUnavailable("search", "x"), CircuitOpen("search", 5, retry_after_seconds=1)])
async def test_where_search_is_down_the_same_query_is_answered_with_its_age(down: BackendFailed) -> None:
    clock = SteppingClock()
    finder = BrownOutFinder(ScriptedFinder(findings(), down, down), recent(clock))
    fresh = await find(finder, query())
    assert (fresh.from_cache, fresh.stale_age_seconds) == (False, None)
    clock.seconds += 7
    stale = await find(finder, query(bypass_cache=True))
    assert (stale.results, stale.from_cache, stale.stale_age_seconds) == (fresh.results, True, 7)
    with pytest.raises(BackendFailed) as caught:
        await find(finder, query(country="AT"))
    assert caught.value is down


@pytest.mark.parametrize("failure", [BackendNotSetUp("search", "x"), BackendTooSlow("search", "x")])
async def test_other_failures_are_told(failure: BackendFailed) -> None:
    finder = BrownOutFinder(ScriptedFinder(findings(), failure), recent(SteppingClock()))
    await find(finder, query())
    with pytest.raises(type(failure)):
        await find(finder, query())


def test_nothing_outlives_its_age() -> None:
    clock = SteppingClock()
    kept = recent(clock)
    kept.keep(query(), findings())
    clock.seconds += 60
    assert kept.recall(query()) is not None
    clock.seconds += 0.1
    assert kept.recall(query()) is None
    assert len(kept) == 0


def test_the_least_recently_used_go_first() -> None:
    kept = recent(SteppingClock())
    for text in ("a", "b", "c"):
        kept.keep(query(text), findings())
    kept.recall(query("a"))
    kept.keep(query("d"), findings())
    assert [kept.recall(query(text)) is not None for text in "abcd"] == [True, False, True, True]


def test_texts_are_bounded_however_few_they_are() -> None:
    kept = recent(SteppingClock())
    kept.keep(query("a"), findings("x" * (MAX_CHARACTERS // 2)))
    kept.keep(query("b"), findings("x" * (MAX_CHARACTERS // 2 + 10)))
    assert (kept.recall(query("a")), len(kept)) == (None, 1)
    kept.keep(query("c"), findings("x" * (MAX_CHARACTERS + 1)))
    assert len(kept) == 0
    kept.keep(query("d"), findings())
    assert len(kept) == 1


def test_nothing_found_takes_the_place_of_what_was() -> None:
    kept = recent(SteppingClock())
    kept.keep(query(), findings())
    kept.keep(query(), Findings((), Provider.BRAVE))
    assert kept.recall(query()) is None
