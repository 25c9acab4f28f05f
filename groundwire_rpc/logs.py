"""Structured logs on standard error: one JSON object a line, or coloured lines on a terminal.

Each line of a call bears what `serving_call` bound: its request id, its trace id, its caller's label.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import textwrap
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer

_DELETE: Final = "\x7f"
"""The one control character that JSON lets through unescaped."""


def configure_logs(level: str = "info") -> None:
    """Set up structlog for this process, and have libraries log through it. Call once, before anything logs."""
    console = sys.stderr.isatty()
    # Both renderers show the local variables of every frame unless told not to: tokens and questions among them.
    renderers: list[structlog.typing.Processor] = (
        [_escape_controls, structlog.dev.ConsoleRenderer(exception_formatter=_escaped_traceback)]
        if console
        else [
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(_json_line, ensure_ascii=True),
        ]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.root.handlers[:] = [_Handler()]
    logging.root.setLevel(logging.WARNING)


class _Handler(logging.Handler):
    """Hands what libraries log to structlog, so that their lines are like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            told = {"exc_info": record.exc_info} if record.exc_info else {}
            structlog.get_logger(record.name).log(record.levelno, record.getMessage(), logger=record.name, **told)
        except Exception:  # noqa: BLE001 - as logging has it: a bad line of a library's must not end what it tells of
            self.handleError(record)


def escaped(text: str, *, keep: str = "") -> str:
    """The text with everything that is not printable as an escape such as \\x1b, but for the characters of `keep`."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in keep else ascii(each)[1:-1] for each in text)


def _json_line(event: Any, **options: Any) -> str:
    return json.dumps(event, **options).replace(_DELETE, "\\u007f")


def _escape_controls(
    logger: object,  # noqa: ARG001 - a processor gets it
    method: str,  # noqa: ARG001
    event: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = escaped(value)
    return event


def _escaped_traceback(output: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    # Indented, so that no line of an error's message can pose as one of the log.
    output.write(textwrap.indent(escaped(text.getvalue(), keep="\n"), "    "))
