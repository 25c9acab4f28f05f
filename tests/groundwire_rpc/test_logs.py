"""Logs of a process of its own: structlog is configured once for each."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import structlog
from groundwire_rpc.logs import configure_logs
configure_logs({level!r})
log = structlog.get_logger("x")
def fails(token):
    raise RuntimeError("it broke")
log.debug("quiet")
log.info("hello", n=1, text="한")
try:
    fails("made-up-secret")
except RuntimeError:
    log.exception("unexpected")
"""


def lines(level: str) -> tuple[str, list[dict[str, object]]]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(level=level)], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == ""
    return done.stderr, [json.loads(line) for line in done.stderr.splitlines()]


def test_one_json_object_a_line_on_standard_error() -> None:
    _, (first, second) = lines("info")
    assert (first["event"], first["level"], first["n"], first["text"]) == ("hello", "info", 1, "한")
    assert str(first["timestamp"]).endswith("Z")
    assert (second["event"], second["level"]) == ("unexpected", "error")
    assert "it broke" in json.dumps(second["exception"])


def test_a_traceback_does_not_show_local_variables() -> None:
    text, _ = lines("info")
    assert "made-up-secret" not in text


def test_the_level_is_kept() -> None:
    assert [line["event"] for line in lines("error")[1]] == ["unexpected"]
    assert [line["event"] for line in lines("debug")[1]] == ["quiet", "hello", "unexpected"]
