"""A damaged index is noticed, and built anew: by the command and behind a service's searches."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from search_service.adapters.local_index import LocalIndexProvider
from search_service.adapters.local_index_check import check_index
from search_service.adapters.local_index_errors import IndexDamaged, IndexInterrupted, IndexOutdated, IndexProblem
from search_service.adapters.local_index_reader import IndexReader
from search_service.adapters.local_index_rebuild import rebuild
from search_service.adapters.local_index_roots import read_roots, roots_file
from search_service.core.errors import ProviderNotSetUp, ProviderUnavailable
from search_service.core.types import SearchPage, SearchQuery
from tests.support.corpus import FILES, index_files, write_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path / "docs")


@pytest.fixture
def index(tmp_path: Path, folder: Path) -> Path:
    path = tmp_path / "index.sqlite3"
    index_files(path, folder)
    return path


def change_a_letter(path: Path) -> None:
    data = path.read_bytes()
    assert data.count(b"It is the only port") == 1
    path.write_bytes(data.replace(b"It is the only port", b"It is the oily port"))


SPOILS: list[Callable[[Path], object]] = [
    change_a_letter,
    lambda path: path.write_bytes(b"This is a letter and no database. " * 500),
    lambda path: path.write_bytes(path.read_bytes()[: 4096 * 3]),
    lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 4096 * 20),
    lambda path: path.write_bytes(b"\0" * path.stat().st_size),
]
IDS = ["a letter changed", "not a database", "cut off", "overwritten", "zeros"]


def whole_content(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT documents.path, title, heading, text FROM chunks JOIN documents ON documents.id = document_id"
            " ORDER BY 1, chunks.id"
        ).fetchall()


def test_a_sound_index_passes(index: Path) -> None:
    check_index(index, words=True)


@pytest.mark.parametrize("spoil", SPOILS, ids=IDS)
def test_damage_is_noticed_and_mended(index: Path, folder: Path, spoil: Callable[[Path], object]) -> None:
    before = whole_content(index)
    spoil(index)
    with pytest.raises(IndexDamaged):
        check_index(index)
    spoilt = index.read_bytes()
    result = rebuild(index)
    assert (result.changes.found, result.missing) == (len(FILES), [])
    assert result.kept is not None
    assert result.kept.read_bytes() == spoilt
    check_index(index, words=True)
    assert whole_content(index) == before
    assert read_roots(index) == [folder]
    assert sorted(path.name for path in index.parent.iterdir()) == [
        "docs",
        *("index.sqlite3" + end for end in ("", ".damaged", ".lock", ".roots")),
    ]


def test_no_changed_byte_changes_what_is_found_unnoticed(index: Path) -> None:
    before, data = whole_content(index), index.read_bytes()
    chance = random.Random(5)
    noticed = 0
    for _ in range(400):
        spoilt = bytearray(data)
        spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
        index.write_bytes(spoilt)
        try:
            check_index(index, words=True)
        except IndexProblem:
            noticed += 1
        else:
            assert whole_content(index) == before
        Path(f"{index}-wal").unlink(missing_ok=True)
        Path(f"{index}-shm").unlink(missing_ok=True)
    assert noticed > 30


def test_words_that_do_not_match_the_texts_are_noticed(index: Path) -> None:
    with closing(sqlite3.connect(index)) as connection, connection:
        connection.execute("UPDATE terms_content SET c2 = 'zebra' WHERE id = 1")
    check_index(index)
    with pytest.raises(IndexDamaged, match="words"):
        check_index(index, words=True)


def test_a_folder_that_is_gone_is_named_and_the_rest_built(tmp_path: Path, index: Path) -> None:
    other = write_files(tmp_path / "other", {"a.md": "An aardvark."})
    index_files(index, other)
    index.write_bytes(b"junk" * 5_000)
    (other / "a.md").unlink()
    other.rmdir()
    result = rebuild(index)
    assert (result.changes.found, result.missing) == (len(FILES), [other])


def test_without_the_list_the_roots_are_read_from_what_is_left(index: Path) -> None:
    roots_file(index).unlink()
    change_a_letter(index)
    assert rebuild(index).changes.found == len(FILES)


def test_nothing_is_guessed_of_a_file_that_tells_nothing(index: Path) -> None:
    roots_file(index).unlink()
    index.write_bytes(b"junk" * 5_000)
    with pytest.raises(IndexDamaged, match="Remove the file"):
        rebuild(index)
    assert index.read_bytes() == b"junk" * 5_000


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.sqlite3"
    with closing(sqlite3.connect(theirs)) as connection, connection:
        connection.execute("CREATE TABLE roots (path TEXT)")
        connection.execute("INSERT INTO roots VALUES ('/')")
    content = theirs.read_bytes()
    with pytest.raises(IndexDamaged):
        rebuild(theirs)
    assert theirs.read_bytes() == content


def test_a_rebuild_that_is_stopped_leaves_the_old_file(index: Path) -> None:
    change_a_letter(index)
    spoilt = index.read_bytes()
    asked = iter([False, False, False, *[True] * 100])
    with pytest.raises(IndexInterrupted):
        rebuild(index, is_stopped=lambda: next(asked))
    assert index.read_bytes() == spoilt
    assert not list(index.parent.glob("*rebuilding*"))


async def search(provider: LocalIndexProvider, query: str) -> SearchPage:
    return await provider.search(SearchQuery(query), timeout_seconds=5)


async def found_in_the_end(provider: LocalIndexProvider, query: str) -> tuple[SearchPage, int]:
    """The page once the index is built anew, and how often the search was refused until then."""
    refused = 0
    async with asyncio.timeout(30):
        while True:
            try:
                return await search(provider, query), refused
            except ProviderUnavailable as error:
                refused += "built anew" in str(error)
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("spoil", SPOILS, ids=IDS)
async def test_a_service_mends_what_it_finds_damaged_at_its_start(
    index: Path, spoil: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(index)
    provider = LocalIndexProvider(index, None)
    kept = Path(f"{index}.damaged")
    try:
        async with asyncio.timeout(30):
            while not kept.exists():  # noqa: ASYNC240 - quick
                await asyncio.sleep(0.01)
        page, _ = await found_in_the_end(provider, "which port does the gateway listen on")
        assert page.results[0].location is not None
        assert page.results[0].location.path == "ports.md"
    finally:
        await provider.close()
    check_index(index, words=True)
    told = capsys.readouterr().out
    assert "index damaged" in told
    assert "index rebuilt" in told


def overwrite(path: Path) -> None:
    path.write_bytes(b"This is a letter and no database. " * 500)


async def test_a_service_mends_what_breaks_while_it_runs(index: Path) -> None:
    provider = LocalIndexProvider(index, None)
    try:
        assert (await search(provider, "gateway port")).results
        overwrite(index)
        page, refused = await found_in_the_end(provider, "gateway port")
        assert refused
        assert page.results
        assert provider.status().available
    finally:
        await provider.close()


async def test_a_service_says_what_to_do_where_nothing_can_be_built(tmp_path: Path) -> None:
    (tmp_path / "index.sqlite3").write_bytes(b"no database " * 1_000)
    provider = LocalIndexProvider(tmp_path / "index.sqlite3", None)
    try:
        assert not provider.status().available
        with pytest.raises(ProviderNotSetUp, match="Remove the file"):
            await search(provider, "gateway port")
    finally:
        await provider.close()


async def test_a_rebuild_that_fails_is_told_and_not_begun_again_and_again(tmp_path: Path, index: Path) -> None:
    (tmp_path / "index.sqlite3.rebuilding").mkdir()  # where the new file is made
    overwrite(index)
    provider = LocalIndexProvider(index, None)
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    await search(provider, "gateway port")
                except ProviderNotSetUp:
                    break
                except ProviderUnavailable:
                    await asyncio.sleep(0.01)
        for _ in range(3):
            with pytest.raises(ProviderNotSetUp):
                await search(provider, "gateway port")
    finally:
        await provider.close()


async def test_an_index_of_an_older_version_is_built_anew(index: Path) -> None:
    with closing(sqlite3.connect(index)) as connection, connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(IndexOutdated):
        IndexReader(index)
    provider = LocalIndexProvider(index, None)
    try:
        page, _ = await found_in_the_end(provider, "gateway port")
        assert page.results
    finally:
        await provider.close()


_REBUILD = """
import sys
from pathlib import Path
from search_service.adapters.local_index_rebuild import rebuild

