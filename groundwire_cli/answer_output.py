"""An answer's events on standard output: for a person as they come, or as JSON lines."""

from __future__ import annotations

from rich.text import Text

from groundwire.gateway.v1 import gateway_pb2
from groundwire_cli import answer_text
from groundwire_cli.proto_json import json_line
from groundwire_cli.terminal import ProgressLine, output_console, write_output
from groundwire_cli.terminal_text import TextCleaner


class AnswerLines:
    """One event a line in proto JSON. The line's one key names the event."""

    def event(self, event: gateway_pb2.AskResponse) -> None:
        """Print it at once."""
        write_output(json_line(event))

    def close(self) -> None:
        """Nothing is held back."""


class AnswerPrinter:
    """Sources, the answer's text as it arrives, then citations, what to think of it, and timings."""

    def __init__(self) -> None:
        self._console = output_console()
        self._progress = ProgressLine()
        self._cleaner = TextCleaner()
        self._sources: dict[int, gateway_pb2.Source] = {}
        self._citations: list[gateway_pb2.Citation] = []
        self._line_is_open = False
        self._text_began = False

    def event(self, event: gateway_pb2.AskResponse) -> None:
        """Print what the event says."""
        match event.WhichOneof("event"):
            case "progress":
                self._progress.show(answer_text.progress(event.progress))
            case "sources":
                self._progress.hide()
                self._sources = {source.index: source for source in event.sources.sources}
                self._print(answer_text.sources(event.sources, terminal=self._console.is_terminal))
            case "context":
                self._progress.hide()
                self._print(answer_text.context(event.context))
            case "delta":
                self._progress.hide()
                self._print_text(self._cleaner.feed(event.delta.text))
            case "citation":
                self._citations.append(event.citation)
            case "finished":
                self._finish(event.finished)

    def close(self) -> None:
        """Take the progress away and end a line that was begun."""
        self._progress.hide()
        self._end_text()

    def _print(self, lines: list[Text]) -> None:
        for line in lines:
            self._console.print(line)

    def _print_text(self, text: str) -> None:
        if not self._text_began:
            text = text.lstrip()
            if not text:
                return
            self._text_began = True
            text = "\n" + text
        # Written as it comes: a live display would flicker and break texts longer than the screen.
        write_output(text)
        if text:
            self._line_is_open = not text.endswith("\n")

    def _end_text(self) -> None:
        rest = self._cleaner.flush()
        if rest:
            self._print_text(rest)
        if self._line_is_open:
            write_output("\n")
            self._line_is_open = False

    def _finish(self, finished: gateway_pb2.Finished) -> None:
        self._progress.hide()
        self._end_text()
        self._print(answer_text.citations(self._citations, self._sources, terminal=self._console.is_terminal))
        self._print(answer_text.verdict(finished))
        self._print(answer_text.timings(finished))
