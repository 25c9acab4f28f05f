"""The README's examples, as they stand there, against the running services."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import clean_environment
from tests.support.stack import Stack

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
README_QUESTION = "Can a web page forge a control token?"
QUESTION = "What does a rain gauge measure?"
"""One that the tests' own index has something on."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def aimed(text: str, stack: Stack) -> str:
    assert README_QUESTION in text or "describe" in text
    text = text.replace(README_QUESTION, QUESTION)
    return re.sub(r"(127\.0\.0\.1|localhost):50051", stack.gateway.address, text)


def test_the_python_example_runs(stack: Stack):
    (example,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", aimed(example, stack)],
        env=clean_environment(PYTHONPATH=str(ROOT / "protos" / "gen")),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "[1] Rain gauges" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("OUTCOME_")


def test_the_grpcurl_examples_run(stack: Stack):
    grpcurl = shutil.which("grpcurl")
    if grpcurl is None:
        pytest.skip("grpcurl is not installed: go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest")
    text = next(block for block in blocks("sh") if "grpcurl" in block).replace("\\\n", " ")
    commands = [shlex.split(aimed(line, stack)) for line in text.splitlines() if line.strip()]
    assert [command[0] for command in commands] == ["grpcurl", "grpcurl"]
    described, asked = (
        subprocess.run([grpcurl, *command[1:]], capture_output=True, text=True, timeout=60, check=True).stdout
        for command in commands
    )
    assert "rpc Ask ( .groundwire.gateway.v1.AskRequest ) returns ( stream" in described
    events = [json.loads(text) for text in re.split(r"\n(?=\{)", asked)]
    assert next(iter(events[-1])) == "finished"


def test_every_link_into_the_repository_leads_somewhere():
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
