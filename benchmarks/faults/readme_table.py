"""The part of the measures that the README shows. `python -m benchmarks.faults.readme_table` prints it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.faults.rows import RESULTS

SHOWN: Final = (
    ("overload", "goodput, share of that at capacity"),
    ("overload", "refusal, p99 ms"),
    ("overload", "health, p99 ms"),
    ("cancelled streams", "slots left"),
    ("cancelled streams", "KV cells left"),
    ("killed inference", "slowest caller to be told, s"),
    ("killed search", "slowest caller to be told, s"),
    ("killed gateway", "slowest caller to be told, s"),
    ("slow reader", "others' throughput, share"),
    ("index", "kill -9 while writing"),
    ("index", "documents lost by kills"),
    ("index", "disk full: documents lost"),
    ("brave", "not as it must be"),
    ("fuzz", "inputs"),
    ("fuzz", "crashes"),
)
"""Beginnings of tests' names, and their measures."""


def readme_table(path: Path = RESULTS) -> str:
    """A line for each of SHOWN that was measured."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    lines = [
        f"| {row['test']}: {row['measure']} | {_shown(row)} | {row['bound'].replace('1e+06', '1,000,000')} |"
        for test, measure in SHOWN
        for row in rows
        if row["test"].startswith(test) and row["measure"] == measure
    ]
    return "\n".join(("| | measured | bound |", "|---|---:|---:|", *lines))


def _shown(row: Mapping[str, Any]) -> str:
    value = row["value"] if isinstance(row["value"], str) else f"{row['value']:,}"
    return value if row["held"] else f"**{value}**"


if __name__ == "__main__":
    print(readme_table())
