from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import groundwire
from tests.support.processes import clean_environment


async def test_version(tmp_path: Path) -> None:
    ran = await groundwire("--version", folder=tmp_path)
    assert ran.code == 0
    assert ran.stdout.startswith("groundwire ")


async def test_help_names_every_command(tmp_path: Path) -> None:
    ran = await groundwire("--help", folder=tmp_path)
    assert ran.code == 0
    for command in ("ask", "search", "up", "serve", "status", "top", "demo", "index", "model"):
        assert f" {command} " in ran.stdout


@pytest.mark.parametrize("command", ["ask", "search", "up", "serve", "status", "top", "demo"])
async def test_every_command_has_help(tmp_path: Path, command: str) -> None:
    ran = await groundwire(command, "--help", folder=tmp_path, COLUMNS="200")
    assert ran.code == 0
    assert f"groundwire {command}" in ran.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["index", "--help"], ["ask", "--help"]])
def test_help_imports_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    # typer itself imports pydantic.
    heavy = ["grpc", "google.protobuf", "pydantic_settings", "llama_cpp", "transformers", "numpy"]
    if arguments[0] == "index":  # what its commands are needs its module, but no service's transport or model
        heavy = ["grpc", "llama_cpp", "transformers", "numpy"]
    program = (
        "import sys\n"
        "from groundwire_cli.main import app\n"
        f"sys.argv = ['groundwire', *{arguments!r}]\n"
        "try:\n    app()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"loaded = [name for name in {heavy!r} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


async def test_an_unknown_service_is_refused(tmp_path: Path) -> None:
    ran = await groundwire("serve", "nonsense", folder=tmp_path)
    assert ran.code == 2
