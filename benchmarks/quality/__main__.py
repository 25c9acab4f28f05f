"""python -m benchmarks.quality: all three services on a model, asked the pinned sets; results go to a JSON file."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path

from groundwire_cli.config import load_config
from groundwire_cli.demo import LogFile
from groundwire_cli.errors import CommandError
from groundwire_cli.evaluate import ask_and_measure, write_answers
from groundwire_cli.evaluation_client import Asking
from groundwire_cli.fleet import Fleet, FleetPlan
from groundwire_cli.nli_judge import choose_judge
from groundwire_cli.restarts import RestartPolicy
from groundwire_cli.services import SERVICES
from groundwire_eval.items import BadItems, Item, load_items
from groundwire_eval.judge import Judge
from groundwire_eval.measures import Result
from groundwire_eval.report import Report, report_lines

SETS = Path(__file__).parent / "sets"
_RESULTS = Path(__file__).parents[1] / "results" / "quality.json"

_MAX_TOKENS = 256
_CONCURRENCY = 2


def main(arguments: list[str] | None = None) -> int:
    """Measure as the arguments say. 0: every item got an answer."""
    parsed = _parser().parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="groundwire-quality-"))
    log = folder / "services.log"
    try:
        items = load_items(parsed.files or sorted(SETS.glob("*.jsonl")))
        if parsed.answers is not None:
            write_answers(parsed.answers, ())  # better to know now that it cannot be written
        report, results = asyncio.run(
            _measure(items, choose_judge(parsed.nli_model), parsed.model, parsed.timeout, log)
        )
        if parsed.answers is not None:
            write_answers(parsed.answers, results)
    except KeyboardInterrupt:
        return 130
    except (BadItems, CommandError) as error:
        print(f"quality: {error}\nThe services' log, if they were started: {log}", file=sys.stderr)
        return 1
    parsed.output.parent.mkdir(parents=True, exist_ok=True)
    parsed.output.write_text(json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print("\n".join(report_lines(report)), f"\nwritten to {parsed.output}", sep="\n")
    if report.faults:
        print(*(f"no answer to {fault}" for fault in report.faults), f"The log: {log}", sep="\n", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


async def _measure(
    items: list[Item], judge: Judge, model: str, timeout_seconds: float, log: Path
) -> tuple[Report, list[Result]]:
    plan = FleetPlan(
        listen=dict.fromkeys(SERVICES, "127.0.0.1:0"),
        settings={
            "GROUNDWIRE_MODEL": model,
            "GROUNDWIRE_SEARCH_PROVIDER": "local",
            "GROUNDWIRE_INDEX_PATH": str(log.parent / "index.sqlite3"),
        },
    )
    with log.open("w", encoding="utf-8") as file:
        async with Fleet(
            plan, LogFile(file), RestartPolicy(quick_deaths=1), grace_seconds=load_config().stop_seconds
        ) as fleet:
            target = await fleet.start()
            asking = Asking(target, _MAX_TOKENS, timeout_seconds, _CONCURRENCY)
            return await ask_and_measure(items, asking, judge)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="items (default: all pinned sets)")
    parser.add_argument("--model", default="builtin", help="a name in models/manifest.toml or a GGUF file")
    parser.add_argument("--nli-model", type=Path, metavar="FOLDER", help="judge citations by this NLI model in ONNX")
    parser.add_argument("--output", type=Path, default=_RESULTS, help="results to write (default: %(default)s)")
    parser.add_argument("--answers", type=Path, metavar="FILE", help="also write every answer there, as JSON Lines")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="of an answer")
    return parser


if __name__ == "__main__":
    sys.exit(main())
