"""What is measured: the figures that are made of timelines, with their units and which way is better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.engine.requests import Reply


@dataclass(frozen=True, slots=True)
class Metric:
    """A kind of figure."""

    title: str
    unit: str
    higher_is_better: bool


METRICS = {
    "throughput": Metric("throughput", "tokens/s", higher_is_better=True),
    "generation_rate": Metric("generation rate", "tokens/s", higher_is_better=True),
    "ttft_p50": Metric("time to first token, median", "s", higher_is_better=False),
    "ttft_p95": Metric("time to first token, 95th percentile", "s", higher_is_better=False),
    "gap_p50": Metric("gap between tokens, median", "s", higher_is_better=False),
    "gap_p95": Metric("gap between tokens, 95th percentile", "s", higher_is_better=False),
    "gap_max": Metric("gap between tokens, longest", "s", higher_is_better=False),
    "again_ttft": Metric("time to first token of the same again", "s", higher_is_better=False),
    "worst_gap": Metric("longest gap of running streams", "s", higher_is_better=False),
    "long_ttft": Metric("long prompt's time to first token", "s", higher_is_better=False),
    "total_throughput": Metric("prompt and generated tokens", "tokens/s", higher_is_better=True),
    "peak_memory": Metric("peak memory", "MiB", higher_is_better=False),
    "accepted_share": Metric("generated tokens that were drafted", "share", higher_is_better=True),
    "cached_share": Metric("prompt tokens that were kept", "share", higher_is_better=True),
    "outside_decode": Metric("engine time outside llama_decode", "share", higher_is_better=False),
    "client_cpu": Metric("measuring process's own CPU time a token", "ms", higher_is_better=False),
}
"""By the name that results bear.

throughput: generated tokens by the time from the first request sent to the last token, summed over the waves of a
round. generation_rate: the tokens behind an answer's first message by the time from that message to the last.
"""


SHOWN = (
    "throughput",
    "generation_rate",
    "ttft_p50",
    "again_ttft",
    "worst_gap",
    "long_ttft",
    "total_throughput",
    "peak_memory",
)
"""The metrics that are reported and drawn; all others are in the results alone."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of one round."""

    metric: str
    value: float
    role: str | None = None
    """Whose it is, where that is not the system that was running; see results.Sample."""


def throughput(waves: Sequence[Sequence[Reply]]) -> float:
    """Tokens a second over waves of requests; the pauses between waves do not count."""
    seconds = sum(
        max(reply.ended_at for reply in wave) - min(reply.sent_at for reply in wave) for wave in waves if wave
    )
    return sum(reply.generated for wave in waves for reply in wave) / seconds


def generation_rate(replies: Sequence[Reply]) -> float:
    """Tokens a second of one stream once it has begun, over all streams."""
    tokens = sum(reply.generated - reply.arrivals[0].count for reply in replies)
    return tokens / sum(reply.ended_at - reply.arrivals[0].at for reply in replies)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all is not above, in a straight line between neighbours. Raises ValueError."""
    if not values:
        raise ValueError("there is no percentile of nothing")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def first_token_figures(replies: Sequence[Reply]) -> list[Figure]:
    """How long first tokens took."""
    waits = [reply.first_token_seconds for reply in replies]
    return [Figure("ttft_p50", percentile(waits, 0.5)), Figure("ttft_p95", percentile(waits, 0.95))]


def gap_figures(replies: Sequence[Reply]) -> list[Figure]:
    """How evenly tokens came; nothing where each answer came in one message."""
    gaps = [gap for reply in replies for gap in reply.gaps]
    if not gaps:
        return []
    return [
        Figure("gap_p50", percentile(gaps, 0.5)),
        Figure("gap_p95", percentile(gaps, 0.95)),
        Figure("gap_max", max(gaps)),
    ]


def kept_figures(replies: Sequence[Reply]) -> list[Figure]:
    """What was taken from earlier requests, and what drafts brought, as the system counts it."""
    usages = [reply.usage for reply in replies if reply.usage is not None]
    prompt = sum(usage.prompt_tokens for usage in usages)
    generated = sum(reply.generated for reply in replies)
    return [
        Figure("cached_share", sum(usage.cached_tokens for usage in usages) / prompt),
        Figure("accepted_share", sum(usage.accepted_tokens for usage in usages) / generated),
    ]


def amount(value: float, unit: str) -> str:
    """The value with three digits and its unit, in one that suits."""
    if unit == "s" and value < 1:
        value, unit = value * 1000, "ms"
    digits = max(0, 3 - len(str(int(value)))) if value >= 1 else 2
    return f"{value:,.{digits}f} {unit}"
