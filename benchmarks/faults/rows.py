"""Measures that held or did not, as a table and in one file that several drills write to."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.soak.report import Value, commit, machine

RESULTS = Path("benchmarks/results/faults.json")


@dataclass(frozen=True, slots=True)
class Row:
    """One measure of one drill."""

    test: str
    measure: str
    value: Value
    bound: str = ""
    """What the value has to be; empty: it is only told."""
    held: bool = True


def at_most(test: str, measure: str, value: float, most: float) -> Row:
    """A measure that must not be more."""
    return Row(test, measure, value, f"<= {most:g}", value <= most)


def at_least(test: str, measure: str, value: float, least: float) -> Row:
    """A measure that must not be less."""
    return Row(test, measure, value, f">= {least:g}", value >= least)


def exactly(test: str, measure: str, value: float, wanted: float) -> Row:
    """A measure that can only be right or wrong."""
    return Row(test, measure, value, f"{wanted:g}", value == wanted)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so great a share of all values does not exceed: p99 for 0.99. 0 where there are none."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def table(rows: Sequence[Row]) -> str:
    """The rows for a person."""
    measures = [f"{row.test}: {row.measure}" for row in rows]
    width = max(map(len, measures), default=0)
    return "\n".join(
        f"{'' if row.held else 'NOT HELD':8}  {measure:{width}}  {_shown(row.value):>12}  {row.bound}".rstrip()
        for measure, row in zip(measures, rows, strict=True)
    )


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def write(path: Path, rows: Sequence[Row]) -> None:
    """Put the rows into the file. Rows of other tests that are in it already stay."""
    kept: list[object] = []
    if path.exists():
        tests = {row.test for row in rows}
        kept = [row for row in json.loads(path.read_text(encoding="utf-8"))["rows"] if row["test"] not in tests]
    path.parent.mkdir(parents=True, exist_ok=True)
    written = {"machine": machine(), "commit": commit(), "rows": [*kept, *map(asdict, rows)]}
    path.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
