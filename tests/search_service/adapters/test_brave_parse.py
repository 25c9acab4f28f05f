from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_service.adapters.brave_parse import MAX_ENTRIES, parse_news, parse_web
from search_service.core.types import SearchPage, SearchQuery, Vertical
from tests.support.brave_stand_in import WRONG_TYPES

QUERY = SearchQuery("cats")
BOTH = SearchQuery("cats", verticals=(Vertical.WEB, Vertical.NEWS))


def entry(n: int, **fields: object) -> dict[str, object]:
    return {"title": f"T{n}", "url": f"https://www.example.org/{n}", **fields}


def web(*entries: object, **rest: object) -> SearchPage:
    return parse_web({"web": {"results": list(entries)}, **rest}, QUERY)


def test_an_endless_list_is_not_read_to_its_end() -> None:
    nothing = [entry(n, title=None) for n in range(MAX_ENTRIES)]
    assert not web(*nothing, entry(1)).results


def test_every_field() -> None:
    page = web(
        entry(
            1,
            title="<strong>Cats</strong> &amp; dogs",
            description="It isn&#x27;t <b>so</b>.",
            extra_snippets=["a <i>b</i>", "", 5, "a b", "c"],
            page_age="2024-01-15T14:30:00",
            language="en",
        ),
        query={"original": "cats", "altered": "cats &amp; dogs", "more_results_available": True},
    )
    (found,) = page.results
    assert (found.rank, found.vertical, found.title, found.host) == (1, Vertical.WEB, "Cats & dogs", "example.org")
    assert found.description == "It isn't so."
    assert found.extra_snippets == ("a b", "c")
    assert found.published_time == datetime(2024, 1, 15, 14, 30, tzinfo=UTC)
    assert found.language == "en"
    assert page.altered_query == "cats & dogs"
    assert page.more_results_available


def test_only_what_is_certain() -> None:
    (found,) = web(entry(1)).results
    assert (found.description, found.extra_snippets, found.published_time, found.language) == ("", (), None, "")


def test_wrong_types_are_skipped() -> None:
    page = parse_web(WRONG_TYPES, QUERY)
    assert [(found.title, found.url) for found in page.results] == [
        ("example.org", "https://www.example.org/untitled"),
        ("Fine", "https://example.org/fine"),
    ]
    assert page.altered_query is None
    assert not page.more_results_available


@pytest.mark.parametrize("infobox", [{"title": "Cat"}, [{"title": "Cat"}], {"results": [{"title": "Cat"}]}])
def test_an_infobox_of_any_shape_does_no_harm(infobox: object) -> None:
    assert len(web(entry(1), infobox=infobox).results) == 1


def test_mixed_order_is_kept_and_the_rest_follows() -> None:
    main = [{"type": "web", "index": 2}, {"type": "videos", "all": True}, {"type": "web", "index": 0}]
    page = web(entry(0), entry(1), entry(2), mixed={"main": main})
    assert [found.title for found in page.results] == ["T2", "T0", "T1"]
    assert [found.rank for found in page.results] == [1, 2, 3]


def test_news_follows_the_web_and_only_what_was_asked_comes() -> None:
    payload = {"web": {"results": [entry(1), entry(2)]}, "news": {"results": [entry(2), entry(3)]}}
    page = parse_web(payload, BOTH)
    assert [(found.title, found.vertical) for found in page.results] == [
        ("T1", Vertical.WEB),
        ("T2", Vertical.WEB),
        ("T3", Vertical.NEWS),
    ]
    assert [found.title for found in parse_web(payload, QUERY).results] == ["T1", "T2"]


def test_duplicates_are_merged() -> None:
    page = web(
        entry(1, url="http://example.org/a", description="One."),
        entry(2, url="https://example.org/a/#x", description="Two."),
    )
    (found,) = page.results
    assert (found.title, found.url) == ("T1", "https://example.org/a/#x")
    assert (found.description, found.extra_snippets) == ("One.", ("Two.",))


def test_ranks_count_over_pages() -> None:
    page = parse_news({"results": [entry(n) for n in range(5)]}, SearchQuery("x", page_size=5, page=2))
    assert [found.rank for found in page.results] == [11, 12, 13, 14, 15]


@pytest.mark.parametrize(
    ("count", "page", "more"),
    [(10, 0, True), (9, 0, False), (10, 9, False), (0, 0, False)],
)
def test_a_full_page_of_news_means_more(count: int, page: int, more: bool) -> None:
    query = SearchQuery("x", page=page, verticals=(Vertical.NEWS,))
    assert parse_news({"results": [entry(n) for n in range(count)]}, query).more_results_available is more


def test_there_is_nothing_after_the_last_page() -> None:
    payload = {"query": {"more_results_available": True}, "web": {"results": [entry(1)]}}
    assert not parse_web(payload, SearchQuery("x", page=9)).more_results_available


@pytest.mark.parametrize(
    ("page_age", "expected"),
    [
        ("2024-01-15T14:30:00Z", datetime(2024, 1, 15, 14, 30, tzinfo=UTC)),
        ("2024-01-15T14:30:00+02:00", datetime(2024, 1, 15, 12, 30, tzinfo=UTC)),
        ("2024-01-15", datetime(2024, 1, 15, tzinfo=UTC)),
        ("3 days ago", None),
        ("0001-01-01T00:00:00+14:00", None),
        (1_700_000_000, None),
    ],
)
def test_times(page_age: object, expected: datetime | None) -> None:
    (found,) = web(entry(1, page_age=page_age)).results
    assert found.published_time == expected


NAMES = """
web news results title url description extra_snippets page_age language query altered mixed main type index
"""
KEYS = st.sampled_from(NAMES.split())
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["https://example.org/", "web"]),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text() | KEYS, children, max_size=6),
    max_leaves=25,
)


def shaped(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Arbitrary JSON where results are expected."""
    results = st.fixed_dictionaries(
        {}, optional={"results": st.lists(st.dictionaries(KEYS, inner, max_size=8), max_size=5)}
    )
    return st.fixed_dictionaries(
        {}, optional={"web": results, "news": results, "query": inner, "mixed": inner, "results": inner}
    )


@given(st.one_of(JSON, shaped(JSON)))
def test_any_json_is_read_without_harm(payload: object) -> None:
    json.dumps(payload)
    for page in (parse_web(payload, BOTH), parse_news(payload, QUERY)):
        assert len(page.results) <= 10
        for rank, found in enumerate(page.results, start=1):
            assert found.rank == rank
            assert found.title
            assert found.url
            assert found.url.startswith(("http://", "https://"))
            for text in (found.title, found.host, found.description, found.language, *found.extra_snippets):
                text.encode()
                assert "\n" not in text
