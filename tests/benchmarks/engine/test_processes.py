"""Processes under test: ended whatever happens, and heard where they fail."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.engine.processes import RunningProcess, SystemFailed, clean_environment, running_process

ROOT = Path(__file__).parents[3]
SLEEP = "import time; print('up', flush=True); time.sleep(600)"
WITH_CHILD = (
    "import subprocess, sys, time; "
    f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); "
    "print('child', child.pid, flush=True); time.sleep(600)"
)


def run(code: str, folder, *, grace_seconds: float = 20.0):
    command = [sys.executable, "-c", code]
    return running_process(
        "system (as set)", command, environment=os.environ, folder=folder, grace_seconds=grace_seconds
    )


async def until_said(process: RunningProcess, word: str, *, timeout_seconds: float = 60.0) -> None:
    async def said() -> bool:
        return word in process.log_text()

    await process.until(said, timeout_seconds=timeout_seconds)


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


async def test_it_is_ended_with_the_block_and_so_is_what_it_started(tmp_path):
    async with run(WITH_CHILD, tmp_path) as process:
        await until_said(process, "child")
        child = int(process.log_text().split()[1])
        assert psutil.pid_exists(child)
        assert process.peak_memory_mib() > 2
    assert process.has_ended
    assert gone(child)


async def test_it_is_ended_where_the_block_fails_and_its_log_is_shown(tmp_path):
    processes: list[RunningProcess] = []

    async def measure() -> None:
        async with run(SLEEP, tmp_path) as process:
            processes.append(process)
            await until_said(process, "up")
            raise ValueError("measured wrong")

    with pytest.raises(ValueError, match="measured wrong") as raised:
        await measure()
    assert processes[0].has_ended
    assert "up" in raised.value.__notes__[0]


async def test_one_that_ignores_sigterm_is_killed(tmp_path):
    code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
    async with run(code, tmp_path, grace_seconds=0.5) as process:
        await until_said(process, "up")
    assert process.has_ended


async def test_one_that_does_not_start_is_told_with_its_last_words(tmp_path):
    code = "import sys; print('no such model', file=sys.stderr); sys.exit(3)"
    with pytest.raises(SystemFailed, match=r"(?s)system \(as set\) ended by itself with exit status 3.*no such model"):
        async with run(code, tmp_path) as process:
            await until_said(process, "ready")


async def test_one_that_is_never_ready_is_given_up(tmp_path):
    with pytest.raises(SystemFailed, match="not ready within"):
        async with run(SLEEP, tmp_path) as process:
            await until_said(process, "ready", timeout_seconds=0.2)


async def test_a_failure_while_it_is_gone_is_its_own(tmp_path):
    async def measure() -> None:
        async with run("import sys; print('crashed'); sys.exit(5)", tmp_path) as process:
            while not process.has_ended:
                await asyncio.sleep(0.01)
            raise ConnectionError("refused")

    with pytest.raises(SystemFailed, match=r"(?s)exit status 5 while it was measured.*crashed"):
        await measure()


MEASURING = f"""
import asyncio, os, sys
from pathlib import Path
from benchmarks.engine.processes import running_process, treat_sigterm_as_ctrl_c

async def measure():
    command = [sys.executable, "-c", {SLEEP!r}]
    async with running_process("system", command, environment=os.environ, folder=Path(sys.argv[1])) as process:
        print(process.pid, flush=True)
        await asyncio.sleep(600)

treat_sigterm_as_ctrl_c()
asyncio.run(measure())
"""


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_running_where_the_benchmark_is_told_to_end(tmp_path, number):
    command = [sys.executable, "-c", MEASURING, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT) as measuring:
        system = int(measuring.stdout.readline())
        assert psutil.pid_exists(system)
        measuring.send_signal(number)
        assert measuring.wait(60) != 0
    assert gone(system)


def test_settings_of_this_environment_do_not_reach_it(monkeypatch):
    monkeypatch.setenv("LLAMA_ARG_CTX_SIZE", "1")
    monkeypatch.setenv("KEPT", "yes")
    environment = clean_environment(("LLAMA_ARG_",), {"ADDED": "too"})
    assert "LLAMA_ARG_CTX_SIZE" not in environment
    assert (environment["KEPT"], environment["ADDED"]) == ("yes", "too")
