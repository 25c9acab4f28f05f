"""`python -m benchmarks.engine`: measure the inference service against llama-server on this machine."""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.engine.contests import Bench, Contest
from benchmarks.engine.machine import current_commit, describe_machine
from benchmarks.engine.metrics import SHOWN
from benchmarks.engine.models import MODELS, model_file
from benchmarks.engine.peers import PeerBuildFailed, build_peers
from benchmarks.engine.plot import ratio_plot
from benchmarks.engine.processes import SystemFailed, treat_sigterm_as_ctrl_c
from benchmarks.engine.prompts import GroundedPrompts
from benchmarks.engine.results import Results, ResultsUnusable, open_results
from benchmarks.engine.rounds import expected_seconds, run_contest
from benchmarks.engine.schedule import FULL, QUICK, Entry
from benchmarks.engine.selection import Selection, SelectsNothing
from benchmarks.engine.table import RESULTS_FILE, readme_table
from inference_service.adapters.host import usable_cores

_FOLDER = Path(__file__).parents[1]
_SEED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for. Returns 0, or 1 with a paragraph on standard error where it could not be measured."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except (SelectsNothing, ResultsUnusable, PeerBuildFailed, SystemFailed) as error:
        _report(f"benchmark: {error}")
        return 1
    except KeyboardInterrupt:
        _report("benchmark: interrupted; what was finished before is in the results")
        return 130


def _run(options: argparse.Namespace) -> int:
    machine, commit = describe_machine(), current_commit()
    selection = Selection.parse(works=options.work, models=options.models, only=options.only)
    entries: tuple[Entry, ...] = QUICK if options.quick else FULL
    chosen = [entry for entry in entries if selection.may_want(entry)]
    if not chosen:
        raise SelectsNothing(f"nothing can be measured that is {selection}; there is:\n{_listed(entries)}")
    cache: Path = options.cache_dir.resolve()  # the systems run in folders of their own
    output: Path = options.output or (cache / "quick.json" if options.quick else RESULTS_FILE)
    results = open_results(output, machine, commit)
    rounds: int = options.rounds or (1 if options.quick else 3)

    bench = Bench(
        build_peers(cache / "peers", report=_report),
        functools.partial(model_file, directory=cache / "models", report=_report),
        functools.cache(GroundedPrompts.load),
        options.threads or usable_cores(),
    )
    contests = [contest for entry in chosen if (contest := entry.make(bench).restricted(selection.wants)) is not None]
    if not contests:
        raise SelectsNothing(f"nothing can be measured that is {selection}; there is:\n{_listed(entries)}")
    expected = [expected_seconds(contest, rounds) for contest in contests]
    _report(f"{len(contests)} contests, {rounds} rounds each, {bench.threads} threads, commit {commit}:")
    for contest, seconds in zip(contests, expected, strict=True):
        _report(f"  {contest.name}: about {seconds / 60:.1f} min")
    _report(f"together about {sum(expected) / 60:.0f} min; results go to {output}")

    started = time.monotonic()
    for contest in contests:
        results = _measure(contest, results, rounds=rounds, commit=commit, output=output)
        _report(f"{contest.name}: done, {(time.monotonic() - started) / 60:.1f} min since the start")
    if not options.quick:
        print(readme_table(results))
    return 0


def _measure(contest: Contest, results: Results, *, rounds: int, commit: str, output: Path) -> Results:
    """Run one contest and write what is known by then, so that an interrupted run keeps its finished parts."""
    rows = asyncio.run(run_contest(contest, rounds=rounds, seed=_SEED, commit=commit, report=_report))
    for row in rows:
        if row.ratio is not None and row.metric in SHOWN:
            name = f"{row.work}/{row.model}/{row.streams} {row.metric}"
            _report(f"  {name}: {row.ours:.4g} {row.unit}, {row.ratio:.3f} of {row.peer_name}")
    results = results.with_rows(rows, commit=commit)
    results.save(output)
    output.with_suffix(".svg").write_text(ratio_plot(results))
    return results


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--work", nargs="+", metavar="WORK", help="only these works, such as plain or grounded")
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), metavar="MODEL", help="only these models")
    parser.add_argument(
        "--only", nargs="+", metavar="ROW", help="only these: WORK, WORK/MODEL or WORK/MODEL/STREAMS, as in results"
    )
    parser.add_argument("--rounds", type=_positive, help="rounds of each contest (default 3)")
    parser.add_argument("--threads", type=_positive, help="threads for the model (default: physical cores)")
    parser.add_argument(
        "--cache-dir", type=Path, default=_FOLDER / ".cache", help="where models and peers are made and kept"
    )
    parser.add_argument(
        "--output", type=Path, help="results to write, added to if there (default: benchmarks/results/engine.json)"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run of every work on the built-in model")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _listed(entries: Sequence[Entry]) -> str:
    return "\n".join(
        f"  {work}/{entry.model}{'' if entry.by_default else ' (only where its model is named)'}"
        for entry in entries
        for work in entry.works
    )


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    treat_sigterm_as_ctrl_c()
    sys.exit(main())
