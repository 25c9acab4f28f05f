"""Standard streams that are full or closed, with the real command."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.support.answer_events import RAIN, context, delta, finished, sources
from tests.support.command_line import ended, groundwire, start_groundwire
from tests.support.processes import clean_environment
from tests.support.scripted_gateway import scripted_gateway

ANSWER = (sources(RAIN), context(1), delta("Rain falls. [1]"), finished())


@pytest.mark.parametrize("options", [(), ("--json",)])
async def test_a_full_disk_is_told_in_a_sentence(tmp_path: Path, options: tuple[str, ...]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        async with scripted_gateway(*ANSWER) as gateway:
            process = await start_groundwire(
                "ask", *options, "--target", gateway.target, "q", folder=tmp_path, stdout=full
            )
            ran = await ended(process)
    finally:
        os.close(full)
    assert ran.code == 1
    assert ran.stderr == "groundwire: The output cannot be written: No space left on device.\n"


async def test_closed_streams_are_no_reason_to_fail(tmp_path: Path) -> None:
    async with scripted_gateway(*ANSWER) as gateway:
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            'exec "$@" <&- >&- 2>&-',
            "sh",
            *(sys.executable, "-m", "groundwire_cli", "ask", "--target", gateway.target, "q"),
            cwd=tmp_path,
            env=clean_environment(),
        )
        ran = await ended(process)
    assert ran.code == 0


async def test_without_standard_input_there_is_no_question(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        'exec "$@" <&-',
        "sh",
        *(sys.executable, "-m", "groundwire_cli", "ask"),
        cwd=tmp_path,
        env=clean_environment(),
        stderr=asyncio.subprocess.PIPE,
    )
    ran = await ended(process)
    assert ran.code == 2
    assert "No question was given" in ran.stderr


async def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    ran = await groundwire("ask", os.fsdecode(b"caf\xe9"), folder=tmp_path)
    assert ran.code == 2
    assert ran.stderr == "groundwire: The question, or an option, is not valid UTF-8 text.\n"
