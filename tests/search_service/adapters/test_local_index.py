"""The local provider, over real files and a real index."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from search_service.adapters.local_index import LocalIndexProvider
from search_service.core.errors import InvalidQuery, ProviderUnavailable, SearchTimeout
from search_service.core.types import (
    DateRange,
    FreshnessPreset,
    Location,
    Provider,
    SearchPage,
    SearchQuery,
    SearchResult,
    Vertical,
)
from tests.support.corpus import index_files, write_files

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indexed")
    index_files(folder / "index.sqlite3", write_files(folder / "docs"))
    return folder / "index.sqlite3"


@pytest_asyncio.fixture
async def provider(indexed: Path) -> AsyncIterator[LocalIndexProvider]:
    provider = LocalIndexProvider(indexed, None)
    yield provider
    await provider.close()


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "data" / "index.sqlite3"


def delete_index(index: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{index}{suffix}").unlink(missing_ok=True)


async def search(provider: LocalIndexProvider, text: str, **fields: object) -> SearchPage:
    query = replace(SearchQuery(text), **fields)  # type: ignore[arg-type]  # each test names real fields
    return await provider.search(query, timeout_seconds=5.0)


async def best(provider: LocalIndexProvider, text: str) -> SearchResult:
    return (await search(provider, text)).results[0]


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("What port does the gateway listen on?", "ports.md"),
        ("batching", "engine.md"),
        ("cancellation of requests", "engine.md"),
        ("CAFE opening", "notes/cafe.txt"),
        ("naive visitor", "notes/cafe.txt"),
        ("How hot is the water for coffee?", "page.html"),
        ("서울", "ko/seoul.md"),
        ("서울에서", "ko/seoul.md"),
        ("대한민국의 수도는 어디인가요?", "ko/seoul.md"),
        ("부산", "ko/seoul.md"),
        ("한강", "ko/seoul.md"),
        ("김치는 무엇으로 만드나요?", "ko/kimchi.md"),
        ("東京", "ja/tokyo.md"),
        ("日本の首都はどこですか", "ja/tokyo.md"),
        ("東京の人口は何人ですか", "ja/tokyo.md"),
        ("北京", "zh/beijing.md"),
        ("中国的首都是什么？", "zh/beijing.md"),
        ("长城在哪里", "zh/beijing.md"),
        ("最大的城市", "zh/beijing.md"),
    ],
)
async def test_a_question_finds_its_document(provider: LocalIndexProvider, query: str, path: str) -> None:
    result = await best(provider, query)
    assert result.location is not None
    assert result.location.path == path


async def test_a_result_is_whole(provider: LocalIndexProvider, indexed: Path) -> None:
    page = await search(provider, "Which port is the gateway's?")
    result = page.results[0]
    assert page.provider is Provider.LOCAL
    assert page.altered_query is None
    assert (result.rank, result.vertical, result.url, result.host) == (1, Vertical.LOCAL, None, "local")
    assert result.title == "Ports"
    assert result.location == Location("ports.md", "Ports > Gateway")
    assert result.description == "The gateway listens on port 50051. It is the only port that callers need."
    changed = (indexed.parent / "docs" / "ports.md").stat().st_mtime
    assert result.published_time == datetime.fromtimestamp(int(changed), UTC)


async def test_navigation_is_not_searched(provider: LocalIndexProvider) -> None:
    assert (await search(provider, "zebra")).results == ()


@pytest.mark.parametrize("query", ["xylophone", "!?", "🙂", '"', "\x00", "the of and"])
async def test_nothing_found_is_an_empty_page(provider: LocalIndexProvider, query: str) -> None:
    page = await search(provider, query)
    assert all(r.location and r.location.path for r in page.results)
    if query != "the of and":
        assert page == SearchPage((), Provider.LOCAL)


async def test_goggles_are_refused_by_name(provider: LocalIndexProvider) -> None:
    with pytest.raises(InvalidQuery) as refused:
        await search(provider, "port", goggles=("https://example.org/a.goggle",))
    assert [field for field, _ in refused.value.violations] == ["goggles"]


async def test_pages_follow_each_other_without_overlap(tmp_path: Path, index: Path) -> None:
    files = {f"{n:02}.md": f"# Note {n}\n\nThe engine of note {n}." for n in range(25)}
    index_files(index, write_files(tmp_path / "docs", files))
    provider = LocalIndexProvider(index, None)
    try:
        pages = [await search(provider, "engine", page_size=10, page=n) for n in range(4)]
        last = await search(provider, "engine", page_size=2, page=9)
    finally:
        await provider.close()
    assert [len(page.results) for page in pages] == [10, 10, 5, 0]
    assert [page.more_results_available for page in pages] == [True, True, False, False]
    results = [result for page in pages for result in page.results]
    assert [result.rank for result in results] == list(range(1, 26))
    assert len({result.location for result in results}) == 25
    assert (len(last.results), last.more_results_available) == (2, False)


async def test_freshness_is_the_files_modification_time(tmp_path: Path, index: Path) -> None:
    folder = write_files(tmp_path / "docs", {f"{n}.md": f"# {n}\n\nengine" for n in ("hour", "week", "last year")})
    times = {"hour": NOW.timestamp() - 3600, "week": NOW.timestamp() - 6 * 86_400, "last year": NOW.timestamp() - 3e7}
    for name, seconds in times.items():
        os.utime(folder / f"{name}.md", (seconds, seconds))
    index_files(index, folder)
    provider = LocalIndexProvider(index, None, now=lambda: NOW)

    async def titles(freshness: FreshnessPreset | DateRange) -> set[str]:
        return {result.title for result in (await search(provider, "engine", freshness=freshness)).results}

    try:
        assert await titles(FreshnessPreset.PAST_DAY) == {"hour"}
        assert await titles(FreshnessPreset.PAST_WEEK) == {"hour", "week"}
        assert await titles(FreshnessPreset.PAST_YEAR) == {"hour", "week", "last year"}
        assert await titles(DateRange(date(2026, 6, 9), date(2026, 6, 9))) == {"week"}
        assert await titles(DateRange(date(2026, 6, 10), date(2026, 6, 14))) == set()
        assert await titles(DateRange(date.min, date.max)) == {"hour", "week", "last year"}
    finally:
        await provider.close()


async def test_long_sections_give_extra_snippets(tmp_path: Path, index: Path) -> None:
    paragraphs = [f"The engine has gear {n}. " + f"Gear {n} turns slowly. " * 40 for n in range(6)]
    index_files(index, write_files(tmp_path / "docs", {"a.md": "# Gears\n\n" + "\n\n".join(paragraphs)}))
    provider = LocalIndexProvider(index, None)
    try:
        (with_extras,) = (await search(provider, "engine")).results
        (without,) = (await search(provider, "engine", extra_snippets=False)).results
    finally:
        await provider.close()
    assert len(with_extras.extra_snippets) == 2
    assert all("engine has gear" in text for text in (with_extras.description, *with_extras.extra_snippets))
    assert without.extra_snippets == ()
    assert without.description == with_extras.description


async def test_new_content_is_found_without_a_restart(tmp_path: Path, index: Path) -> None:
    index_files(index, write_files(tmp_path / "docs"))
    provider = LocalIndexProvider(index, None)
    try:
        assert not (await search(provider, "aardvark")).results
        (tmp_path / "docs" / "new.md").write_text("# New\n\nAn aardvark.")
        index_files(index, tmp_path / "docs")
        assert (await best(provider, "aardvark")).title == "New"
        delete_index(index)  # replaced by another file, not only changed
        index_files(index, write_files(tmp_path / "other", {"b.md": "# Other\n\nA bumblebee."}))
        assert not (await search(provider, "aardvark")).results
        assert (await best(provider, "bumblebee")).title == "Other"
    finally:
        await provider.close()


async def test_searches_go_on_while_files_are_added(tmp_path: Path, index: Path) -> None:
    index_files(index, write_files(tmp_path / "docs"))
    more = write_files(tmp_path / "more", {f"{n}.md": f"# Gateway {n}\n\n" + "A gateway. " * 60 for n in range(150)})
    adding = threading.Thread(target=index_files, args=(index, more))
    provider = LocalIndexProvider(index, None)
    try:
        adding.start()
        searches = 0
        while adding.is_alive() or searches == 0:
            page = await search(provider, "loopback address")
            assert [r.title for r in page.results] == ["Ports"]
            searches += 1
        assert len((await search(provider, "gateway", page_size=20)).results) == 20
    finally:
        adding.join()
        await provider.close()


async def test_the_deadline_ends_a_search_inside_sqlite(tmp_path: Path, index: Path) -> None:
    words = [f"w{n}" for n in range(64)]
    text = "# Words\n\n" + "\n\n".join(" ".join(words[n:] + words[:n]) for n in range(64))
    index_files(index, write_files(tmp_path / "docs", {f"{n}.md": text for n in range(100)}))
    provider = LocalIndexProvider(index, None)
    try:
        query = SearchQuery(" ".join(words))
        started = time.monotonic()
        whole = await provider.search(query, timeout_seconds=30)
        whole_seconds = time.monotonic() - started
        assert whole.results
        timeout_seconds = min(0.02, whole_seconds / 8)
        stopped_seconds = []
        for _ in range(5):  # the shortest of several: a busy machine may stall any of them
            started = time.monotonic()
            with pytest.raises(SearchTimeout):
                await provider.search(query, timeout_seconds=timeout_seconds)
            await provider.close()  # waits for the thread, which must have given up
            stopped_seconds.append(time.monotonic() - started)
            provider = LocalIndexProvider(index, None)
    finally:
        await provider.close()
    assert min(stopped_seconds) < whole_seconds


async def test_a_cancelled_search_leaves_nothing_running(provider: LocalIndexProvider) -> None:
    for _ in range(20):
        task = asyncio.create_task(search(provider, "gateway port"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await search(provider, "gateway port")).results


async def test_no_time_at_all_is_a_timeout(provider: LocalIndexProvider) -> None:
    with pytest.raises(SearchTimeout):
        await provider.search(SearchQuery("port"), timeout_seconds=0.0)


async def test_many_searches_at_once(provider: LocalIndexProvider) -> None:
    pages = await asyncio.gather(*(search(provider, "서울" if n % 2 else "gateway port") for n in range(40)))
    assert len(set(pages)) == 2


async def test_after_close_it_refuses(indexed: Path) -> None:
    provider = LocalIndexProvider(indexed, None)
    await provider.close()
    await provider.close()
    with pytest.raises(ProviderUnavailable):
        await search(provider, "port")
    assert provider.status().available
