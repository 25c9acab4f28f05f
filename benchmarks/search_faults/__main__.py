"""python -m benchmarks.search_faults: exit status 0 where everything held, 1 where something did not."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import structlog

from benchmarks.faults.rows import RESULTS, Row, at_least, at_most, exactly, table, write
from benchmarks.search_faults.brave import EXPECTED, MAX_LATE_SECONDS, MAX_MEMORY_BYTES, one_fault, storm
from benchmarks.search_faults.full_disk import (
    FullDiskTally,
    NotPermitted,
    fill_disk_while_indexing,
    reach_the_largest_file_while_indexing,
)
from benchmarks.search_faults.kills import kill_while_indexing

INDEX = "index"
BRAVE = "brave"


def main(arguments: list[str] | None = None) -> int:
    """Do the damage as the arguments say."""
    parsed = _parser().parse_args(arguments)
    seed = secrets.randbelow(10**6) if parsed.seed is None else parsed.seed
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with tempfile.TemporaryDirectory(prefix="groundwire-search-faults-") as scratch:
        folder = Path(scratch)
        rows = [*_index(folder, parsed.kills, parsed.disks, seed), *asyncio.run(_brave(folder))]
    print(f"{table(rows)}\n(seed {seed})")
    if parsed.output is not None:
        write(parsed.output, rows)
    return 0 if all(row.held for row in rows) else 1


def _index(folder: Path, kills: int, disks: int, seed: int) -> Iterator[Row]:
    killed = kill_while_indexing(folder / "killed", kills, seed)
    yield at_least(INDEX, "kill -9 while writing", killed.kills, kills)
    yield exactly(INDEX, "documents lost by kills", killed.lost, 0)
    yield exactly(INDEX, "corrupt after a kill", killed.corrupt, 0)
    yield exactly(INDEX, "documents not found in the end", killed.not_found, 0)
    yield Row(INDEX, "documents in the end", killed.documents)
    try:
        yield from _full("disk full", fill_disk_while_indexing(folder / "disks", disks, seed))
    except NotPermitted as error:
        print(f"search-faults: disk full was SKIPPED. {error}", file=sys.stderr)
    yield from _full("file size limit", reach_the_largest_file_while_indexing(folder / "limits", disks, seed))


def _full(what: str, tally: FullDiskTally) -> Iterator[Row]:
    yield Row(INDEX, f"{what}: rounds", tally.rounds)
    yield exactly(INDEX, f"{what}: documents lost", tally.lost, 0)
    yield exactly(INDEX, f"{what}: corrupt", tally.corrupt, 0)
    yield exactly(INDEX, f"{what}: not searchable", tally.unreadable, 0)
    yield exactly(INDEX, f"{what}: ended without a typed message", tally.untyped, 0)


async def _brave(folder: Path) -> list[Row]:
    outcomes = {fault: await one_fault(fault, folder) for fault in EXPECTED}
    problems = [f"{fault}: {problem}" for fault, it in outcomes.items() if (problem := it.problem(EXPECTED[fault]))]
    for problem in problems:
        print(f"search-faults: {problem}", file=sys.stderr)
    latest = round(max(it.late_seconds for it in outcomes.values()), 2)
    stormed = await storm(folder, callers=100, seconds=20.0)
    return [
        Row(BRAVE, "kinds of misbehaviour", len(outcomes)),
        exactly(BRAVE, "not as it must be", len(problems), 0),
        at_most(BRAVE, "latest beyond its deadline, s", latest, MAX_LATE_SECONDS),
        at_most(BRAVE, "most memory taken, bytes", max(it.memory_bytes for it in outcomes.values()), MAX_MEMORY_BYTES),
        at_most(BRAVE, "429 storm of 100 callers: calls to Brave", stormed.calls, stormed.permitted),
        exactly(BRAVE, "429 storm: ended untyped", stormed.untyped, 0),
        exactly(BRAVE, "429 storm: ended late", stormed.late, 0),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of an indexing process (default: 200)")
    parser.add_argument("--disks", type=int, default=20, help="that fill up (default: 20)")
    parser.add_argument("--seed", type=int, help="of the moments (default: another each time)")
    parser.add_argument("--output", type=Path, nargs="?", const=RESULTS, help="write the measures to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
