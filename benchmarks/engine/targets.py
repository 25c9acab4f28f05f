"""What the inference service promises beside its peers, in the order in which the README's table shows it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.engine.contests import BENCH, DRAFTING_SERVER, EMPTY_CACHE, SERVER
from benchmarks.engine.results import Results, Row
from benchmarks.engine.works.drafts import OFF


@dataclass(frozen=True, slots=True)
class Target:
    """A comparison, and the bound that its ratio of ours to the peer's has to keep."""

    title: str
    """What is measured, with its model and its streams."""
    work: str
    model: str
    streams: tuple[int, ...]
    """More than one: the geometric mean of their ratios."""
    metric: str
    role: str
    """The peer."""
    least: float | None = None
    most: float | None = None

    @property
    def bound(self) -> str:
        """As a reader sees it; empty for a number that is only shown."""
        if self.least is not None:
            return f"≥ {self.least:.2f}"
        return "" if self.most is None else f"≤ {self.most:.2f}"

    def rows(self, results: Results) -> list[Row]:
        """The rows that it is judged by; empty unless all of them were measured."""
        found = [results.find(self.work, self.model, streams, self.metric, self.role) for streams in self.streams]
        rows = [row for row in found if row is not None and row.ratio is not None]
        return rows if len(rows) == len(self.streams) else []

    def ratio(self, results: Results) -> float | None:
        """The measured ratio; None where it was not measured."""
        ratios = [row.ratio for row in self.rows(results) if row.ratio is not None]
        return statistics.geometric_mean(ratios) if ratios else None

    def holds(self, ratio: float) -> bool:
        """Whether the ratio keeps the bound."""
        return (self.least is None or ratio >= self.least) and (self.most is None or ratio <= self.most)


def _plain(model: str, *streams: int) -> Iterator[Target]:
    for count in streams:
        title = f"plain, {model}, {count} stream{'' if count == 1 else 's'}: throughput"
        yield Target(title, "plain", model, (count,), "throughput", SERVER, least=1.0)


def _mixed(model: str) -> Iterator[Target]:
    title = f"a 3,000-token prompt beside 8 streams, {model}: "
    yield Target(title + "streams' longest gap", "mixed", model, (8,), "worst_gap", SERVER, most=0.5)
    yield Target(title + "its first token", "mixed", model, (8,), "long_ttft", SERVER, most=1.15)
    yield Target(title + "all tokens read and generated", "mixed", model, (8,), "total_throughput", SERVER, least=0.95)


_COPYING = "3.8b-copying"

TARGETS = (
    *_plain("60m", 1, 4, 16, 32),
    Target("plain, 60m, geometric mean of these", "plain", "60m", (1, 4, 16, 32), "throughput", SERVER, least=1.10),
    *_plain("3.8b", 1, 4, 8),
    Target("plain, 3.8b, 8 streams: throughput", "plain", "3.8b", (8,), "throughput", BENCH, least=0.95),
    Target("grounded, 3.8b: generation", "grounded", _COPYING, (1,), "generation_rate", SERVER, least=1.8),
    Target("grounded, 3.8b: generation", "grounded", _COPYING, (1,), "generation_rate", DRAFTING_SERVER, least=1.1),
    Target("grounded, 3.8b: throughput with reading", "grounded", _COPYING, (1,), "throughput", SERVER),
    Target("grounded, 3.8b: throughput with reading", "grounded", _COPYING, (1,), "throughput", DRAFTING_SERVER),
    Target(
        "the same question and sources again, 3.8b: first token",
        "grounded",
        _COPYING,
        (1,),
        "again_ttft",
        SERVER,
        most=1.0,
    ),
    Target("text that never repeats, 3.8b: throughput", "drafts", "3.8b", (1,), "throughput", OFF, least=0.97),
    Target("text that never repeats, 60m: throughput", "drafts", "60m", (1,), "throughput", OFF, least=0.97),
    Target(
        "conversations coming back, 60m: first token, median",
        "conversations",
        "60m",
        (4,),
        "ttft_p50",
        SERVER,
        most=0.9,
    ),
    Target(
        "8 streams beside a full prompt cache, 60m: throughput",
        "kept",
        "60m",
        (8,),
        "throughput",
        EMPTY_CACHE,
        least=0.97,
    ),
    *_mixed("3.8b"),
    *_mixed("60m"),
    Target("peak memory, 3.8b, equal context", "plain", "3.8b", (8,), "peak_memory", SERVER, most=1.05),
)
