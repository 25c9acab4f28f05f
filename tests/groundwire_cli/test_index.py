"""`groundwire index` as a real process."""

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest

from search_service.adapters.local_index_reader import IndexReader
from tests.support.command_line import Ended, ended, groundwire, groundwire_on_terminal, start_groundwire
from tests.support.corpus import FILES, write_files


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    return write_files(tmp_path / "docs")


async def index(folder: Path, *arguments: str) -> Ended:
    """Run it in the folder, with the index at data/index.sqlite3 there."""
    return await groundwire("index", *arguments, folder=folder, GROUNDWIRE_INDEX_PATH="data/index.sqlite3")


async def test_add_tells_what_changed(tmp_path: Path, docs: Path) -> None:
    (docs / "picture.png").write_bytes(b"\x89PNG\0")
    (docs / "binary.txt").write_bytes(b"\0" * 9)
    first = await index(tmp_path, "add", "docs")
    assert (first.code, first.stderr) == (0, "")
    assert first.stdout == (
        f"Added {len(FILES)}, updated 0, unchanged 0, removed 0, skipped 2.\n"
        "  skipped 1: binary: binary.txt\n"
        "  skipped 1: not Markdown, text or HTML: picture.png\n"
    )
    (docs / "ports.md").unlink()
    (docs / "engine.md").write_text("# The engine\n\nIt purrs.\n")
    second = await index(tmp_path, "add", "docs")
    assert second.stdout.startswith(f"Added 0, updated 1, unchanged {len(FILES) - 2}, removed 1, skipped 2.\n")


async def test_list_and_stats_show_what_there_is(tmp_path: Path, docs: Path) -> None:
    await index(tmp_path, "add", "docs", str(write_files(tmp_path / "more", {"a.txt": "alone"}) / "a.txt"))
    listed = await index(tmp_path, "list")
    lines = listed.stdout.splitlines()
    assert listed.code == 0
    assert re.fullmatch(rf"{re.escape(str(docs))}/  \(8 documents, \d+ passages\)", lines[0])
    assert re.fullmatch(r" +\d+  \d{4}-\d\d-\d\d \d\d:\d\d  ko/seoul\.md  서울", lines[4])
    assert lines[-2] == f"{tmp_path / 'more' / 'a.txt'}  (1 document, 1 passage)"
    assert lines[-1].endswith("  a.txt")
    stats = await index(tmp_path, "stats")
    assert stats.code == 0
    assert "documents   9 in 2 added folders or files\n" in stats.stdout
    assert f"index file  {tmp_path / 'data' / 'index.sqlite3'}\n" in stats.stdout


async def test_remove_takes_out_what_was_added(tmp_path: Path, docs: Path) -> None:
    await index(tmp_path, "add", "docs")
    inside = await index(tmp_path, "remove", "docs/ports.md")
    assert inside.code == 1
    assert "was added as a part of" in inside.stderr
    unknown = await index(tmp_path, "remove", "elsewhere")
    assert unknown.code == 1
    assert "was not added" in unknown.stderr
    await asyncio.to_thread(docs.rename, tmp_path / "moved")  # the folder itself need not be there any more
    removed = await index(tmp_path, "remove", "docs", "docs/")
    assert (removed.code, removed.stdout) == (0, f"Removed {len(FILES)} documents.\n")
    assert "The index is empty." in (await index(tmp_path, "list")).stdout


async def test_a_path_that_does_not_exist_stops_everything_before_it_starts(tmp_path: Path, docs: Path) -> None:
    ran = await index(tmp_path, "add", "docs", "nowhere")
    assert ran.code == 1
    assert ran.stderr.startswith("groundwire: nowhere does not exist.")
    assert not (tmp_path / "data").exists()


async def test_nothing_to_index_is_a_failure_that_says_why(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "code", {"main.py": "print()", "empty.md": ""})
    ran = await index(tmp_path, "add", str(folder))
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr == (
        f"groundwire: Nothing to index in {folder}: no Markdown, text or HTML with content.\n"
        "  skipped 1: empty: empty.md\n"
        "  skipped 1: not Markdown, text or HTML: main.py\n"
    )


