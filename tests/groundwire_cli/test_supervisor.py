"""The supervisor over small real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from groundwire_cli.restarts import RestartPolicy
from groundwire_cli.supervisor import GaveUp, Supervisor, last_words
from tests.support.child_scripts import SLEEPS, is_alive, kill_all, script, server, wait_until_gone
from tests.support.processes import clean_environment

QUICK = RestartPolicy(first_delay_seconds=0.05, longest_delay_seconds=0.2, quick_seconds=30, quick_deaths=3)
IGNORES_TERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


class Heard:
    """Remembers what the supervisor reports."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.notes: list[tuple[str, str]] = []

    def line(self, name: str, line: str) -> None:
        self.lines.append((name, line))

    def note(self, name: str, text: str) -> None:
        self.notes.append((name, text))

    async def until_noted(self, text: str) -> None:
        async with asyncio.timeout(20):
            while not any(text in note for _, note in self.notes):
                await asyncio.sleep(0.01)


async def pid_of(supervisor: Supervisor, name: str, other_than: int | None = None) -> int:
    async with asyncio.timeout(20):
        while (pid := supervisor.pid(name)) is None or pid == other_than:
            await asyncio.sleep(0.01)
        return pid


async def test_start_returns_the_announced_address_and_stop_ends_it() -> None:
    heard = Heard()
    async with Supervisor(heard, QUICK) as supervisor:
        assert await supervisor.start(server("one", port=4711), timeout_seconds=20) == "127.0.0.1:4711"
        pid = await pid_of(supervisor, "one")
        assert is_alive(pid)
    assert not is_alive(pid)
    assert ("one", "one serving on 127.0.0.1:4711") in heard.lines
    assert heard.notes == []  # a stop is no death


async def test_lines_of_both_streams_are_reported_as_they_come() -> None:
    heard = Heard()
    loud = "import sys; sys.stderr.write('half '); sys.stderr.flush(); sys.stderr.write('whole\\nno end'); sys.exit(3)"
    async with Supervisor(heard, QUICK) as supervisor:
        with pytest.raises(GaveUp):
            await supervisor.start(script("loud", "print('out', flush=True)\n" + loud), timeout_seconds=20)
    assert heard.lines[0] == ("loud", "out")
    assert ("loud", "half whole") in heard.lines
    assert ("loud", "no end") in heard.lines


async def test_what_dies_is_started_again_and_the_back_off_grows() -> None:
    heard = Heard()
    async with Supervisor(heard, QUICK) as supervisor:
        await supervisor.start(server("one"), timeout_seconds=20)
        first = await pid_of(supervisor, "one")
        os.kill(first, signal.SIGKILL)
        second = await pid_of(supervisor, "one", other_than=first)
        await heard.until_noted("was ended by SIGKILL; it is started again in 0.05 s")
        os.kill(second, signal.SIGKILL)
        await heard.until_noted("it is started again in 0.1 s")
        await pid_of(supervisor, "one", other_than=second)


async def test_a_restart_may_get_another_environment(tmp_path: Path) -> None:
    heard = Heard()
    program = f"import os; open({str(tmp_path / 'seen')!r}, 'a').write(os.environ.get('PORT', 'none') + ' ')\n"
    async with Supervisor(heard, QUICK) as supervisor:
        await supervisor.start(server("one", before=program), timeout_seconds=20)
        supervisor.come_back_with("one", PORT="4711")
        first = await pid_of(supervisor, "one")
        os.kill(first, signal.SIGKILL)
        await pid_of(supervisor, "one", other_than=first)
        async with asyncio.timeout(20):
            while (tmp_path / "seen").read_text() != "none 4711 ":
                await asyncio.sleep(0.01)


async def test_it_gives_up_after_quick_deaths_in_a_row_with_the_reason() -> None:
    heard = Heard()
    dying = "import sys; sys.exit('cannot go on')"
    async with Supervisor(heard, QUICK) as supervisor:
        await supervisor.start(server("one", after="import time; time.sleep(0.1)\n" + dying), timeout_seconds=20)
        with pytest.raises(GaveUp) as failure:
            await asyncio.wait_for(supervisor.watch(), 10)
    assert len(heard.notes) == 2
    assert "one exited with status 1 3 times in a row" in str(failure.value)
    assert failure.value.last_words == "cannot go on"


