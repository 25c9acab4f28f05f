"""Logs of a process of its own: structlog is configured once for each."""

from __future__ import annotations

import contextlib
import json
import os
import pty
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


HOSTILE = """
import logging, sys
import structlog
from groundwire_rpc.logs import configure_logs
configure_logs("info")
text = "a\\x1b[31mred\\x7f\\r\\nforged \\u202e end"
structlog.get_logger("x").info("hello", text=text)
logging.getLogger("some.library").warning("said %s", text)
logging.getLogger("some.library").info("too quiet")
try:
    raise RuntimeError(text)
except RuntimeError:
    structlog.get_logger("x").exception("failed")
"""


def run_hostile(stderr: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", HOSTILE], stderr=stderr, text=True)


def test_control_characters_are_escaped_and_a_line_stays_one() -> None:
    process = run_hostile(subprocess.PIPE)
    _, text = process.communicate(timeout=30)
    written = text.splitlines()
    assert len(written) == 3
    assert all(line.isprintable() for line in written)
    told, library, failed = (json.loads(line) for line in written)
    assert told["text"] == "a\x1b[31mred\x7f\r\nforged \u202e end"
    assert (library["level"], library["logger"]) == ("warning", "some.library")
    assert library["event"].startswith("said a\x1b[31m")
    assert "forged" in json.dumps(failed["exception"])


def test_on_a_terminal_no_control_character_of_a_value_gets_through() -> None:
    ours, theirs = pty.openpty()
    process = run_hostile(theirs)
    os.close(theirs)
    received = b""
    with contextlib.suppress(OSError):  # EIO: the other side is closed
        while piece := os.read(ours, 65_536):
            received += piece
    os.close(ours)
    process.wait(30)
    text = received.decode()
    assert "\x1b[31mred" not in text  # the colours that are there are structlog's own
    assert "\\x1b[31mred" in text
    assert "\x7f" not in text
    assert "\u202e" not in text
    assert not [line for line in text.splitlines() if line.startswith("forged")]
    assert "RuntimeError" in text
