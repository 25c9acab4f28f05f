"""python -m benchmarks.faults: exit status 0 where everything held, 1 where something did not."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc

from benchmarks.faults.drills import DRILLS, Sizes, run
from benchmarks.faults.rows import RESULTS, Row, table, write
from benchmarks.soak.service import NotStarted
from groundwire_cli.errors import CommandError

SHORT = Sizes(overload_seconds=10, peak_seconds=8, cancels=200, kills=3, reader_seconds=24)


def main(arguments: list[str] | None = None) -> int:
    """Run the drills as the arguments say. Each one's rows are written when it is done."""
    parsed = _parser().parse_args(arguments)
    sizes = _sizes(parsed)
    rows: list[Row] = []
    try:
        for name in parsed.only or DRILLS:
            print(f"\n{name} …", flush=True)
            measured: Sequence[Row] = asyncio.run(run(name, sizes))
            write(parsed.output, measured)
            print(table(measured), flush=True)
            rows += measured
    except KeyboardInterrupt:
        return 130
    except (NotStarted, CommandError, TimeoutError, grpc.aio.AioRpcError) as error:
        print(f"faults: {error}", file=sys.stderr)
        return 1
    print(f"\nwritten to {parsed.output}")
    failed = [row for row in rows if not row.held]
    for row in failed:
        print(f"faults: {row.test}: {row.measure}: {row.value}, not {row.bound}", file=sys.stderr)
    return 1 if failed else 0


def _sizes(parsed: argparse.Namespace) -> Sizes:
    base = SHORT if parsed.short else Sizes()
    return Sizes(
        overload_seconds=parsed.overload_seconds or base.overload_seconds,
        peak_seconds=base.peak_seconds,
        overload_factor=parsed.overload_factor or base.overload_factor,
        cancels=parsed.cancels or base.cancels,
        kills=parsed.kills or base.kills,
        readers=parsed.readers or base.readers,
        reader_seconds=parsed.reader_seconds or base.reader_seconds,
        threads=parsed.threads,
        seed=parsed.seed,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(DRILLS), help="one drill; may be given more than once")
    parser.add_argument("--short", action="store_true", help="smaller sizes, to see that the drills work")
    parser.add_argument("--overload-seconds", type=float, help=f"of overload (default: {Sizes().overload_seconds:g})")
    parser.add_argument("--overload-factor", type=float, help=f"of the capacity ({Sizes().overload_factor:g})")
    parser.add_argument("--cancels", type=int, help=f"streams to cancel (default: {Sizes().cancels})")
    parser.add_argument("--kills", type=int, help=f"of each service (default: {Sizes().kills})")
    parser.add_argument("--readers", type=int, help=f"one of them slow (default: {Sizes().readers})")
    parser.add_argument("--reader-seconds", type=float, help=f"with them (default: {Sizes().reader_seconds:g})")
    parser.add_argument("--threads", type=int, default=1, help="for the model (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="of what is random (default: 1)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the JSON to write the rows into")
    return parser


if __name__ == "__main__":
    sys.exit(main())
