"""python -m benchmarks.soak: exit status 0 where everything held, 1 where something did not."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

import grpc

from benchmarks.soak.report import reasons, rows, table, write_json
from benchmarks.soak.service import NotStarted
from benchmarks.soak.soak import Options, ServiceDied, soak


def main(arguments: list[str] | None = None) -> int:
    """Run a soak as the arguments say."""
    parsed = _parser().parse_args(arguments)
    seed = secrets.randbelow(10**6) if parsed.seed is None else parsed.seed
    options = Options(
        seconds=parsed.minutes * 60,
        seed=seed,
        model=parsed.model,
        slots=parsed.slots,
        context=parsed.context,
        prefix_cache_mib=parsed.prefix_cache_mib,
        threads=parsed.threads,
        patience_seconds=parsed.patience,
    )
    folder = Path(tempfile.mkdtemp(prefix="groundwire-soak-"))
    try:
        result = asyncio.run(soak(options, folder, report=lambda line: print(line, flush=True)))
    except KeyboardInterrupt:
        return 130
    except (NotStarted, ServiceDied, grpc.aio.AioRpcError) as error:
        print(f"soak: {error}\nThe log: {folder / 'inference.log'}", file=sys.stderr)
        return 1
    measures = rows(result)
    write_json(parsed.output, measures, seconds=options.seconds, seed=seed)
    print(f"\n{table(measures)}\n\nwritten to {parsed.output}")
    if all(row.held for row in measures):
        shutil.rmtree(folder)
        return 0
    print(f"soak: did not hold (seed {seed}, log {folder / 'inference.log'}):", file=sys.stderr)
    for row in measures:
        if not row.held:
            print(f"  {row.measure}: {row.value}, not {row.bound}", file=sys.stderr)
    for reason in reasons(result):
        print(f"  {reason}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of load (default: 10)")
    parser.add_argument("--seed", type=int, help="of the calls (default: a random one, which is printed)")
    parser.add_argument("--model", default="builtin", help="a GGUF file or a name in the manifest (default: builtin)")
    parser.add_argument("--slots", type=int, default=8, help="of the service; its queue is twice that (default: 8)")
    parser.add_argument("--context", type=int, default=2048, help="KV cells in tokens (default: 2048)")
    parser.add_argument("--prefix-cache-mib", type=int, default=64, help="for kept prompts (default: 64)")
    threads = max(1, (os.cpu_count() or 2) - 1)
    parser.add_argument("--threads", type=int, default=threads, help=f"for the model (default: {threads}, all but one)")
    parser.add_argument("--patience", type=float, default=120.0, help="longest deadline in seconds (default: 120)")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/soak.json"), help="where the JSON goes")
    return parser


if __name__ == "__main__":
    sys.exit(main())
