from __future__ import annotations

import os
from pathlib import Path

import pytest
from dotenv import dotenv_values

from groundwire_cli.env_file import EnvFile, with_settings
from groundwire_cli.errors import CommandError


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "A=2\n"),
        ("# kept\nB=1\n", "# kept\nB=1\nA=2\n"),
        ("B=1", "B=1\nA=2\n"),
        ("A=1\nB=1\n", "A=2\nB=1\n"),
        ("A=\n", "A=2\n"),
        ("A=1", "A=2"),
        ("  A = 1\n", "  A =2\n"),
        ("export A=1\n", "export A=2\n"),
        ("A=1  # half of them\n", "A=2  # half of them\n"),
        ("A='1 # 2' # both\n", "A=2 # both\n"),
        ("A=  # unset\n", "A=2  # unset\n"),
        ("A=x#y\n", "A=2\n"),
        ("A=1\nA=3\n", "A=2\nA=2\n"),
        ("# A=1\n", "# A=1\nA=2\n"),
        ("AA=1\nB_A=1\n", "AA=1\nB_A=1\nA=2\n"),
        ("B=1\r\nA=1\r\n", "B=1\r\nA=2\r\n"),
        ("B=1\r\n", "B=1\r\nA=2\r\n"),
    ],
)
def test_one_setting_changes_and_all_else_stays(before: str, after: str, tmp_path: Path) -> None:
    assert with_settings(before, {"A": "2"}) == after
    (tmp_path / ".env").write_bytes(after.encode())
    assert dotenv_values(tmp_path / ".env")["A"] == "2"


def test_changed_and_new_lines_at_once() -> None:
    assert with_settings("A=1\nB=1\n", {"C": "3", "B": "", "D": "4"}) == "A=1\nB=\nC=3\nD=4\n"


def test_a_new_file_is_made(tmp_path: Path) -> None:
    EnvFile(tmp_path / ".env").set({"A": "2"})
    assert [path.name for path in tmp_path.iterdir()] == [".env"]
    assert (tmp_path / ".env").read_text() == "A=2\n"


def test_the_mode_stays_and_a_link_stays_one(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text("SECRET=x\n")
    real.chmod(0o640)
    link = tmp_path / ".env"
    link.symlink_to(real)
    EnvFile(link).set({"A": "2"})
    assert link.is_symlink()
    assert real.read_text() == "SECRET=x\nA=2\n"
    assert real.stat().st_mode & 0o777 == 0o640


def test_what_was_written_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    file = EnvFile(path)
    path.write_text("B=1\n")
    file.set({"A": "2"})
    assert path.read_text() == "B=1\nA=2\n"


def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\n")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CommandError, match=r"\.env cannot be written: No space left on device\."):
        EnvFile(path).set({"A": "2"})
    assert path.read_text() == "A=1\n"
    assert [found.name for found in tmp_path.iterdir()] == [".env"]


def test_what_cannot_be_changed_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="is no folder to write in"):
        EnvFile(tmp_path / "nowhere" / ".env")
    with pytest.raises(CommandError, match="cannot be read: Is a directory"):
        EnvFile(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(CommandError, match="is not valid UTF-8"):
        EnvFile(tmp_path / "bytes")
