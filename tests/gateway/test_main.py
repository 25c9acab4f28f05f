"""The gateway as a process: what it prints, what it exits with."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.support.processes import clean_environment

ROOT = Path(__file__).resolve().parents[2]


def command(folder: Path, **settings: str) -> dict[str, object]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "protos" / "gen")])
    return {"cwd": folder, "env": clean_environment(PYTHONPATH=path, **settings), "text": True}


def run(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "gateway"]
    return subprocess.run(arguments, capture_output=True, timeout=20, check=False, **command(folder, **settings))


def test_it_says_where_it_serves_and_stops_in_order(tmp_path: Path) -> None:
    settings = command(tmp_path, GROUNDWIRE_GATEWAY_LISTEN="127.0.0.1:0")
    with subprocess.Popen([sys.executable, "-m", "gateway"], stdout=-1, stderr=-1, **settings) as process:
        assert process.stdout.readline().startswith("gateway serving on 127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_bad_setting_is_one_paragraph_that_names_the_variable(tmp_path: Path) -> None:
    ended = run(tmp_path, GROUNDWIRE_GATEWAY_LISTEN="nowhere", GROUNDWIRE_ASK_TIMEOUT_SECONDS="-1")
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "GROUNDWIRE_GATEWAY_LISTEN" in ended.stderr
    assert "GROUNDWIRE_ASK_TIMEOUT_SECONDS" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_address_in_use_is_one_paragraph(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run(tmp_path, GROUNDWIRE_GATEWAY_LISTEN=address)
    assert ended.returncode == 1
    assert f"Cannot listen on {address}" in ended.stderr
    assert "Traceback" not in ended.stderr