def tell(*, done, total, path):
    print(done, flush=True)

rebuild(Path(sys.argv[1]), progress=tell)
print("placed", flush=True)
"""


def killed_rebuild(index: Path, lines: int) -> bool:
    """Kill a rebuild after it has told so much. Whether it still ran."""
    repository = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", _REBUILD, str(index)], cwd=repository, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        was_running = process.poll() is None
        process.kill()
        return was_running


def test_a_rebuild_killed_at_any_moment_leaves_the_old_index_or_the_new(tmp_path: Path) -> None:
    folder = write_files(
        tmp_path / "many", {f"{n:03}.md": f"# Part {n}\n\n" + f"mark{n} text. " * 40 for n in range(60)}
    )
    index = tmp_path / "index.sqlite3"
    index_files(index, folder)
    whole = whole_content(index)
    data = index.read_bytes()
    spoilt = data.replace(b"mark33 text. mark33", b"mark33 tent. mark33", 1)
    assert spoilt != data
    stopped = 0
    for lines in (1, 5, 20, 45, 61, 61):
        index.write_bytes(spoilt)
        stopped += killed_rebuild(index, lines)
        try:
            check_index(index)
        except IndexDamaged:
            assert index.read_bytes() == spoilt
            assert rebuild(index).changes.found == 60
        assert whole_content(index) == whole
        assert read_roots(index) == [folder]
    assert stopped >= 3
