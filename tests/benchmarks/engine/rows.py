"""Rows of results for tests, with what matters to each."""

from __future__ import annotations

from benchmarks.engine.metrics import METRICS
from benchmarks.engine.results import Results, Row

MACHINE: dict[str, str | int] = {
    "cpu": "Test CPU",
    "cores": 2,
    "memory_gib": 16,
    "os": "Test Linux",
    "python": "3.11",
    "llama_cpp_python": "0.3.36",
}


def row(
    work: str,
    model: str,
    streams: int,
    metric: str,
    *,
    ratio: float | None = 1.25,
    ours: float = 50.0,
    role: str | None = "llama-server",
    peer_name: str | None = "llama-server (split KV)",
    commit: str = "abc",
) -> Row:
    return Row(
        work=work,
        model=model,
        streams=streams,
        metric=metric,
        unit=METRICS[metric].unit,
        ours=ours,
        peer=None if ratio is None else ours / ratio,
        peer_name=peer_name,
        role=role,
        ratio=ratio,
        rounds=3,
        ratios=() if ratio is None else (ratio,) * 3,
        commit=commit,
    )


def results(*rows: Row) -> Results:
    return Results(MACHINE, "abc", rows)
