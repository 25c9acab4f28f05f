"""The `groundwire` command against the real services."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path

import pytest

from tests.support.child_scripts import services_of, wait_until_gone
from tests.support.command_line import Ended, ended, groundwire, start_groundwire
from tests.support.questions import ABOUT_NOTHING, ABOUT_RAIN
from tests.support.stack import INFERENCE, Stack


async def command(stack: Stack, *arguments: str, **environment: str) -> Ended:
    return await groundwire(*arguments, folder=stack.folder, **{**stack.settings(), **environment})


RATE = r" tokens/s( \([\d,]+ of [\d,]+ drafted tokens right\))? · total "
"""In the line of timings. Drafts are told of where any were tried."""


async def test_ask(stack: Stack) -> None:
    ran = await command(stack, "ask", "--max-tokens", "30", ABOUT_RAIN)
    assert ran.code in (0, 3, 5), ran.stderr  # what the model makes of it is its own affair
    assert ran.stdout.startswith("Sources from the local index for “")
    assert "rain.md › Rain gauges" in ran.stdout
    assert re.search(RATE, ran.stdout)
    assert ran.stderr == ""


async def test_ask_in_json(stack: Stack) -> None:
    ran = await command(stack, "ask", "--json", "--max-tokens", "5", "--max-sources", "1", ABOUT_RAIN)
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    kinds = [next(iter(event)) for event in events]
    assert all(len(event) == 1 for event in events)
    assert kinds[-1] == "finished"
    assert kinds.index("sources") < kinds.index("context") < kinds.index("delta")
    assert events[-1]["finished"]["usage"]["completion_tokens"] <= 5


async def test_ask_where_nothing_is_found(stack: Stack) -> None:
    ran = await command(stack, "ask", ABOUT_NOTHING)
    assert ran.code == 4
    assert "The search found nothing" in ran.stdout


async def test_ask_for_a_provider_that_is_not_set_up(stack: Stack) -> None:
    ran = await command(stack, "ask", "--provider", "brave", ABOUT_RAIN)
    assert ran.code == 1
    assert "The search service is not set up for this." in ran.stderr
    assert "BRAVE_API_KEY" in ran.stderr


async def test_a_question_that_is_too_long(stack: Stack) -> None:
    ran = await groundwire("ask", folder=stack.folder, text="why " * 2000, **stack.settings())
    assert ran.code == 2
    assert "  QUESTION: " in ran.stderr


async def test_search(stack: Stack) -> None:
    ran = await command(stack, "search", "-n", "2", "anemometer")
    assert ran.code == 0, ran.stderr
    assert "wind.md" in ran.stdout
    assert "from the local index" in ran.stdout.splitlines()[-1]


async def test_status(stack: Stack) -> None:
    ran = await command(stack, "status")
    assert ran.code == 0, ran.stdout
    assert ran.stdout.count("serving") == 3
    for told in ("searches local by default", "0 of 2 slots used", "model builtin: phi3, "):
        assert told in ran.stdout
    written = json.loads((await command(stack, "status", "--json")).stdout)
    assert written["all_serve"] is True
    assert written["inference"]["model"]["context_length"] > 0


async def test_status_tells_what_is_missing(stack: Stack) -> None:
    ran = await command(stack, "status", GROUNDWIRE_SEARCH_LISTEN="127.0.0.1:1")
    assert ran.code == 1
    assert "Start it with `groundwire serve search`" in ran.stdout


def bad_model(folder: Path, kind: str) -> Path:
    path = folder / "model.gguf"
    if kind == "truncated":
        builtin = Path(__file__).resolve().parents[2] / "models" / "builtin" / "groundwire-builtin.gguf"
        path.write_bytes(builtin.read_bytes()[:3_000_000])
    elif kind == "not a model":
        path.write_text("This is no model.\n" * 1000)
    return path


@pytest.mark.parametrize("model", ["missing", "truncated", "not a model"])
async def test_a_bad_model_ends_the_service_with_one_paragraph(tmp_path: Path, model: str) -> None:
    path = bad_model(tmp_path, model)
    ran = await groundwire(
        *("serve", "inference"), folder=tmp_path, GROUNDWIRE_MODEL=str(path), GROUNDWIRE_INFERENCE_LISTEN="127.0.0.1:0"
    )
    assert ran.code == 1
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr
    told = [line for line in ran.stderr.splitlines() if not line.startswith("{")]
    assert len(told) == 1, told
    assert told[0].startswith("inference: ")
    assert str(path) in told[0]


async def test_serve_announces_itself_and_stops_at_sigterm(tmp_path: Path) -> None:
    process = await start_groundwire("serve", "gateway", folder=tmp_path, GROUNDWIRE_GATEWAY_LISTEN="127.0.0.1:0")
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    assert line.startswith(b"gateway serving on 127.0.0.1:")
    process.send_signal(signal.SIGTERM)
    assert (await ended(process)).code == 0


async def test_the_demo(stack: Stack) -> None:
    ran = await groundwire(
        *("demo", ABOUT_RAIN), folder=stack.folder, GROUNDWIRE_INDEX_PATH=str(stack.index_path), **INFERENCE
    )
    assert ran.code == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("Running on builtin and the local index.")
    assert "for the web, set BRAVE_API_KEY" in lines[0]
    assert f"Question: {ABOUT_RAIN}" in lines
    assert "  [1] Rain gauges" in ran.stdout
    assert re.search(RATE, lines[-1])


async def test_the_demo_answers_as_the_readme_shows(tmp_path: Path) -> None:
    """What is written in docs/ is what it searches, so that a new page may spoil a new user's first answer."""
    ran = await groundwire("demo", folder=tmp_path, **INFERENCE)
    assert ran.code == 0, ran.stderr
    begin, end = "Sources from the local index", "\nsearch "
    shown = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").split(begin)[1].split(end)[0]
    date = re.compile(r"  \d{4}-\d\d-\d\d")  # when the page was last changed
    assert date.sub("", ran.stdout.split(begin)[1].split(end)[0]) == date.sub("", shown)


async def test_a_demo_that_fails_names_its_logs(tmp_path: Path) -> None:
    ran = await groundwire("demo", folder=tmp_path, GROUNDWIRE_MODEL="no-such-model", TMPDIR=str(tmp_path))
    assert ran.code == 1
    assert "Traceback" not in ran.stderr
    assert "no-such-model" in ran.stderr
    named = re.search(r"The services' logs are in (\S+)", ran.stderr)
    assert named
    assert "inference  |" in text_of(Path(named[1]))


def text_of(path: Path) -> str:
    return path.read_text()


async def test_ctrl_c_during_the_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    process = await start_groundwire("demo", folder=tmp_path, TMPDIR=str(tmp_path), **INFERENCE)
    assert process.stderr is not None
    assert b"Starting" in await asyncio.wait_for(process.stderr.readline(), 30)
    services = await children_of(process.pid)
    process.send_signal(signal.SIGINT)
    ran = await ended(process)
    assert ran.code == 130
    assert ran.stderr.endswith("groundwire: Cancelled.\n")
    assert await asyncio.to_thread(wait_until_gone, *services) == []
    assert not names_in(tmp_path)


async def children_of(pid: int) -> list[int]:
    """The services that the demo has started, once there are two."""
    async with asyncio.timeout(30):
        while len(found := list(services_of(pid).values())) < 2:
            await asyncio.sleep(0.05)
    return found


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
