"""How tuning is shown while it lasts: a bar on a terminal, else a line for each setting."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from groundwire_cli.rpc_errors import duration_in_words
from groundwire_cli.terminal import error_console
from inference_service.core.tuning import Combination, Rates


class TuneProgress:
    """Shows on standard error what is being measured. Use it as a context manager."""

    def __init__(self, *, console: Console | None = None) -> None:
        self._console = console or error_console()
        self._stack = ExitStack()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bar = self._stack.enter_context(Progress(*columns, console=self._console, transient=True))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, model: str, measurements: int, seconds: float) -> None:
        """Say how much there is to do at most."""
        self._console.print(
            f"Tuning {model}: at most {measurements} measurements, about {duration_in_words(seconds)} on an idle host."
        )
        if self._bar is not None:
            self._task = self._bar.add_task("", total=measurements)

    def begin(self, title: str) -> None:
        """Say what is measured next."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=title)
        else:
            self._console.print(f"measuring {title}")

    def counting(self, measure: Callable[[Combination], Rates]) -> Callable[[Combination], Rates]:
        """The same function, and each call of it moves the bar."""

        def counted(combination: Combination) -> Rates:
            try:
                return measure(combination)
            finally:
                if self._bar is not None and self._task is not None:
                    self._bar.advance(self._task)

        return counted
