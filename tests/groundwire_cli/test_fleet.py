from __future__ import annotations

import socket
import tomllib
from pathlib import Path

import pytest

from groundwire_cli.config import CliConfig
from groundwire_cli.demo import PULLED_MODEL, demo_plan, introduction
from groundwire_cli.errors import CommandError
from groundwire_cli.fleet import refuse_taken_ports
from groundwire_cli.up import plan_of


def test_taken_ports_are_all_named_with_the_setting_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        taken = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, two)]
        with pytest.raises(CommandError) as refusal:
            refuse_taken_ports({"gateway": taken[0], "search": taken[1], "inference": "127.0.0.1:0"})
    assert f"{taken[0]} (gateway): set GROUNDWIRE_GATEWAY_LISTEN" in refusal.value.message
    assert f"{taken[1]} (search): set GROUNDWIRE_SEARCH_LISTEN" in refusal.value.message
    assert "INFERENCE" not in refusal.value.message


def test_free_ports_are_fine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as once:
        address = f"127.0.0.1:{once.getsockname()[1]}"
    refuse_taken_ports({"gateway": address})


def test_up_keeps_a_target_that_the_operator_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDWIRE_INFERENCE_TARGET", "gpu.example.org:50053")
    monkeypatch.setenv("GROUNDWIRE_SEARCH_LISTEN", "127.0.0.1:6000")
    plan = plan_of(CliConfig())
    assert plan.keep_targets == {"inference"}
    assert plan.listen["search"] == "127.0.0.1:6000"


def test_the_demo_runs_on_what_is_built_in(tmp_path: Path) -> None:
    plan = demo_plan(CliConfig(), tmp_path)
    assert set(plan.listen.values()) == {"127.0.0.1:0"}
    assert plan.settings == {"GROUNDWIRE_MODEL": "builtin", "GROUNDWIRE_INDEX_PATH": str(tmp_path / "index.sqlite3")}
    [line] = introduction(CliConfig())
    assert "the built-in model" in line.plain
    assert "this project's own documents" in line.plain
    assert f"GROUNDWIRE_MODEL={PULLED_MODEL}" in line.plain
    assert "BRAVE_API_KEY" in line.plain


def test_the_model_that_the_demo_recommends_can_be_pulled() -> None:
    manifest = Path(__file__).resolve().parents[2] / "models" / "manifest.toml"
    assert "repo" in tomllib.loads(manifest.read_text())["models"][PULLED_MODEL]


def test_the_demo_runs_on_what_was_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDWIRE_MODEL", "big")
    monkeypatch.setenv("BRAVE_API_KEY", "made-up-token")
    monkeypatch.setenv("GROUNDWIRE_INDEX_PATH", "mine.sqlite3")
    assert demo_plan(CliConfig(), tmp_path).settings == {}
    [line] = introduction(CliConfig())
    assert line.plain == "Running on big and Brave Search."
    assert "made-up-token" not in repr(CliConfig())
