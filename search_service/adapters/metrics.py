"""The search service's metrics for Prometheus. Imported only where they are on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from search_service.core.types import Provider, ProviderStatus, SearchAnswer, ServiceStatus

PROVIDER_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Buckets from a local index in memory to the longest search there is by default."""


class SearchMetrics:
    """What is counted as it happens."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answers = Counter(
            "groundwire_search_answers",
            "Searches answered. from_cache: the provider was not asked, or already for another caller.",
            ("provider", "from_cache"),
            registry=registry,
        )
        self._asked = Histogram(
            "groundwire_search_provider_duration_seconds",
            "Searches by a provider, its rate limit and second attempts included, by how they ended.",
            ("provider", "outcome"),
            buckets=PROVIDER_SECONDS,
            registry=registry,
        )
        self._replies = Counter(
            "groundwire_brave_replies",
            "Calls to the Brave Search API by HTTP status, or by why there is none: lost, timeout, junk, cancelled.",
            ("status",),
            registry=registry,
        )

    def answered(self, answer: SearchAnswer) -> None:
        """A search was answered."""
        self._answers.labels(answer.page.provider.value, str(answer.from_cache).lower()).inc()

    def asked(self, provider: Provider, outcome: str, seconds: float) -> None:
        """A provider was asked."""
        self._asked.labels(provider.value, outcome).observe(seconds)

    def replied(self, status: str) -> None:
        """A call to Brave has ended. `status` is its HTTP status where it has one."""
        self._replies.labels(status).inc()


class StatusCollector(Collector):
    """What the service tells of itself, at the moment that someone asks."""

    def __init__(self, status: Callable[[], ServiceStatus]) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        """The gauges."""
        status = self._status()
        yield _gauge("groundwire_search_running", "Searches that run now.", status.running_searches)
        yield _gauge("groundwire_search_limit", "How many may run at once.", status.max_searches)
        yield _gauge("groundwire_search_cached_queries", "Answers kept in memory.", status.cached_queries)
        available = GaugeMetricFamily(
            "groundwire_search_provider_available", "Whether a provider can be asked: 1 or 0.", labels=("provider",)
        )
        for provider in status.providers:
            available.add_metric((provider.provider.value,), float(provider.available))
        yield available
        yield from _quotas(status.providers)


def _quotas(providers: Iterable[ProviderStatus]) -> Iterable[Metric]:
    labels = ("provider", "window_seconds")
    left = GaugeMetricFamily(
        "groundwire_search_quota_remaining", "Calls that a plan leaves in a window.", labels=labels
    )
    limit = GaugeMetricFamily("groundwire_search_quota_limit", "Calls that a plan has in a window.", labels=labels)
    reset = GaugeMetricFamily(
        "groundwire_search_quota_reset_timestamp_seconds", "When a window is whole again, in Unix time.", labels=labels
    )
    for provider in providers:
        for quota in provider.quotas:
            values = (provider.provider.value, f"{quota.window.total_seconds():.0f}")
            left.add_metric(values, quota.remaining)
            limit.add_metric(values, quota.limit)
            reset.add_metric(values, quota.reset_time.timestamp())
    return left, limit, reset


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
