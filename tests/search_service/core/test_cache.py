from __future__ import annotations

import pytest

from search_service.core.cache import AnswerCache
from search_service.core.types import Provider, SearchQuery
from tests.support.clocks import ManualClock
from tests.support.search_providers import page_for


def key(text: str) -> tuple[Provider, SearchQuery]:
    return Provider.BRAVE, SearchQuery(text)


async def test_a_page_is_kept_for_its_time() -> None:
    clock = ManualClock()
    cache = AnswerCache(max_entries=2, max_age_seconds=10, clock=clock)
    page = page_for(SearchQuery("a"))
    cache.put(key("a"), page)
    await clock.advance(9)
    assert cache.get(key("a")) is page
    assert len(cache) == 1
    await clock.advance(2)
    assert cache.get(key("a")) is None
    assert len(cache) == 0


def test_the_least_recently_used_goes_first() -> None:
    cache = AnswerCache(max_entries=2, max_age_seconds=10, clock=ManualClock())
    for text in ("a", "b"):
        cache.put(key(text), page_for(SearchQuery(text)))
    cache.get(key("a"))
    cache.put(key("c"), page_for(SearchQuery("c")))
    assert [cache.get(key(text)) is not None for text in ("a", "b", "c")] == [True, False, True]


@pytest.mark.parametrize(("entries", "seconds"), [(0, 10.0), (10, 0.0)])
def test_zero_turns_it_off(entries: int, seconds: float) -> None:
    cache = AnswerCache(max_entries=entries, max_age_seconds=seconds, clock=ManualClock())
    cache.put(key("a"), page_for(SearchQuery("a")))
    assert cache.get(key("a")) is None
    assert len(cache) == 0
