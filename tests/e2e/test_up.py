"""`groundwire up` with the real services."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.child_scripts import is_alive, kill_all, services_of, wait_until_gone
from tests.support.command_line import Ended, ended, groundwire, start_groundwire
from tests.support.questions import ABOUT_RAIN
from tests.support.stack import INFERENCE, Stack

ANY_PORT = {f"GROUNDWIRE_{name}_LISTEN": "127.0.0.1:0" for name in ("GATEWAY", "SEARCH", "INFERENCE")}
READY = re.compile(r"ready: the gateway answers at (\S+)\.")


@dataclass(slots=True)
class Up:
    """A running `groundwire up`."""

    process: asyncio.subprocess.Process
    shown: str = ""
    found_to: int = 0

    async def until(self, pattern: re.Pattern[str], seconds: float = 60) -> re.Match[str]:
        """Read its output until the pattern is found behind what was found last."""
        assert self.process.stdout is not None
        async with asyncio.timeout(seconds):
            while not (found := pattern.search(self.shown, self.found_to)):
                piece = await self.process.stdout.read(65_536)
                assert piece, self.shown
                self.shown += piece.decode()
        self.found_to = found.end()
        return found


@asynccontextmanager
async def running_up(folder: Path, **environment: str) -> AsyncIterator[Up]:
    process = await start_groundwire("up", folder=folder, **{**INFERENCE, **ANY_PORT, **environment})
    up = Up(process)
    try:
        yield up
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
            await process.communicate()


async def test_up_from_start_to_stop(stack: Stack, tmp_path: Path) -> None:
    async with running_up(tmp_path, GROUNDWIRE_INDEX_PATH=str(stack.index_path)) as up:
        target = (await up.until(READY))[1]
        shown = up.shown
        assert shown.index("gateway    | gateway serving on ") > max(
            shown.index("search     | search serving on "), shown.index("inference  | inference serving on ")
        )
        await up.until(re.compile("Ctrl-C stops everything"))
        assert f'grpcurl -plaintext -d \'{{"question":"What is Groundwire?"}}\' {target} ' in up.shown

        asked = await ask(target, tmp_path)
        assert "rain.md" in asked.stdout

        before = services_of(up.process.pid)
        assert set(before) == {"search_service", "inference_service", "gateway"}
        os.kill(before["search_service"], signal.SIGKILL)
        await up.until(re.compile(r"search was ended by SIGKILL; it is started again in 0.5 s"))
        await up.until(re.compile(r"search     \| search serving on "))
        assert "rain.md" in (await ask(target, tmp_path)).stdout  # at the same address as before

        services = services_of(up.process.pid)
        up.process.send_signal(signal.SIGTERM)
        ran = await ended(up.process)
    assert ran.code == 0, ran.stderr
    assert ran.stdout.endswith("all services have ended\n")
    assert wait_until_gone(*services.values()) == []


async def ask(target: str, folder: Path) -> Ended:
    ran = await groundwire("ask", "--target", target, "--max-tokens", "3", ABOUT_RAIN, folder=folder)
    assert ran.code in (0, 3, 5), ran.stderr
    return ran


async def test_no_orphans_where_up_itself_is_killed(tmp_path: Path) -> None:
    async with running_up(tmp_path) as up:
        await up.until(re.compile(r"search     \| search serving on "))  # while the model may still be loading
        services = list(services_of(up.process.pid).values())
        assert len(services) >= 2
        assert all(is_alive(pid) for pid in services)
        up.process.kill()
        await up.process.wait()
        await up.process.communicate()
    try:
        assert wait_until_gone(*services) == []
    finally:
        kill_all(*services)


async def test_a_missing_model_ends_it_with_the_reason(tmp_path: Path) -> None:
    async with running_up(tmp_path, GROUNDWIRE_MODEL="no-such-model") as up:
        ran = await ended(up.process)
    assert ran.code == 1
    assert "inference exited with status 1 after" in ran.stderr
    assert "no-such-model" in ran.stderr
    assert "Traceback" not in ran.stderr + ran.stdout


async def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        async with running_up(tmp_path, GROUNDWIRE_GATEWAY_LISTEN=address) as up:
            ran = await ended(up.process)
    assert ran.code == 1
    assert f"{address} (gateway): set GROUNDWIRE_GATEWAY_LISTEN" in ran.stderr
    assert ran.stdout == ""
