from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.adapters.search_client import GRPC_SERVICE, decode_findings, encode_query, question_field
from gateway.core.types import (
    DateRange,
    FoundResult,
    FreshnessPreset,
    Location,
    Provider,
    SafeSearch,
    SearchOptions,
    SourceQuery,
    Vertical,
)
from groundwire.search.v1 import search_pb2 as pb


def test_a_plain_query_leaves_every_choice_to_the_service() -> None:
    assert encode_query(SourceQuery("why", 10, SearchOptions())) == pb.SearchRequest(query="why", page_size=10)


def test_every_option_is_passed_on() -> None:
    options = SearchOptions(
        provider=Provider.LOCAL,
        country="AT",
        search_language="de",
        safe_search=SafeSearch.STRICT,
        freshness=DateRange(date(2024, 1, 2), date(2024, 1, 3)),
        verticals=(Vertical.NEWS, Vertical.WEB),
        goggles=("a", "b"),
        bypass_cache=True,
    )
    assert encode_query(SourceQuery("why", 3, options)) == pb.SearchRequest(
        query="why",
        page_size=3,
        country="AT",
        search_language="de",
        safe_search=pb.SAFE_SEARCH_STRICT,
        freshness=pb.Freshness(range=pb.DateRange(start="2024-01-02", end="2024-01-03")),
        verticals=[pb.VERTICAL_NEWS, pb.VERTICAL_WEB],
        goggles=["a", "b"],
        provider=pb.PROVIDER_LOCAL,
        bypass_cache=True,
    )


def test_every_value_has_its_namesake() -> None:
    for preset in FreshnessPreset:
        request = encode_query(SourceQuery("q", 1, SearchOptions(freshness=preset)))
        assert pb.FreshnessPreset.Name(request.freshness.preset) == f"FRESHNESS_PRESET_{preset.name}"
    for level in SafeSearch:
        request = encode_query(SourceQuery("q", 1, SearchOptions(safe_search=level)))
        assert pb.SafeSearch.Name(request.safe_search) == f"SAFE_SEARCH_{level.name}"
    for provider in Provider:
        request = encode_query(SourceQuery("q", 1, SearchOptions(provider=provider)))
        assert pb.Provider.Name(request.provider) == f"PROVIDER_{provider.name}"


def test_results_are_read_whole() -> None:
    response = pb.SearchResponse(
        results=[
            pb.SearchResult(
                title="T",
                url="https://example.org",
                host="example.org",
                description="D",
                extra_snippets=["E"],
                published_time=Timestamp(seconds=86_400),
            ),
            pb.SearchResult(title="L", host="local", location=pb.Location(path="a.md", heading="A")),
        ],
        provider=pb.PROVIDER_LOCAL,
        altered_query="",
        from_cache=True,
    )
    findings = decode_findings(response)
    assert findings.results == (
        FoundResult("T", "example.org", "D", ("E",), "https://example.org", None, datetime(1970, 1, 2, tzinfo=UTC)),
        FoundResult("L", "local", location=Location("a.md", "A")),
    )
    assert (findings.provider, findings.altered_query, findings.from_cache) == (Provider.LOCAL, "", True)
    assert decode_findings(pb.SearchResponse()).altered_query is None


def test_an_address_that_is_not_of_the_web_and_an_impossible_time_are_dropped() -> None:
    result = pb.SearchResult(title="T", url="javascript:alert(1)", published_time=Timestamp(seconds=10**14))
    (found,) = decode_findings(pb.SearchResponse(results=[result])).results
    assert (found.url, found.published_time) == (None, None)


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("query", "question"),
        ("freshness.range.end", "freshness.range.end"),
        ("verticals[1]", "verticals[1]"),
        ("goggles[0]", "goggles[0]"),
        ("page_size", "search.page_size"),
    ],
)
def test_fields_are_named_as_the_caller_knows_them(field: str, told: str) -> None:
    assert question_field(field) == told


def test_the_service_has_its_full_name() -> None:
    assert GRPC_SERVICE == "groundwire.search.v1.SearchService"
