"""From what a soak has seen to rows that held or did not, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchmarks.soak.afterwards import SETTLE_SECONDS
from benchmarks.soak.soak import Result
from benchmarks.soak.watch import GROWTH_MIB, GROWTH_SHARE, growth, minutes

POOL_THREADS = min(32, (os.cpu_count() or 1) + 4) + 4
"""What the service's thread pools may still grow by under load: asyncio's own, two for grammars, two for counts."""

Value = float | int | str


@dataclass(frozen=True, slots=True)
class Row:
    """One measure of the run."""

    measure: str
    value: Value
    bound: str = ""
    """What the value has to be; empty: it is only told."""
    held: bool = True


def rows(result: Result) -> list[Row]:
    """All measures, those of the load first."""
    return [*_calls(result), *_answers(result), *_left_over(result), *_resources(result), *_end(result)]


def _none(measure: str, count: int) -> Row:
    return Row(measure, count, "0", count == 0)


def _some(measure: str, count: int) -> Row:
    return Row(measure, count, ">= 1", count >= 1)


def _calls(result: Result) -> Iterator[Row]:
    tally = result.tally
    yield _some("calls sent", tally.sent)
    yield _none("calls without a terminal status", tally.sent - tally.ended)
    expected = ("OK", "CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")
    for name in expected:
        yield _some(f"calls that ended {name}", tally.by_status[name])
    yield _none("calls that ended otherwise", sum(n for name, n in tally.by_status.items() if name not in expected))
    yield _none("calls with something wrong", tally.unsound)
    yield _none("calls that the log tells otherwise", len(tally.log_problems(result.log)))
    if tally.retry_ms:
        yield Row("longest advised wait, ms", max(tally.retry_ms))


def _answers(result: Result) -> Iterator[Row]:
    book = result.book
    yield _some("greedy answers compared", book.compared)
    yield Row("greedy answers that differ", book.differing)
    yield _none("greedy answers that differ without a tie", book.differing_without_tie)
    status = result.settled.status
    yield _some("tokens generated", status.completion_tokens_total)
    yield _some("prompt tokens read", status.prompt_tokens_total)
    yield _some("prompt tokens from the cache", status.cached_tokens_total)
    yield _some("drafted tokens that were right", status.accepted_tokens_total)


def _left_over(result: Result) -> Iterator[Row]:
    settled, together = result.settled, result.together
    seconds = round(settled.seconds, 2)
    yield Row("seconds until idle", seconds, f"<= {SETTLE_SECONDS:g}", settled.seconds <= SETTLE_SECONDS)
    yield _none("slots used when idle", settled.status.slots_used)
    yield _none("queue length when idle", settled.status.queue_length)
    yield _none("KV cells reserved when idle", settled.status.kv_cells_reserved)
    yield Row("request of the whole context", result.whole_context or "OK", "OK", not result.whole_context)
    slots = result.options.slots
    yield Row("requests run together", together.most_running, f"{slots}", together.most_running == slots)
    cells = together.expected_reserved
    yield Row("KV cells of those", together.most_reserved, f"{cells}", together.most_reserved == cells)
    yield _none("failures of those", len(together.failures))


def _resources(result: Result) -> Iterator[Row]:
    grown = growth(result.samples, run_seconds=result.options.seconds)
    if grown is None:
        yield Row("memory at the end, MiB", "too few samples", "samples", held=False)
    else:
        bound = f"<= {grown.bound_mib:.1f} (+{GROWTH_SHARE:.0%} + {GROWTH_MIB:g})"
        yield Row("memory behind the warm-up, MiB", round(grown.warm_mib, 1))
        yield Row("memory at the end, MiB", round(grown.end_mib, 1), bound, grown.end_mib <= grown.bound_mib)
    for minute in minutes(result.samples):
        yield Row(f"least memory in minute {minute.number}, MiB", round(minute.least_rss_mib, 1))
        yield Row(f"most memory in minute {minute.number}, MiB", round(minute.most_rss_mib, 1))
    before, after = result.before, result.after
    yield Row("open files", after.open_files, f"<= {before.open_files}", after.open_files <= before.open_files)
    threads = before.threads + POOL_THREADS
    bound = f"<= {threads} ({before.threads} + {POOL_THREADS} of pools)"
    yield Row("threads", after.threads, bound, after.threads <= threads)
    yield Row("child processes", after.children, f"<= {before.children}", after.children <= before.children)
    answered = [sample for sample in result.samples if sample.status is not None]
    kept = max((sample.status.prefix_cache_mib for sample in answered if sample.status), default=0)
    yield Row("most memory for kept prompts, MiB", kept)
    yield Row("slowest GetStatus, s", round(max((sample.status_seconds for sample in answered), default=0.0), 3))
    yield _none("statuses that cannot be", len(result.status_problems))


def _end(result: Result) -> Iterator[Row]:
    yield _none("log lines of level error", len(result.log.errors))
    yield _none("log lines that are none", len(result.log.strangers))
    yield Row("warnings in the log", result.log.levels.get("warning", 0))
    yield Row("exit status after SIGTERM", result.exit_status, "0", result.exit_status == 0)


def reasons(result: Result) -> list[str]:
    """What lies behind rows that did not hold: single calls, log lines, statuses."""
    return [
        *result.tally.problems,
        *result.tally.log_problems(result.log)[:20],
        *result.book.examples,
        *result.status_problems[:20],
        *result.together.failures,
        *result.log.errors[:20],
        *result.log.strangers[:20],
    ]


def table(measures: Sequence[Row]) -> str:
    """The rows for a person."""
    width = max(len(row.measure) for row in measures)
    lines = [
        f"{'' if row.held else 'NOT HELD':8}  {row.measure:{width}}  {_shown(row.value):>14}  {row.bound}".rstrip()
        for row in measures
    ]
    return "\n".join(lines)


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def machine() -> str:
    """The processor, its cores and the memory."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"


def commit() -> str:
    """The checkout's commit, with a + where files differ from it; empty outside of one."""
    here = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],  # noqa: S607 - the user's own
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return described.stdout.strip()


def write_json(path: Path, measures: Sequence[Row], *, seconds: float, seed: int) -> None:
    """Write the rows, and what they were measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = {
        "machine": machine(),
        "commit": commit(),
        "minutes": round(seconds / 60, 3),
        "seed": seed,
        "rows": [asdict(row) for row in measures],
    }
    path.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n")
