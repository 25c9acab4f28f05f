"""The inference service's metrics for Prometheus. Imported only where they are on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inference_service.adapters.observation import PROVIDER
from inference_service.core.types import EngineStatus, Finished, FinishReason

FIRST_TOKEN_SECONDS: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0),
)
"""The semantic conventions' own, and more above: long prompts on a CPU."""
TOKEN_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
"""The semantic conventions' own, and more below: small models, and drafts."""
REQUEST_SECONDS: Final = (
    0.01,
    0.02,
    0.04,
    0.08,
    0.16,
    0.32,
    0.64,
    1.28,
    2.56,
    5.12,
    10.24,
    20.48,
    40.96,
    81.92,
    163.84,
)
"""0.01 to 163.84: the semantic conventions' own, and one more."""
WAIT_SECONDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0)

_GEN_AI: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")


class GenerationMetrics:
    """What is counted as it happens."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._first_token = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "gen_ai.server.time_to_first_token: from a request's arrival to its first token, of whole answers.",
            _GEN_AI,
            buckets=FIRST_TOKEN_SECONDS,
            registry=registry,
        )
        self._token = Histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "gen_ai.server.time_per_output_token: the mean time a token after the first, of whole answers.",
            _GEN_AI,
            buckets=TOKEN_SECONDS,
            registry=registry,
        )
        self._request = Histogram(
            "gen_ai_server_request_duration_seconds",
            "gen_ai.server.request.duration: requests to their end. error_type is empty for whole answers.",
            (*_GEN_AI, "error_type"),
            buckets=REQUEST_SECONDS,
            registry=registry,
        )
        self._queue = Histogram(
            "groundwire_inference_queue_seconds",
            "What whole answers waited for a slot.",
            buckets=WAIT_SECONDS,
            registry=registry,
        )
        self._prompt = Histogram(
            "groundwire_inference_prompt_seconds",
            "What the reading of whole answers' prompts took.",
            buckets=WAIT_SECONDS,
            registry=registry,
        )
        self._finished = Counter(
            "groundwire_inference_finished", "Whole answers by why they ended.", ("reason",), registry=registry
        )
        for reason in FinishReason:
            self._finished.labels(reason.value)

    def finished(self, operation: str, model: str, answer: Finished) -> None:
        """An answer is whole."""
        timings = answer.timings
        labels = (operation, PROVIDER, model)
        self._first_token.labels(*labels).observe(timings.time_to_first_token_seconds)
        if answer.usage.completion_tokens > 1:
            per_token = timings.generation_seconds / (answer.usage.completion_tokens - 1)
            self._token.labels(*labels).observe(per_token)
        self._queue.observe(timings.queue_seconds)
        self._prompt.observe(timings.prompt_seconds)
        self._finished.labels(answer.reason.value).inc()

    def ended(self, operation: str, model: str, seconds: float, error: str) -> None:
        """A request has ended, whole (error is empty), cancelled or failed."""
        self._request.labels(operation, PROVIDER, model, error.lower()).observe(seconds)


class StatusCollector(Collector):
    """What the engine tells of itself, at the moment that someone asks."""

    def __init__(self, status: Callable[[], EngineStatus | None]) -> None:
        """`status` gives None while no model is loaded."""
        self._status = status

    def collect(self) -> Iterable[Metric]:
        """The gauges, and the engine's own counts."""
        status = self._status()
        yield _gauge(
            "groundwire_inference_model_loaded", "Whether a model is ready: 1 or 0.", float(status is not None)
        )
        if status is None:
            return
        totals = status.totals
        yield _gauge("groundwire_inference_slots", "Sequences that may run at once.", status.slots)
        yield _gauge("groundwire_inference_slots_used", "Sequences that run now.", status.slots_used)
        yield _gauge("groundwire_inference_queue_capacity", "Requests that may wait.", status.queue_capacity)
        yield _gauge("groundwire_inference_queue_length", "Requests that wait now.", status.queue_length)
        yield _gauge("groundwire_inference_kv_cells", "Size of the KV cache in tokens.", status.kv_cells)
        yield _gauge("groundwire_inference_kv_cells_reserved", "KV cells of running ones.", status.kv_cells_reserved)
        yield _gauge("groundwire_inference_kv_cells_cached", "KV cells kept for reuse.", status.kv_cells_cached)
        yield _gauge(
            "groundwire_inference_prefix_cache_bytes", "Host memory of kept prompts.", status.prefix_cache_bytes
        )
        yield _gauge(
            "groundwire_inference_prefix_cache_limit_bytes", "What they may take.", status.prefix_cache_limit_bytes
        )
        tokens = CounterMetricFamily(
            "groundwire_inference_tokens",
            "Tokens since the start. prompt: read. cached: taken from kept prompts instead. completion: generated. "
            "drafted: tried ahead. accepted: drafted and right.",
            labels=("kind",),
        )
        for kind in ("prompt", "cached", "completion", "drafted", "accepted"):
            tokens.add_metric((kind,), getattr(totals, f"{kind}_tokens"))
        yield tokens
        yield CounterMetricFamily(
            "groundwire_inference_step_seconds", "Time with a sequence running.", value=totals.step_seconds
        )
        yield CounterMetricFamily(
            "groundwire_inference_forward_seconds", "Of it, the time in forward passes.", value=totals.forward_seconds
        )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