async def test_a_refusal_to_start_is_told_at_once() -> None:
    heard = Heard()
    refusal = "import sys; sys.exit('inference: there is no model file at x.\\nSet GROUNDWIRE_MODEL.')"
    async with Supervisor(heard, QUICK) as supervisor:
        with pytest.raises(GaveUp) as failure:
            await supervisor.start(script("inference", refusal), timeout_seconds=20)
    assert failure.value.last_words == "inference: there is no model file at x.\nSet GROUNDWIRE_MODEL."
    assert heard.notes == []


async def test_one_that_never_serves_is_too_late() -> None:
    async with Supervisor(Heard(), QUICK) as supervisor:
        with pytest.raises(TimeoutError, match="slow did not say that it serves"):
            await supervisor.start(script("slow", SLEEPS), timeout_seconds=0.5)
        pid = await pid_of(supervisor, "slow")
    assert not is_alive(pid)


async def test_one_that_ignores_sigterm_is_killed_after_the_grace() -> None:
    started = time.monotonic()
    async with Supervisor(Heard(), QUICK, grace_seconds=0.3) as supervisor:
        await supervisor.start(server("deaf", before=IGNORES_TERM), timeout_seconds=20)
        pid = await pid_of(supervisor, "deaf")
    assert not is_alive(pid)
    assert time.monotonic() - started < 30


async def test_what_a_child_started_ends_with_it(tmp_path: Path) -> None:
    nested = (
        "import subprocess, sys\n"
        "grandchild = subprocess.Popen([sys.executable, '-I', '-S', '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(grandchild.pid))\n"
    )
    async with Supervisor(Heard(), QUICK) as supervisor:
        await supervisor.start(server("parent", before=nested), timeout_seconds=20)
        grandchild = int((tmp_path / "pid").read_text())
        assert is_alive(grandchild)
    assert wait_until_gone(grandchild) == []


async def test_the_last_started_stops_first() -> None:
    heard = Heard()
    says_so = (
        "import os, signal\n"
        "def stop(*_):\n    os.write(1, b'stopping\\n'); os._exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
    )
    async with Supervisor(heard, QUICK) as supervisor:
        for name in ("search", "inference", "gateway"):
            await supervisor.start(server(name, before=says_so), timeout_seconds=20)
    stops = [name for name, line in heard.lines if line == "stopping"]
    assert stops[0] == "gateway"
    assert sorted(stops[1:]) == ["inference", "search"]


async def test_a_stop_during_the_back_off_does_not_wait_for_it() -> None:
    patient = RestartPolicy(first_delay_seconds=60, longest_delay_seconds=60)
    heard = Heard()
    started = time.monotonic()
    async with Supervisor(heard, patient) as supervisor:
        await supervisor.start(server("one"), timeout_seconds=20)
        os.kill(await pid_of(supervisor, "one"), signal.SIGKILL)
        await heard.until_noted("it is started again in 60 s")
    assert time.monotonic() - started < 30


def test_no_orphan_where_the_supervisor_itself_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "supervise.py"
    program.write_text(
        "import asyncio\n"
        "from groundwire_cli.supervisor import Supervisor\n"
        "from tests.groundwire_cli.test_supervisor import IGNORES_TERM, Heard\n"
        "from tests.support.child_scripts import server\n"
        "async def main():\n"
        "    async with Supervisor(Heard()) as supervisor:\n"
        "        for name in ('one', 'two'):\n"
        "            await supervisor.start(server(name, before=IGNORES_TERM), timeout_seconds=10)\n"
        "            print(supervisor.pid(name), flush=True)\n"
        "        await supervisor.watch()\n"
        "asyncio.run(main())\n"
    )
    repository = Path(__file__).resolve().parents[2]
    supervising = subprocess.Popen(
        [sys.executable, str(program)],
        cwd=tmp_path,
        env=clean_environment(PYTHONPATH=str(repository)),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert supervising.stdout is not None
    with supervising, supervising.stdout:
        pids = [int(supervising.stdout.readline()) for _ in range(2)]
        assert all(is_alive(pid) for pid in pids)
        supervising.kill()
        supervising.wait(5)
        try:
            assert wait_until_gone(*pids) == []
        finally:
            kill_all(*pids)


def test_last_words_are_no_log_lines() -> None:
    lines = ['{"event": "loading", "level": "info"}', "", "The model is broken.", "{not json"]
    assert last_words(lines) == "The model is broken.\n{not json"
