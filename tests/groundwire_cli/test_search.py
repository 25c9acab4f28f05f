"""`groundwire search` as a real process against a scripted search service."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
from google.protobuf.duration_pb2 import Duration

from groundwire.search.v1 import search_pb2
from groundwire_rpc.status import RichStatus
from tests.support.command_line import groundwire
from tests.support.scripted_search import scripted_search

FOUND = search_pb2.SearchResponse(
    results=[
        search_pb2.SearchResult(
            rank=1,
            vertical=search_pb2.VERTICAL_WEB,
            title="Rain \x1b[2Jgauges",
            url="https://example.org/rain",
            host="example.org",
            description="How rain is measured.",
        ),
        search_pb2.SearchResult(
            rank=2,
            vertical=search_pb2.VERTICAL_LOCAL,
            title="Guide",
            location=search_pb2.Location(path="guide.md", heading="Rain"),
            host="local",
        ),
    ],
    provider=search_pb2.PROVIDER_BRAVE,
    altered_query="rain gauge",
    more_results_available=True,
    from_cache=True,
    elapsed=Duration(nanos=12_000_000),
)


async def test_results_as_a_list(tmp_path: Path) -> None:
    async with scripted_search(FOUND) as search:
        ran = await groundwire("search", "rain", "guage", folder=tmp_path, GROUNDWIRE_SEARCH_TARGET=search.target)
    assert ran.code == 0
    assert ran.stdout == (
        "  1. Rain gauges  example.org\n"
        "     https://example.org/rain\n"
        "     How rain is measured.\n"
        "  2. Guide  guide.md › Rain\n"
        "2 results from Brave (cached), searched for “rain gauge”, more with --page · 12 ms\n"
    )
    assert search.requests == [search_pb2.SearchRequest(query="rain guage")]


async def test_results_as_json(tmp_path: Path) -> None:
    async with scripted_search(FOUND) as search:
        ran = await groundwire("search", "--json", "--target", search.target, "rain", folder=tmp_path)
    assert ran.code == 0
    assert ran.stdout.count("\n") == 1
    written = json.loads(ran.stdout)
    assert [result["title"] for result in written["results"]] == ["Rain \x1b[2Jgauges", "Guide"]
    assert "\x1b" not in ran.stdout


async def test_nothing_found(tmp_path: Path) -> None:
    async with scripted_search(search_pb2.SearchResponse(provider=search_pb2.PROVIDER_LOCAL)) as search:
        ran = await groundwire("search", "--target", search.target, "rain", folder=tmp_path)
    assert ran.code == 4
    assert ran.stdout == "Nothing found from the local index · 0 ms\n"


async def test_a_service_that_is_not_set_up(tmp_path: Path) -> None:
    refusal = RichStatus(grpc.StatusCode.FAILED_PRECONDITION, "Set BRAVE_API_KEY.", reason="NO_TOKEN")
    async with scripted_search(refusal) as search:
        ran = await groundwire("search", "--target", search.target, "rain", folder=tmp_path)
    assert ran.code == 1
    assert "The search service is not set up for this.\n  Set BRAVE_API_KEY." in ran.stderr


async def test_nothing_answers(tmp_path: Path) -> None:
    ran = await groundwire("search", "rain", folder=tmp_path, GROUNDWIRE_SEARCH_LISTEN="127.0.0.1:1")
    assert ran.code == 6
    assert "`groundwire serve search`" in ran.stderr
