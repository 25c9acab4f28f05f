"""The gateway's metrics for Prometheus. Imported only where they are on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.core.admission import Admission
from gateway.core.answer import Answerer
from gateway.core.circuit import Circuit
from gateway.core.events import Finished, Outcome
from gateway.core.types import CircuitState, CircuitStatus

ANSWER_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
FIRST_TOKEN_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0)
SEARCH_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TOKENS: Final = tuple(4.0**power for power in range(9))
"""1 to 65,536: the semantic conventions' own, as far as contexts go here."""

_GEN_AI: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")


class GatewayMetrics:
    """What is counted as it happens."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answers = Counter(
            "groundwire_answers", "Whole answers by what kind of answer it was.", ("outcome",), registry=registry
        )
        for outcome in Outcome:
            self._answers.labels(outcome.value)
        self._citations = Counter(
            "groundwire_citations",
            "Citations in whole answers. resolved: the source was in the model's context. unresolved: it was not.",
            ("kind",),
            registry=registry,
        )
        for kind in ("resolved", "unresolved"):
            self._citations.labels(kind)
        self._uncited = Counter(
            "groundwire_uncited_sentences", "Sentences of whole answers without a citation.", registry=registry
        )
        self._stale = Counter(
            "groundwire_stale_answers",
            "Answers from sources that were found before search went down.",
            registry=registry,
        )
        self._seconds = Histogram(
            "groundwire_answer_duration_seconds",
            "Whole answers, from the question's arrival.",
            buckets=ANSWER_SECONDS,
            registry=registry,
        )
        self._first_token = Histogram(
            "groundwire_answer_time_to_first_token_seconds",
            "From the question's arrival to the first piece of text, the search included.",
            buckets=FIRST_TOKEN_SECONDS,
            registry=registry,
        )
        self._search = Histogram(
            "groundwire_answer_search_seconds",
            "What the search took of an answer.",
            buckets=SEARCH_SECONDS,
            registry=registry,
        )
        self._tokens = Histogram(
            "gen_ai_client_token_usage",
            "gen_ai.client.token.usage: tokens of a question's prompt (input) and of its answer (output).",
            (*_GEN_AI, "gen_ai_token_type"),
            buckets=TOKENS,
            registry=registry,
        )
        self._changes = Counter(
            "groundwire_circuit_changes",
            "How often the circuit of a service behind the gateway took up a state.",
            ("backend", "state"),
            registry=registry,
        )

    def used_stale_sources(self) -> None:
        """An answer takes sources from before search went down."""
        self._stale.inc()

    def finished(self, answer: Finished) -> None:
        """An answer is whole."""
        self._answers.labels(answer.outcome.value).inc()
        self._seconds.observe(answer.total_seconds)
        if answer.search_seconds is not None:
            self._search.observe(answer.search_seconds)
        if answer.time_to_first_token_seconds is not None:
            self._first_token.observe(answer.time_to_first_token_seconds)
        self._citations.labels("resolved").inc(answer.citations.resolved)
        self._citations.labels("unresolved").inc(answer.citations.unresolved)
        self._uncited.inc(answer.citations.uncited_sentences)
        if answer.generation is not None:
            usage = answer.generation.usage
            labels = ("chat", "groundwire", answer.model)
            self._tokens.labels(*labels, "input").observe(usage.prompt_tokens)
            self._tokens.labels(*labels, "output").observe(usage.completion_tokens)

    def circuit_changed(self, backend: str, status: CircuitStatus) -> None:
        """A circuit has opened or closed."""
        self._changes.labels(backend, status.state.value).inc()


@dataclass(frozen=True, eq=False)
class StatusCollector(Collector):
    """What the gateway tells of itself, at the moment that someone asks."""

    answerer: Answerer
    admission: Admission
    circuits: Mapping[str, Circuit]
    """By the name of the service behind."""

    def collect(self) -> Iterable[Metric]:
        """The gauges."""
        admission = self.admission
        yield _gauge("groundwire_asks_running", "Questions being answered now.", self.answerer.running)
        yield _gauge("groundwire_asks_limit", "How many may be answered at once.", admission.limits.asks)
        yield _gauge("groundwire_held_bytes", "Bytes of questions and answers on their way.", admission.held_bytes)
        yield _gauge("groundwire_held_bytes_limit", "How many may be held at once.", admission.limits.bytes)
        yield CounterMetricFamily(
            "groundwire_retries", "Second attempts at the inference service.", value=self.answerer.retries.taken
        )
        yield _gauge(
            "groundwire_retries_left", "Second attempts that the budget allows now.", self.answerer.retries.retries_left
        )
        state = GaugeMetricFamily(
            "groundwire_circuit_state",
            "The state of the circuit of a service behind the gateway: 1 where it is the one named, else 0.",
            labels=("backend", "state"),
        )
        failures = GaugeMetricFamily(
            "groundwire_circuit_failures_in_row", "Failures since the last whole answer.", labels=("backend",)
        )
        for backend, circuit in self.circuits.items():
            status = circuit.status()
            for each in CircuitState:
                state.add_metric((backend, each.value), float(status.state is each))
            failures.add_metric((backend,), status.failures_in_row)
        yield state
        yield failures


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
