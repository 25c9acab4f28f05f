from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.soak.afterwards import Settled, Together
from benchmarks.soak.probes import ProbeBook, Reference
from benchmarks.soak.report import POOL_THREADS, Row, reasons, rows, table, write_json
from benchmarks.soak.service import LogSummary
from benchmarks.soak.soak import Options, Result
from benchmarks.soak.tally import Tally
from benchmarks.soak.watch import Footprint, Sample
from groundwire.inference.v1 import inference_pb2 as pb

STATUSES = ("OK", "CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")


def sound() -> Result:
    """A run in which everything held."""
    book = ProbeBook([Reference("a", (1,), (3.0,))])
    for _ in range(100):
        book.compare(0, "a", [1], where="")
    tally = Tally(book, seed=1)
    tally.sent = 10 * len(STATUSES)
    tally.by_status.update(dict.fromkeys(STATUSES, 10))
    footprint = Footprint(rss_mib=200.0, threads=10, open_files=20, children=1)
    status = pb.GetStatusResponse(
        prompt_tokens_total=5, completion_tokens_total=5, cached_tokens_total=5, accepted_tokens_total=5
    )
    return Result(
        options=Options(seconds=60.0, seed=1, slots=4),
        tally=tally,
        book=book,
        samples=[Sample(float(second), footprint, status, 0.01) for second in range(61)],
        status_problems=(),
        before=footprint,
        after=footprint,
        settled=Settled(0.5, status),
        whole_context="",
        together=Together(4, 2048, 2048, ()),
        exit_status=0,
        log=LogSummary(),
    )


def unheld(result: Result) -> list[str]:
    return [row.measure for row in rows(result) if not row.held]


def test_a_sound_run_holds() -> None:
    assert unheld(sound()) == []
    assert reasons(sound()) == []


def lost_call(result: Result) -> Result:
    result.tally.sent += 1
    return result


def hung_call(result: Result) -> Result:
    result.tally.by_status["NONE"] += 1
    result.tally.sent += 1
    return result


def unsound_call(result: Result) -> Result:
    result.tally.unsound += 1
    return result


def nobody_refused(result: Result) -> Result:
    result.tally.by_status["RESOURCE_EXHAUSTED"] = 0
    result.tally.by_status["OK"] += 10
    return result


def other_answers(result: Result) -> Result:
    for _ in range(3):
        result.book.compare(0, "b", [2], where="call 5")
    return result


def still_reserved(result: Result) -> Result:
    result.settled.status.kv_cells_reserved = 5
    return replace(result, settled=replace(result.settled, seconds=10.1))


def held_cells(result: Result) -> Result:
    return replace(result, whole_context="DEADLINE_EXCEEDED: late", together=Together(3, 1536, 2048, ("late",)))


def grown(result: Result) -> Result:
    late = replace(result.samples[-1], footprint=replace(result.before, rss_mib=1000.0))
    return replace(result, samples=[*result.samples[:-1], late])


def leaked(result: Result) -> Result:
    return replace(result, after=Footprint(200.0, 11 + POOL_THREADS, 21, 2))


def bad_log(result: Result) -> Result:
    return replace(result, log=LogSummary(errors=("an error",), strangers=("Traceback",)))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lost_call, ["calls without a terminal status"]),
        (hung_call, ["calls without a terminal status", "calls that ended otherwise"]),
        (unsound_call, ["calls with something wrong"]),
        (nobody_refused, ["calls that ended RESOURCE_EXHAUSTED"]),
        (other_answers, ["greedy answers that differ without a tie"]),
        (still_reserved, ["seconds until idle", "KV cells reserved when idle"]),
        (
            held_cells,
            ["request of the whole context", "requests run together", "KV cells of those", "failures of those"],
        ),
        (grown, ["memory at the end, MiB"]),
        (leaked, ["open files", "threads", "child processes"]),
        (bad_log, ["log lines of level error", "log lines that are none"]),
        (lambda result: replace(result, exit_status=-9), ["exit status after SIGTERM"]),
        (lambda result: replace(result, status_problems=("at 3 s: more cells",)), ["statuses that cannot be"]),
        (lambda result: replace(result, samples=()), ["memory at the end, MiB"]),
    ],
)
def test_what_does_not_hold(spoil: Callable[[Result], Result], expected: list[str]) -> None:
    assert unheld(spoil(sound())) == expected


def test_the_reasons_are_told() -> None:
    told = reasons(bad_log(other_answers(held_cells(sound()))))

    assert "late" in told
    assert "an error" in told
    assert "Traceback" in told
    assert any("call 5" in reason for reason in told)


def test_the_table_marks_what_did_not_hold() -> None:
    shown = table([Row("calls", 1234), Row("errors", 2, "0", held=False)]).splitlines()

    assert shown == ["          calls            1,234", "NOT HELD  errors               2  0"]


def test_the_json_has_the_rows_and_where_they_come_from(tmp_path: Path) -> None:
    path = tmp_path / "results" / "soak.json"

    write_json(path, [Row("errors", 2, "0", held=False)], seconds=90.0, seed=5)

    written = json.loads(path.read_text())
    assert list(written) == ["machine", "commit", "minutes", "seed", "rows"]
    assert (written["minutes"], written["seed"]) == (1.5, 5)
    assert "cores" in written["machine"]
    assert written["rows"] == [{"measure": "errors", "value": 2, "bound": "0", "held": False}]
