"""The services' log lines, JSON objects, in a form for reading on a terminal."""

from __future__ import annotations

import json

from groundwire_cli.terminal_text import printable_line


def readable(line: str) -> str:
    """`info call rpc=Ask code=OK …` for a JSON log line; any other line as it is. Always one safe line."""
    if line.startswith("{"):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if isinstance(entry, dict) and "event" in entry:
            return printable_line(_readable_entry(entry))
    return (
        printable_line(line)
        if not line.startswith(" ")
        else " " * (len(line) - len(line.lstrip(" "))) + (printable_line(line))
    )


def _readable_entry(entry: dict[str, object]) -> str:
    level = str(entry.pop("level", ""))
    event = str(entry.pop("event"))
    timestamp = str(entry.pop("timestamp", ""))
    clock = timestamp[11:19] if len(timestamp) >= 19 else ""
    pairs = (f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in entry.items())
    return " ".join(part for part in (clock, level, event, *pairs) if part)
