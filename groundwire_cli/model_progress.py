"""How a download is shown: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from groundwire_cli.terminal import error_console

LINE_SECONDS: Final = 5.0
"""Between two lines where there is no terminal."""


class ModelProgress:
    """Shows the stages of a pull on standard error. Use it as a context manager."""

    def __init__(self, *, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or error_console()
        self._clock = clock
        self._stack = ExitStack()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._what = ""
        self._total_bytes = 0
        self._last_line = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
            )
            self._bar = self._stack.enter_context(Progress(*columns, console=self._console, transient=True))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stage(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Begin a stage."""
        self._what, self._total_bytes = what, total_bytes
        if self._bar is None:
            self._line(done_bytes)
            return
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(what, total=total_bytes, completed=done_bytes)

    def advance(self, done_bytes: int) -> None:
        """Show how far the stage is."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done_bytes)
        elif self._clock() - self._last_line >= LINE_SECONDS:
            self._line(done_bytes)

    def note(self, text: str) -> None:
        """Print a remark above the bar."""
        self._console.print(text)

    def _line(self, done_bytes: int) -> None:
        self._last_line = self._clock()
        share = f"{done_bytes / self._total_bytes:.0%}" if self._total_bytes else "100%"
        self._console.print(f"{self._what}: {megabytes(done_bytes)} of {megabytes(self._total_bytes)} ({share})")


def megabytes(size_bytes: int) -> str:
    """A file's size for a person, in decimal units as disks are sold."""
    return f"{size_bytes / 1e9:.2f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"