async def test_an_index_that_cannot_be_made_is_named(tmp_path: Path, docs: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = await index(tmp_path, "add", "docs", "--index", "file/index.sqlite3")
    assert ran.code == 1
    assert "cannot be made" in ran.stderr
    assert f"The index file is {tmp_path / 'file' / 'index.sqlite3'}." in ran.stderr


async def test_a_damaged_index_tells_how_to_make_it_again(tmp_path: Path, docs: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "index.sqlite3").write_bytes(b"no database " * 1000)
    for command in (["add", "docs"], ["list"], ["stats"], ["remove", "docs"]):
        ran = await index(tmp_path, *command)
        assert ran.code == 1
        assert "groundwire index rebuild" in ran.stderr
        assert ("Remove the file" in ran.stderr) == (command[0] == "add")
        assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("command", [["list"], ["stats"], ["remove", "docs"]])
async def test_without_an_index_the_way_to_one_is_told(tmp_path: Path, command: list[str]) -> None:
    ran = await index(tmp_path, *command)
    assert ran.code == 1
    assert "Make one with: groundwire index add" in ran.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", [["add"], ["remove"], ["frobnicate"], ["add", "--wrong"]])
async def test_bad_usage_exits_with_2(tmp_path: Path, command: list[str]) -> None:
    assert (await index(tmp_path, *command)).code == 2


async def test_names_with_escape_sequences_do_not_reach_the_terminal(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "docs", {"a\x1b[2Jb.md": "# Title\n\ntext", "\x1b]0;c.md": "\0binary"})
    added = await index(tmp_path, "add", str(folder))
    listed = await index(tmp_path, "list")
    assert (added.code, listed.code) == (0, 0)
    assert "\x1b" not in added.stdout + listed.stdout
    assert "ab.md" in listed.stdout


async def test_a_terminal_sees_a_progress_bar(tmp_path: Path, docs: Path) -> None:
    ran = await groundwire_on_terminal(
        ["index", "add", str(docs)], folder=tmp_path, GROUNDWIRE_INDEX_PATH="index.sqlite3"
    )
    assert ran.code == 0
    assert f"/{len(FILES)}" in ran.stdout
    assert f"Added {len(FILES)}," in ran.stdout


async def test_ctrl_c_keeps_what_was_done_and_says_so(tmp_path: Path) -> None:
    text = "# Part\n\n" + "\n\n".join("A sentence that takes its time. " * 20 for _ in range(20))
    folder = write_files(tmp_path / "docs", {f"{n}.md": f"{text} {n}" for n in range(600)})
    path = tmp_path / "index.sqlite3"
    process = await start_groundwire("index", "add", str(folder), folder=tmp_path, GROUNDWIRE_INDEX_PATH=str(path))
    wal = f"{path}-wal"
    while not (os.path.exists(wal) and os.path.getsize(wal) > 100_000):  # noqa: ASYNC240, PTH110, PTH202 - a poll
        assert process.returncode is None
        await asyncio.sleep(0.002)
    process.send_signal(signal.SIGINT)
    ran = await ended(process)
    assert ran.code == 130
    assert "What was indexed so far is kept" in ran.stderr
    assert "Traceback" not in ran.stderr
    with IndexReader(path) as reader:
        assert 0 < reader.stats().documents < 600


async def test_a_damaged_index_is_built_anew_by_add_and_by_rebuild(tmp_path: Path, docs: Path) -> None:
    assert (await index(tmp_path, "add", "docs")).code == 0
    file = tmp_path / "data" / "index.sqlite3"
    for command in (["add", "docs"], ["rebuild"]):
        file.write_bytes(b"no database " * 1000)
        told = await index(tmp_path, "list")
        assert (told.code, "groundwire index rebuild" in told.stderr) == (1, True)
        ran = await index(tmp_path, *command)
        assert ran.code == 0
        assert "Built the index anew" in ran.stdout + ran.stderr
        assert "kept as data/index.sqlite3.damaged" in ran.stdout + ran.stderr
        assert (await index(tmp_path, "stats")).code == 0


async def test_without_an_index_there_is_nothing_to_rebuild(tmp_path: Path) -> None:
    ran = await index(tmp_path, "rebuild")
    assert ran.code == 1
    assert "groundwire index add" in ran.stderr
