from __future__ import annotations

import asyncio

import pytest

from search_service.adapters.system_clock import SystemClock
from search_service.core.cache import AnswerCache
from search_service.core.errors import ProviderNotSetUp, ProviderUnavailable, RateLimited, SearchTimeout
from search_service.core.search import MissingProvider, Searcher
from search_service.core.types import Provider, SearchAnswer, SearchQuery
from tests.support.clocks import settle
from tests.support.search_providers import FakeProvider, page_for

QUERY = SearchQuery("what is it")


class Bench:
    """A searcher on fakes."""

    def __init__(self, *, cache_entries: int = 10, default: Provider = Provider.BRAVE) -> None:
        clock = SystemClock()
        self.brave = FakeProvider(Provider.BRAVE)
        self.local = FakeProvider(Provider.LOCAL)
        self.cache = AnswerCache(max_entries=cache_entries, max_age_seconds=60, clock=clock)
        self.searcher = Searcher([self.brave, self.local], default=default, cache=self.cache, clock=clock)

    async def ask(
        self,
        query: SearchQuery = QUERY,
        *,
        provider: Provider | None = None,
        bypass_cache: bool = False,
        timeout_seconds: float = 5.0,
    ) -> SearchAnswer:
        return await self.searcher.search(
            query, provider=provider, bypass_cache=bypass_cache, timeout_seconds=timeout_seconds
        )


async def test_the_default_and_the_named_provider_answer() -> None:
    bench = Bench()
    assert (await bench.ask()).page == page_for(QUERY)
    assert (await bench.ask(provider=Provider.LOCAL)).page.provider is Provider.LOCAL
    assert len(bench.brave.queries) == len(bench.local.queries) == 1


async def test_a_missing_provider_says_what_to_set() -> None:
    clock = SystemClock()
    missing = MissingProvider(Provider.BRAVE, reason="Set it.", setting="BRAVE_API_KEY")
    cache = AnswerCache(max_entries=1, max_age_seconds=1, clock=clock)
    searcher = Searcher([missing], default=Provider.LOCAL, cache=cache, clock=clock)
    for provider, setting in ((Provider.BRAVE, "BRAVE_API_KEY"), (None, "GROUNDWIRE_SEARCH_PROVIDER")):
        with pytest.raises(ProviderNotSetUp) as caught:
            await searcher.search(QUERY, provider=provider, bypass_cache=False, timeout_seconds=1)
        assert caught.value.setting == setting
    (status,) = searcher.status().providers
    assert (status.available, status.detail) == (False, "Set it.")


async def test_an_answer_comes_from_the_cache_the_second_time() -> None:
    bench = Bench()
    assert not (await bench.ask()).from_cache
    second = await bench.ask()
    assert second.from_cache
    assert second.page == page_for(QUERY)
    assert len(bench.brave.queries) == 1
    assert bench.searcher.status().cached_queries == 1
    assert not (await bench.ask(SearchQuery("another"))).from_cache


async def test_a_bypass_asks_anew_and_refreshes() -> None:
    bench = Bench()
    await bench.ask()
    assert not (await bench.ask(bypass_cache=True)).from_cache
    assert len(bench.brave.queries) == 2
    assert (await bench.ask()).from_cache


async def test_local_answers_are_not_kept() -> None:
    bench = Bench(default=Provider.LOCAL)
    await bench.ask()
    assert not (await bench.ask()).from_cache
    assert len(bench.local.queries) == 2


@pytest.mark.parametrize("cache_entries", [10, 0])
async def test_a_hundred_identical_queries_make_one_call(cache_entries: int) -> None:
    bench = Bench(cache_entries=cache_entries)
    bench.brave.gate.clear()
    calls = [asyncio.create_task(bench.ask()) for _ in range(100)]
    await settle()
    bench.brave.gate.set()
    answers = await asyncio.gather(*calls)
    assert len(bench.brave.queries) == 1
    assert {answer.page for answer in answers} == {page_for(QUERY)}
    assert sum(not answer.from_cache for answer in answers) == 1


async def test_a_cancelled_caller_leaves_the_others_theirs() -> None:
    bench = Bench()
    bench.brave.gate.clear()
    calls = [asyncio.create_task(bench.ask()) for _ in range(3)]
    await settle()
    calls[0].cancel()  # the one that began the call
    await settle()
    assert bench.brave.cancelled == 0
    bench.brave.gate.set()
    assert [answer.page for answer in await asyncio.gather(*calls[1:])] == [page_for(QUERY)] * 2
    assert len(bench.brave.queries) == 1


async def test_the_last_caller_to_leave_cancels_the_call() -> None:
    bench = Bench()
    bench.brave.gate.clear()
    calls = [asyncio.create_task(bench.ask()) for _ in range(3)]
    await settle()
    for call in calls:
        call.cancel()
    await settle()
    assert bench.brave.cancelled == 1
    assert all(call.cancelled() for call in calls)
    bench.brave.gate.set()
    assert not (await bench.ask()).from_cache
    assert len(bench.brave.queries) == 2


async def test_each_caller_keeps_its_own_deadline() -> None:
    bench = Bench()
    bench.brave.gate.clear()
    patient = asyncio.create_task(bench.ask(timeout_seconds=5))
    await settle()
    with pytest.raises(SearchTimeout):
        await bench.ask(timeout_seconds=0.02)
    assert not patient.done()
    bench.brave.gate.set()
    assert (await patient).page == page_for(QUERY)


async def test_a_failure_reaches_every_caller_and_is_not_kept() -> None:
    bench = Bench()
    bench.brave.gate.clear()
    bench.brave.errors.append(ProviderUnavailable("Down."))
    calls = [asyncio.create_task(bench.ask()) for _ in range(5)]
    await settle()
    bench.brave.gate.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ProviderUnavailable] * 5
    assert not (await bench.ask()).from_cache


@pytest.mark.parametrize(
    "error", [SearchTimeout("Too slow."), RateLimited("Not now.", retry_after_seconds=1.0)], ids=["timeout", "rate"]
)
async def test_a_caller_with_more_time_asks_again_where_the_shared_call_ran_out(error: Exception) -> None:
    bench = Bench()
    bench.brave.gate.clear()
    bench.brave.errors.append(error)
    hasty = asyncio.create_task(bench.ask(timeout_seconds=1))
    await settle()
    patient = [asyncio.create_task(bench.ask(timeout_seconds=5)) for _ in range(3)]
    await settle()
    bench.brave.gate.set()
    with pytest.raises(type(error)):
        await hasty
    assert {answer.page for answer in await asyncio.gather(*patient)} == {page_for(QUERY)}
    assert len(bench.brave.queries) == 2  # one more, for the three of them


async def test_closing_closes_every_provider() -> None:
    bench = Bench()
    await bench.searcher.close()
    assert bench.brave.closed
    assert bench.local.closed
