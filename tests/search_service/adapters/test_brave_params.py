from __future__ import annotations

from datetime import date

import pytest

from search_service.adapters.brave_params import COUNTRIES, BraveRequest, brave_request
from search_service.core.errors import InvalidQuery
from search_service.core.types import DateRange, FreshnessPreset, SafeSearch, SearchQuery, Vertical

PLAIN = (("q", "cats"), ("count", "10"), ("offset", "0"), ("safesearch", "moderate"), ("spellcheck", "true"))
WEB_ONLY = (("text_decorations", "false"), ("result_filter", "web,query"))


def test_a_plain_query() -> None:
    assert brave_request(SearchQuery("cats"), extra_snippets=False) == BraveRequest("/web/search", PLAIN + WEB_ONLY)


def test_every_parameter() -> None:
    query = SearchQuery(
        "cats",
        page_size=7,
        page=9,
        country="kr",
        search_language="ZH-Hans",
        ui_language="ko-kr",
        safe_search=SafeSearch.STRICT,
        freshness=DateRange(date(2024, 1, 2), date(2024, 3, 4)),
        goggles=("$discard", "https://example.org/a.goggle"),
    )
    assert brave_request(query, extra_snippets=True).params == (
        ("q", "cats"),
        ("count", "7"),
        ("offset", "9"),
        ("safesearch", "strict"),
        ("spellcheck", "true"),
        ("country", "KR"),
        ("search_lang", "zh-hans"),
        ("ui_lang", "ko-KR"),
        ("freshness", "2024-01-02to2024-03-04"),
        ("extra_snippets", "true"),
        ("goggles", "$discard"),
        ("goggles", "https://example.org/a.goggle"),
        *WEB_ONLY,
    )


@pytest.mark.parametrize(
    ("preset", "code"),
    list(zip(FreshnessPreset, ("pd", "pw", "pm", "py"), strict=True)),
)
def test_freshness_presets(preset: FreshnessPreset, code: str) -> None:
    assert ("freshness", code) in brave_request(SearchQuery("x", freshness=preset), extra_snippets=False).params


def test_news_alone_is_asked_of_the_news_endpoint() -> None:
    query = SearchQuery("cats", verticals=(Vertical.NEWS,))
    assert brave_request(query, extra_snippets=False) == BraveRequest("/news/search", PLAIN)


@pytest.mark.parametrize(("page_size", "count"), [(1, "1"), (3, "3"), (10, "8"), (20, "15")])
def test_both_are_one_call_that_leaves_room_for_news(page_size: int, count: str) -> None:
    query = SearchQuery("cats", page_size=page_size, verticals=(Vertical.WEB, Vertical.NEWS))
    request = brave_request(query, extra_snippets=False)
    assert request.path == "/web/search"
    assert dict(request.params)["result_filter"] == "web,news,query"
    assert dict(request.params)["count"] == count


def test_every_offending_field_is_named() -> None:
    query = SearchQuery(
        "w " * 199 + "long",
        country="XX",
        search_language="ja",
        ui_language="en",
        verticals=(Vertical.WEB, Vertical.LOCAL),
    )
    with pytest.raises(InvalidQuery) as caught:
        brave_request(query, extra_snippets=True)
    assert [field for field, _ in caught.value.violations] == [
        "query",
        "query",
        "country",
        "search_language",
        "ui_language",
        "verticals",
    ]
    assert "402 characters" in caught.value.violations[0][1]
    assert "200 words" in caught.value.violations[1][1]
    assert "spells this one jp" in caught.value.violations[3][1]


def test_the_limits_themselves_are_allowed() -> None:
    brave_request(SearchQuery("x" * 400), extra_snippets=False)
    brave_request(SearchQuery(" ".join(["w"] * 50)), extra_snippets=False)


def test_there_are_37_countries_and_all() -> None:
    assert len(COUNTRIES) == 38
