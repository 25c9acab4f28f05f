"""From what a provider found to a page of results: duplicates merged, order kept, ranks given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from search_service.core.types import SearchQuery, SearchResult
from search_service.core.urls import web_address

MAX_EXTRA_SNIPPETS: Final = 5
"""The contract's limit for one result."""


def page_of_results(query: SearchQuery, found: Iterable[SearchResult]) -> tuple[SearchResult, ...]:
    """The results of one page: merged, at most page_size, ranked from page × page_size + 1."""
    merged = merge_duplicates(found)[: query.page_size]
    first = query.page * query.page_size + 1
    return tuple(replace(result, rank=rank) for rank, result in enumerate(merged, start=first))


def merge_duplicates(found: Iterable[SearchResult]) -> list[SearchResult]:
    """Results of one address become one, where the first stood. Results without a url are left as they are."""
    merged: dict[str, SearchResult] = {}
    for position, result in enumerate(found):
        address = web_address(result.url) if result.url else None
        key = address.key if address else f"\n{position}"
        known = merged.get(key)
        merged[key] = result if known is None else _merge(known, result)
    return list(merged.values())


def _merge(first: SearchResult, other: SearchResult) -> SearchResult:
    description = first.description or other.description
    passages = dict.fromkeys((*first.extra_snippets, other.description, *other.extra_snippets))
    extra = tuple(passage for passage in passages if passage and passage != description)
    upgrade = other.url and other.url.startswith("https:") and not (first.url or "").startswith("https:")
    return replace(
        first,
        url=other.url if upgrade else first.url,
        description=description,
        extra_snippets=extra[:MAX_EXTRA_SNIPPETS],
        published_time=first.published_time or other.published_time,
        language=first.language or other.language,
    )
