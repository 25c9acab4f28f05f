"""What the local provider does where there is no index of the user's, or one that it cannot read."""

import asyncio
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from search_service.adapters.local_index import LocalIndexProvider
from search_service.adapters.local_index_store import SCHEMA_VERSION, IndexWriter
from search_service.core.errors import ProviderNotSetUp, SearchTimeout
from search_service.core.types import (
    SearchPage,
    SearchQuery,
    SearchResult,
)
from tests.support.corpus import FILES, index_files, write_files


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "data" / "index.sqlite3"


async def search(provider: LocalIndexProvider, text: str, **fields: object) -> SearchPage:
    query = replace(SearchQuery(text), **fields)  # type: ignore[arg-type]  # each test names real fields
    return await provider.search(query, timeout_seconds=5.0)


async def best(provider: LocalIndexProvider, text: str) -> SearchResult:
    return (await search(provider, text)).results[0]


async def search_once(index: Path, text: str, sample: Path | None = None) -> SearchPage:
    provider = LocalIndexProvider(index, sample)
    try:
        return await search(provider, text)
    finally:
        await provider.close()


class TestWithoutAnIndex:
    async def test_it_says_how_to_make_one(self, index: Path) -> None:
        provider = LocalIndexProvider(index, None)
        try:
            status = provider.status()
            assert not status.available
            assert "groundwire index add" in status.detail
            with pytest.raises(ProviderNotSetUp, match="groundwire index add") as refused:
                await search(provider, "port")
            assert refused.value.setting == "GROUNDWIRE_INDEX_PATH"
        finally:
            await provider.close()

    async def test_a_damaged_one_is_named_and_not_replaced_by_the_sample(self, tmp_path: Path) -> None:
        index = tmp_path / "index.sqlite3"
        index.write_bytes(b"no database " * 1000)
        provider = LocalIndexProvider(index, write_files(tmp_path / "docs"))
        try:
            assert not provider.status().available
            with pytest.raises(ProviderNotSetUp, match="GROUNDWIRE_INDEX_PATH") as refused:
                await search(provider, "port")
            assert str(tmp_path) not in str(refused.value)
        finally:
            await provider.close()


class TestSample:
    async def test_it_is_built_by_the_first_search_beside_the_users_index(self, tmp_path: Path, index: Path) -> None:
        provider = LocalIndexProvider(index, write_files(tmp_path / "docs"))
        try:
            assert provider.status().available
            assert not index.parent.exists()
            assert (await best(provider, "gateway port")).title == "Ports"
            assert {"index-sample.sqlite3"} == {path.name for path in index.parent.glob("*.sqlite3")}
            detail = provider.status().detail
            assert detail.startswith(f"The sample index: this project's own docs, {len(FILES)} documents in ")
        finally:
            await provider.close()

    async def test_the_users_index_alone_is_used_once_there_is_one(self, tmp_path: Path, index: Path) -> None:
        provider = LocalIndexProvider(index, write_files(tmp_path / "docs"))
        try:
            await search(provider, "port")
            index_files(index, write_files(tmp_path / "mine", {"a.md": "# Mine\n\nA port of call."}))
            page = await search(provider, "port")
            assert [result.title for result in page.results] == ["Mine"]
            assert provider.status().detail == "1 document in 1 passage."
        finally:
            await provider.close()

    async def test_it_is_refreshed_by_the_next_process(self, tmp_path: Path, index: Path) -> None:
        folder = write_files(tmp_path / "docs")
        assert (await search_once(index, "gateway", folder)).results
        (folder / "ports.md").write_text("# Ports\n\nNone at all.")
        (folder / "new.md").write_text("# New\n\nAn aardvark.")
        assert not (await search_once(index, "gateway", folder)).results
        assert (await search_once(index, "aardvark", folder)).results

    @pytest.mark.parametrize(
        "spoil", [lambda p: p.write_bytes(b"junk" * 5000), lambda p: set_version(p, SCHEMA_VERSION + 1)]
    )
    async def test_a_spoilt_one_is_made_again(self, tmp_path: Path, index: Path, spoil: object) -> None:
        folder = write_files(tmp_path / "docs")
        await search_once(index, "gateway", folder)
        assert callable(spoil)
        spoil(index.with_name("index-sample.sqlite3"))
        assert (await search_once(index, "gateway", folder)).results

    async def test_two_services_at_once_build_it_once(self, tmp_path: Path, index: Path) -> None:
        folder = write_files(tmp_path / "docs", {f"{n}.md": f"# Part {n}\n\nThe engine." for n in range(80)})
        providers = [LocalIndexProvider(index, folder) for _ in range(3)]
        try:
            pages = await asyncio.gather(*(search(p, "engine", page_size=20) for p in providers for _ in range(3)))
        finally:
            for provider in providers:
                await provider.close()
        assert [len(page.results) for page in pages] == [20] * 9
        with IndexWriter(index.with_name("index-sample.sqlite3")) as writer:
            assert writer.stats().documents == 80

    async def test_a_search_that_runs_out_of_time_leaves_the_build_going(self, tmp_path: Path, index: Path) -> None:
        folder = write_files(tmp_path / "docs", {f"{n}.md": f"# Part {n}\n\nThe engine." for n in range(150)})
        provider = LocalIndexProvider(index, folder)
        try:
            with pytest.raises(SearchTimeout):
                await provider.search(SearchQuery("engine"), timeout_seconds=0.01)
            assert (await search(provider, "engine")).results
        finally:
            await provider.close()

    async def test_an_index_that_holds_nothing_does_not_hide_it(self, tmp_path: Path, index: Path) -> None:
        with IndexWriter(index):
            pass  # as after `groundwire index add` of a folder without documents, or after removing everything
        provider = LocalIndexProvider(index, write_files(tmp_path / "docs"))
        try:
            assert provider.status().available
            assert (await best(provider, "gateway port")).title == "Ports"
            assert provider.status().detail.startswith("The sample index")
            index_files(index, write_files(tmp_path / "mine"))
            await search(provider, "port")
            assert not provider.status().detail.startswith("The sample index")
        finally:
            await provider.close()

    async def test_an_empty_folder_is_no_sample(self, tmp_path: Path, index: Path) -> None:
        (tmp_path / "docs").mkdir()
        with pytest.raises(ProviderNotSetUp, match="groundwire index add"):
            await search_once(index, "port", tmp_path / "docs")

    async def test_where_it_cannot_be_written_the_setting_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ProviderNotSetUp, match="GROUNDWIRE_INDEX_PATH"):
            await search_once(tmp_path / "file" / "index.sqlite3", "port", write_files(tmp_path / "docs"))


def set_version(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA user_version = {version}")


async def test_the_status_follows_the_index_without_a_search(tmp_path: Path, index: Path) -> None:
    folder = write_files(tmp_path / "docs")
    index_files(index, folder)
    provider = LocalIndexProvider(index, None)
    try:
        assert provider.status().detail.startswith(f"{len(FILES)} documents in ")
        (folder / "ports.md").unlink()
        index_files(index, folder)
        deadline = time.monotonic() + 4.0
        while not provider.status().detail.startswith(f"{len(FILES) - 1} documents in "):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
    finally:
        await provider.close()
