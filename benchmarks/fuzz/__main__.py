"""python -m benchmarks.fuzz: exit status 0 where no input did harm, 1 where one did."""

from __future__ import annotations

import argparse
import random
import secrets
import sys
import time
from pathlib import Path

from benchmarks.faults.rows import RESULTS, table, write
from benchmarks.fuzz.fuzz import fuzz, rows
from benchmarks.fuzz.readers import readers

_MODEL = Path("models/builtin/groundwire-builtin.gguf")


def main(arguments: list[str] | None = None) -> int:
    """Fuzz as the arguments say."""
    parsed = _parser().parse_args(arguments)
    if parsed.replay is not None:
        return _replay(parsed.target, parsed.replay)
    seed = secrets.randbelow(10**6) if parsed.seed is None else parsed.seed
    tally = fuzz(parsed.folder, _MODEL, inputs=parsed.inputs, seconds=parsed.seconds, seed=seed)
    measures = rows(tally, parsed.inputs if parsed.output is not None else 0)
    took = time.monotonic() - tally.began
    print(table(measures))
    for (target, outcome), count in sorted(tally.outcomes.items()):
        print(f"  {target}: {outcome} {count:,}")
    print(f"{tally.total:,} inputs in {took:,.0f} s (seed {seed})")
    if parsed.output is not None:
        write(parsed.output, measures)
    for told in tally.told:
        print(told, file=sys.stderr)
    return 0 if all(row.held for row in measures) else 1


def _replay(target: str, path: Path) -> int:
    (reader,) = (reader for reader in readers() if reader.name == target)
    print(reader.attempt(path.read_bytes(), random.Random(0)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="to try at most (default: 1,000,000)")
    parser.add_argument("--seconds", type=float, default=600.0, help="to try for at most (default: 600)")
    parser.add_argument("--seed", type=int, help="of the mutations (default: another each time)")
    parser.add_argument("--folder", type=Path, default=Path(".groundwire/fuzz"), help="for inputs that did harm")
    parser.add_argument("--output", type=Path, nargs="?", const=RESULTS, help="write the measures to this file")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="try this input of --target again")
    parser.add_argument("--target", default="citations", help="whose input --replay is")
    return parser


if __name__ == "__main__":
    sys.exit(main())
