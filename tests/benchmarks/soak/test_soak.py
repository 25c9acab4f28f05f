"""A short soak of the real service, through the same entry point."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_everything_holds_for_ten_seconds(tmp_path: Path) -> None:
    output = tmp_path / "soak.json"

    ran = run(
        *("--minutes", "0.17", "--seed", "11", "--threads", "1", "--prefix-cache-mib", "16"),
        *("--output", str(output)),
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    written = json.loads(output.read_text())
    assert all(row["held"] for row in written["rows"])
    values = {row["measure"]: row["value"] for row in written["rows"]}
    assert values["calls sent"] > 30
    assert values["requests run together"] == 8
    assert "tokens/s" in ran.stdout


@pytest.mark.e2e
def test_a_service_that_does_not_start_is_told_with_its_log(tmp_path: Path) -> None:
    ran = run("--model", "no-such-model", "--minutes", "0.1", "--output", str(tmp_path / "soak.json"))

    assert ran.returncode == 1
    assert "no-such-model" in ran.stderr
    assert not (tmp_path / "soak.json").exists()
