"""`make audit` by what an advisory database says, or where none can be asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).parents[1] / ".ci" / "audit"
SOUND = {"name": "one", "version": "1.0", "vulns": []}
KNOWN = {"name": "two", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "three", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (json.dumps({"dependencies": [SOUND, UNKNOWN]}), 0, "knows 1 packages and not 1 others: 0 with known"),
        (json.dumps({"dependencies": [SOUND, KNOWN]}), 1, "two 2.0: PYSEC-1, mended in 2.1"),
        (json.dumps({"dependencies": [UNKNOWN]}), 0, "SKIPPED"),
        ("no answer", 0, "SKIPPED"),
    ],
)
def test_what_is_known_is_told_and_that_nothing_is_too(tmp_path: Path, answer: str, code: int, said: str) -> None:
    uv = tmp_path / "uv"
    uv.write_text(f"#!{sys.executable}\nprint({answer!r})\n")
    uv.chmod(0o700)
    ran = subprocess.run(
        [sys.executable, str(AUDIT), str(uv), "constraints.txt"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == code
    assert said in ran.stdout + ran.stderr
