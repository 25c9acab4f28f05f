"""How searches and providers are told of: by how they ended, from where, and what a plan leaves."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from search_service.adapters.metrics import SearchMetrics, StatusCollector
from search_service.adapters.observation import ObservedProvider, ObservedSearcher
from search_service.adapters.system_clock import SystemClock
from search_service.core.cache import AnswerCache
from search_service.core.errors import (
    InvalidQuery,
    ProviderNotSetUp,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
    SearchTimeout,
)
from search_service.core.types import Provider, Quota, SearchQuery
from tests.support.search_providers import FakeProvider

QUERY = SearchQuery("rain")


class Observed:
    """A searcher over one scripted provider, and its metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.provider = FakeProvider()
        metrics = SearchMetrics(self.registry)
        clock = SystemClock()
        self.searcher = ObservedSearcher(
            [ObservedProvider(self.provider, metrics)],
            counts=metrics,
            default=Provider.BRAVE,
            cache=AnswerCache(max_entries=10, max_age_seconds=60, clock=clock),
            clock=clock,
        )
        self.registry.register(StatusCollector(self.searcher.status))

    async def search(self) -> None:
        await self.searcher.search(QUERY, provider=None, bypass_cache=False, timeout_seconds=5)

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, {"provider": "brave", **labels}) or 0


async def test_an_answer_and_then_the_cache() -> None:
    observed = Observed()
    await observed.search()
    await observed.search()
    assert observed.value("groundwire_search_answers_total", from_cache="false") == 1
    assert observed.value("groundwire_search_answers_total", from_cache="true") == 1
    assert observed.value("groundwire_search_provider_duration_seconds_count", outcome="ok") == 1
    assert observed.registry.get_sample_value("groundwire_search_cached_queries") == 1


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (InvalidQuery([("query", "is bad")]), "invalid_query"),
        (ProviderNotSetUp("Set it.", setting="BRAVE_API_KEY"), "not_set_up"),
        (RateLimited("Later.", retry_after_seconds=1), "rate_limited"),
        (QuotaExhausted("Spent.", subject="brave:month", retry_after_seconds=None), "quota_exhausted"),
        (SearchTimeout("Slow."), "timeout"),
        (ProviderUnavailable("Down."), "unavailable"),
        (ZeroDivisionError(), "error"),
    ],
)
async def test_every_failure_has_a_name(error: Exception, outcome: str) -> None:
    observed = Observed()
    observed.provider.errors.append(error)
    with pytest.raises(type(error)):
        await observed.search()
    assert observed.value("groundwire_search_provider_duration_seconds_count", outcome=outcome) == 1
    assert observed.value("groundwire_search_answers_total", from_cache="false") == 0


async def test_a_search_that_is_given_up_is_cancelled() -> None:
    observed = Observed()
    observed.provider.gate.clear()
    searching = asyncio.create_task(observed.search())
    while not observed.provider.queries:
        await asyncio.sleep(0.01)
    assert observed.registry.get_sample_value("groundwire_search_running") == 1
    searching.cancel()
    await asyncio.wait({searching})
    while not observed.value("groundwire_search_provider_duration_seconds_count", outcome="cancelled"):
        await asyncio.sleep(0.01)
    assert observed.registry.get_sample_value("groundwire_search_running") == 0


async def test_what_the_plan_leaves() -> None:
    observed = Observed()
    whole = datetime(2030, 1, 1, tzinfo=UTC)
    observed.provider.quotas = (
        Quota(timedelta(days=30), 15_000, 14_000, whole),
        Quota(timedelta(seconds=1), 1, 0, whole),
    )
    month = {"window_seconds": "2592000"}
    assert observed.value("groundwire_search_quota_remaining", **month) == 14_000
    assert observed.value("groundwire_search_quota_limit", **month) == 15_000
    assert observed.value("groundwire_search_quota_reset_timestamp_seconds", **month) == whole.timestamp()
    assert observed.value("groundwire_search_quota_limit", window_seconds="1") == 1
    assert observed.value("groundwire_search_provider_available") == 1
