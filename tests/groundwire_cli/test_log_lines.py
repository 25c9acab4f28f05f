from __future__ import annotations

import json

import pytest

from groundwire_cli.log_lines import readable


def test_a_log_line_becomes_readable() -> None:
    entry = {"rpc": "Ask", "code": "OK", "seconds": 0.5, "event": "call", "level": "info"}
    line = json.dumps({**entry, "timestamp": "2025-03-01T12:30:59.123456Z"})
    assert readable(line) == "12:30:59 info call rpc=Ask code=OK seconds=0.5"


@pytest.mark.parametrize("line", ["plain text", "{not json", "[1, 2]", '{"no": "event"}'])
def test_any_other_line_stays(line: str) -> None:
    assert readable(line) == line


def test_indentation_stays() -> None:
    assert readable("    at line 3") == "    at line 3"


def test_nothing_in_it_can_act_on_the_terminal() -> None:
    assert readable(json.dumps({"event": "bad\x1b[2J\nforged", "level": "info"})) == "info bad forged"
    assert readable("\x1b]0;title\x07text") == "text"
