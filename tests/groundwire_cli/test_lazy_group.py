from __future__ import annotations

import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from groundwire_cli.errors import CommandError
from groundwire_cli.lazy_group import lazy_group


def mounted(module: str) -> typer.Typer:
    app = typer.Typer()
    app.add_typer(typer.Typer(cls=lazy_group(module, "search")), name="sub", help="Stands in.", no_args_is_help=True)
    app.command("other")(lambda: None)
    return app


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "lazily_found.py").write_text(
        "import typer\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "def add(what: str) -> None:\n    print('added', what)\n"
        "@app.command()\n"
        "def drop() -> None:\n    raise typer.Exit(3)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "lazily_found", raising=False)
    return "lazily_found"


def test_it_is_listed_without_being_imported(module: str) -> None:
    shown = CliRunner().invoke(mounted(module), ["--help"])
    assert "Stands in." in shown.output
    assert module not in sys.modules


def test_its_commands_run(module: str) -> None:
    runner = CliRunner()
    assert runner.invoke(mounted(module), ["sub", "add", "it"]).output == "added it\n"
    assert runner.invoke(mounted(module), ["sub", "drop"]).exit_code == 3
    assert "add" in runner.invoke(mounted(module), ["sub", "--help"]).output


def test_a_missing_package_says_what_to_install() -> None:
    result = CliRunner().invoke(mounted("groundwire_has_no_such_module"), ["sub", "add"])
    assert isinstance(result.exception, CommandError)
    assert "pip install 'groundwire[search]'" in result.exception.message
