from __future__ import annotations

from datetime import UTC, datetime

from search_service.core.results import merge_duplicates, page_of_results
from search_service.core.types import SearchQuery, SearchResult, Vertical


def result(url: str | None, title: str = "Title", **fields: object) -> SearchResult:
    return SearchResult(rank=0, vertical=Vertical.WEB, title=title, host="example.org", url=url, **fields)  # type: ignore[arg-type]


def test_duplicates_are_merged_where_the_first_stood() -> None:
    published = datetime(2024, 1, 1, tzinfo=UTC)
    first = result("http://example.org/a?utm_source=x", "First", description="One.", extra_snippets=("Two.",))
    other = result("https://example.org/b", "Other")
    again = result(
        "https://example.org/a/",
        "Again",
        description="Three.",
        extra_snippets=("Two.", "One.", "Four."),
        published_time=published,
        language="en",
    )
    assert merge_duplicates([first, other, again]) == [
        result(
            "https://example.org/a/",
            "First",
            description="One.",
            extra_snippets=("Two.", "Three.", "Four."),
            published_time=published,
            language="en",
        ),
        other,
    ]


def test_at_most_five_extra_snippets_and_no_empty_one() -> None:
    one = result("https://example.org/", extra_snippets=("a", "b", "c"))
    two = result("https://example.org/", description="d", extra_snippets=("e", "f", "g"))
    (merged,) = merge_duplicates([one, two])
    assert merged.description == "d"
    assert merged.extra_snippets == ("a", "b", "c", "e", "f")


def test_results_without_a_url_stay_apart() -> None:
    assert len(merge_duplicates([result(None), result(None)])) == 2


def test_ranks_go_on_over_pages_and_the_page_is_bounded() -> None:
    query = SearchQuery("x", page_size=2, page=3)
    found = [result(f"https://example.org/{n}") for n in range(5)]
    assert [(r.rank, r.url) for r in page_of_results(query, found)] == [
        (7, "https://example.org/0"),
        (8, "https://example.org/1"),
    ]
