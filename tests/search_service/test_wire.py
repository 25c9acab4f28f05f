from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from groundwire.search.v1 import search_pb2 as pb
from groundwire_rpc.validation import InvalidFields
from search_service.core.types import (
    DateRange,
    FreshnessPreset,
    Location,
    Provider,
    ProviderStatus,
    Quota,
    SafeSearch,
    SearchAnswer,
    SearchPage,
    SearchQuery,
    SearchResult,
    ServiceStatus,
    Vertical,
)
from search_service.wire import decode_search, encode_answer, encode_status


def offending(request: pb.SearchRequest) -> list[str]:
    with pytest.raises(InvalidFields) as caught:
        decode_search(request)
    return [violation.field for violation in caught.value.violations]


def test_defaults() -> None:
    decoded = decode_search(pb.SearchRequest(query="  what\n is\tit  "))
    assert decoded.query == SearchQuery("what is it")
    assert decoded.provider is None
    assert not decoded.bypass_cache


def test_every_field() -> None:
    request = pb.SearchRequest(
        query="cats",
        page_size=20,
        page=9,
        country="kr",
        search_language="ZH-HANS",
        ui_language="ko-KR",
        safe_search=pb.SAFE_SEARCH_OFF,
        freshness=pb.Freshness(range=pb.DateRange(start="2024-02-29", end="2024-02-29")),
        verticals=[pb.VERTICAL_NEWS, pb.VERTICAL_WEB],
        extra_snippets=False,
        goggles=["$discard"],
        provider=pb.PROVIDER_LOCAL,
        bypass_cache=True,
    )
    decoded = decode_search(request)
    assert decoded.query == SearchQuery(
        "cats",
        page_size=20,
        page=9,
        country="KR",
        search_language="zh-hans",
        ui_language="ko-KR",
        safe_search=SafeSearch.OFF,
        freshness=DateRange(date(2024, 2, 29), date(2024, 2, 29)),
        verticals=(Vertical.WEB, Vertical.NEWS),
        extra_snippets=False,
        goggles=("$discard",),
    )
    assert decoded.provider is Provider.LOCAL
    assert decoded.bypass_cache


@pytest.mark.parametrize("number", list(range(1, 5)))
def test_presets(number: int) -> None:
    request = pb.SearchRequest(query="x", freshness=pb.Freshness(preset=pb.FreshnessPreset.ValueType(number)))
    assert decode_search(request).query.freshness is list(FreshnessPreset)[number - 1]


def test_the_limits_themselves_are_allowed() -> None:
    request = pb.SearchRequest(query="x" * 2_000, page_size=1, page=0, goggles=["g" * 2_048] * 3)
    assert decode_search(request).query.page_size == 1


def test_every_offending_field_is_named_at_once() -> None:
    request = pb.SearchRequest(
        query=" \n",
        page_size=0,
        page=10,
        country="x" * 65,
        search_language="x" * 65,
        ui_language="x" * 65,
        safe_search=pb.SafeSearch.ValueType(9),
        freshness=pb.Freshness(range=pb.DateRange(start="2024-02-30", end="20240101")),
        verticals=[pb.VERTICAL_WEB, pb.VERTICAL_UNSPECIFIED, pb.VERTICAL_WEB, pb.Vertical.ValueType(7)],
        goggles=["", "é" * 1_025, "ok", "ok"],
        provider=pb.Provider.ValueType(5),
    )
    assert offending(request) == [
        "query",
        "page_size",
        "page",
        "country",
        "search_language",
        "ui_language",
        "safe_search",
        "provider",
        "freshness.range.start",
        "freshness.range.end",
        "verticals[1]",
        "verticals[2]",
        "verticals[3]",
        "goggles",
        "goggles[0]",
        "goggles[1]",
    ]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.SearchRequest(), "query"),
        (pb.SearchRequest(query="x" * 2_001), "query"),
        (pb.SearchRequest(query="\u200b\x00"), "query"),
        (pb.SearchRequest(query="x", page_size=21), "page_size"),
        (pb.SearchRequest(query="x", freshness=pb.Freshness()), "freshness.period"),
        (
            pb.SearchRequest(query="x", freshness=pb.Freshness(preset=pb.FRESHNESS_PRESET_UNSPECIFIED)),
            "freshness.preset",
        ),
        (
            pb.SearchRequest(
                query="x", freshness=pb.Freshness(range=pb.DateRange(start="2024-02-02", end="2024-02-01"))
            ),
            "freshness.range.end",
        ),
    ],
)
def test_one_offending_field(request_: pb.SearchRequest, field: str) -> None:
    assert offending(request_) == [field]


@given(st.binary(max_size=200))
def test_any_message_is_decoded_or_refused(serialized: bytes) -> None:
    request = pb.SearchRequest()
    with suppress(DecodeError):
        request.ParseFromString(serialized)
    with suppress(InvalidFields):
        query = decode_search(request).query
        assert query.text
        assert 1 <= query.page_size <= 20


def test_an_answer() -> None:
    published = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    web = SearchResult(
        rank=1,
        vertical=Vertical.NEWS,
        title="T",
        host="example.org",
        url="https://example.org/",
        description="D",
        extra_snippets=("a", "b"),
        published_time=published,
        language="en",
    )
    local = SearchResult(
        rank=2, vertical=Vertical.LOCAL, title="L", host="local", location=Location("notes/a.md", "Top > Deeper")
    )
    page = SearchPage((web, local), Provider.BRAVE, altered_query="the cats", more_results_available=True)
    response = encode_answer(SearchAnswer(page, from_cache=True, elapsed_seconds=1.25))
    first, second = response.results
    assert (first.rank, first.vertical, first.title, first.url) == (1, pb.VERTICAL_NEWS, "T", "https://example.org/")
    assert (first.description, list(first.extra_snippets), first.language) == ("D", ["a", "b"], "en")
    assert first.published_time.ToDatetime(UTC) == published
    assert not first.HasField("location")
    assert not second.HasField("url")
    assert not second.HasField("published_time")
    assert (second.location.path, second.location.heading) == ("notes/a.md", "Top > Deeper")
    assert response.altered_query == "the cats"
    assert response.provider == pb.PROVIDER_BRAVE
    assert response.more_results_available
    assert response.from_cache
    assert response.elapsed.ToTimedelta() == timedelta(seconds=1.25)


def test_what_is_absent_stays_absent() -> None:
    response = encode_answer(SearchAnswer(SearchPage((), Provider.LOCAL), from_cache=False, elapsed_seconds=0))
    assert not response.HasField("altered_query")


def test_a_status() -> None:
    reset = datetime(2030, 1, 1, tzinfo=UTC)
    quota = Quota(timedelta(seconds=1), 20, 19, reset)
    brave = ProviderStatus(Provider.BRAVE, available=True, detail="Fine.", quotas=(quota,))
    message = encode_status(ServiceStatus(Provider.LOCAL, (brave,), 7), "1.2.3")
    assert (message.version, message.default_provider, message.cached_queries) == ("1.2.3", pb.PROVIDER_LOCAL, 7)
    (provider,) = message.providers
    assert (provider.provider, provider.available, provider.detail) == (pb.PROVIDER_BRAVE, True, "Fine.")
    (sent,) = provider.quotas
    assert (sent.window.seconds, sent.limit, sent.remaining) == (1, 20, 19)
    assert sent.reset_time.ToDatetime(UTC) == reset
