"""`groundwire eval`: how good a model's answers are, as numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from groundwire_cli.config import channel_security, target_or_default
from groundwire_cli.errors import BadUsage, CommandError
from groundwire_cli.evaluation_client import Asking, ask_items
from groundwire_cli.exit_codes import ExitCode
from groundwire_cli.interrupts import run_interruptible
from groundwire_cli.nli_judge import choose_judge
from groundwire_cli.services import GATEWAY
from groundwire_cli.terminal import error_console, output_console, write_output
from groundwire_cli.terminal_text import printable_line
from groundwire_eval.items import BadItems, Item, load_items
from groundwire_eval.judge import Judge
from groundwire_eval.measures import Result
from groundwire_eval.report import Report, make_report, report_lines

_LINES_BETWEEN = 10
"""Answers from one line of progress to the next, where there is no terminal to draw a bar on."""


def evaluate(
    files: Sequence[Path],
    *,
    target: str | None,
    max_tokens: int,
    timeout_seconds: float,
    concurrency: int,
    answers_file: Path | None,
    nli_model: Path | None,
    as_json: bool,
) -> ExitCode:
    """Ask all items and print the report. FAILED where an item got no answer. Raises CommandError."""
    try:
        items = load_items(files)
    except BadItems as error:
        raise BadUsage(str(error)) from None
    judge = choose_judge(nli_model)
    if answers_file is not None:
        write_answers(answers_file, ())  # better to know now that it cannot be written than when all are answered
    asking = Asking(
        target_or_default(target, GATEWAY), max_tokens, timeout_seconds, concurrency, channel_security(GATEWAY)
    )
    report, results = run_interruptible(ask_and_measure(items, asking, judge))
    if answers_file is not None:
        write_answers(answers_file, results)
    if as_json:
        write_output(json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n")
    else:
        for line in report_lines(report):
            output_console().print(printable_line(line) if line else line)
    for fault in report.faults:
        error_console().print(printable_line(f"no answer to {fault}"))
    return ExitCode.FAILED if report.faults else ExitCode.OK


async def ask_and_measure(items: Sequence[Item], asking: Asking, judge: Judge) -> tuple[Report, list[Result]]:
    """Ask them with progress on standard error."""
    with _Progress(len(items)) as progress:
        model, results = await ask_items(items, asking, on_answer=progress.advance)
    return make_report(model, results, judge), results


def write_answers(path: Path, results: Sequence[Result]) -> None:
    """Write what was answered to each item, one JSON object a line. Raises CommandError."""
    lines = [
        json.dumps(
            {
                "id": result.item.id,
                "outcome": result.answer.outcome,
                "question": result.item.question,
                "answer": result.answer.text,
                "expected": [evidence.sentence for evidence in result.item.evidence],
                "cited": [citation.source for citation in result.answer.citations],
                "fault": result.answer.fault,
            },
            ensure_ascii=False,
        )
        for result in results
    ]
    try:
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise CommandError(f"The answers cannot be written to {path}: {error.strerror}.") from None


class _Progress:
    """A bar on a terminal, else a line now and then."""

    def __init__(self, total: int) -> None:
        self._console = error_console()
        self._total = total
        self._done = 0
        self._stack = ExitStack()
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = self._stack.enter_context(Progress(*columns, console=self._console, transient=True))
            self._bar.add_task("", total=self._total)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def advance(self, _: Result) -> None:
        """Another one is answered."""
        self._done += 1
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])
        elif self._done % _LINES_BETWEEN == 0 or self._done == self._total:
            self._console.print(f"{self._done} of {self._total} answered")
