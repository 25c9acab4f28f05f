"""What Brave answers, read tolerantly: only a result's title and url are certain, and a wrong type is skipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from search_service.adapters.brave_params import web_count
from search_service.core.plain_text import plain_text
from search_service.core.results import MAX_EXTRA_SNIPPETS, page_of_results
from search_service.core.types import Provider, SearchPage, SearchQuery, SearchResult, Vertical
from search_service.core.urls import web_address

MAX_TITLE_CHARACTERS: Final = 500
MAX_PASSAGE_CHARACTERS: Final = 5_000
MAX_LANGUAGE_CHARACTERS: Final = 35
"""The longest language tag that RFC 5646 asks everyone to take."""
MAX_ENTRIES: Final = 100
"""Of one kind are read, of an answer that holds more: far above the 50 that Brave ever gives."""
LAST_PAGE: Final = 9
"""Brave pages no further."""


def parse_web(payload: object, query: SearchQuery) -> SearchPage:
    """An answer of /web/search: web results in Brave's preferred order, then news."""
    answer = _object(payload)
    web = _list(_object(answer.get("web")).get("results"))
    news = _list(_object(answer.get("news")).get("results"))
    about = _object(answer.get("query"))
    found: list[SearchResult] = []
    if Vertical.WEB in query.verticals:
        found += _results(_in_mixed_order(web, answer.get("mixed")), Vertical.WEB)
    if Vertical.NEWS in query.verticals:
        found += _results(news, Vertical.NEWS)
    more = about.get("more_results_available")
    return _page(query, found, about, more if isinstance(more, bool) else len(web) >= web_count(query))


def parse_news(payload: object, query: SearchQuery) -> SearchPage:
    """An answer of /news/search. It does not tell whether more follows: a full page is taken to mean it."""
    answer = _object(payload)
    raw = _list(answer.get("results"))
    return _page(query, list(_results(raw, Vertical.NEWS)), _object(answer.get("query")), len(raw) >= query.page_size)


def _page(query: SearchQuery, found: list[SearchResult], about: Mapping[object, object], more: bool) -> SearchPage:
    altered = _text(about.get("altered"), MAX_PASSAGE_CHARACTERS)
    return SearchPage(
        results=page_of_results(query, found),
        provider=Provider.BRAVE,
        altered_query=altered if altered and altered != query.text else None,
        more_results_available=more and query.page < LAST_PAGE,
    )


def _in_mixed_order(web: list[object], mixed: object) -> list[object]:
    """The web results in the order that `mixed.main` prefers, then those that it does not name."""
    order: dict[int, None] = {}
    for reference in map(_object, _list(_object(mixed).get("main"))):
        index = reference.get("index")
        if reference.get("type") == "web" and isinstance(index, int) and 0 <= index < len(web):
            order[int(index)] = None
    order.update(dict.fromkeys(range(len(web))))
    return [web[index] for index in order]


def _results(raw: list[object], vertical: Vertical) -> Iterator[SearchResult]:
    for entry in map(_object, raw[:MAX_ENTRIES]):
        title, url = entry.get("title"), entry.get("url")
        address = web_address(url) if isinstance(url, str) else None
        if address is None or not isinstance(title, str):
            continue
        extra = (_text(snippet, MAX_PASSAGE_CHARACTERS) for snippet in _list(entry.get("extra_snippets")))
        yield SearchResult(
            rank=0,  # given when the page is put together
            vertical=vertical,
            title=_text(title, MAX_TITLE_CHARACTERS) or address.host,
            host=address.host,
            url=address.url,
            description=_text(entry.get("description"), MAX_PASSAGE_CHARACTERS),
            extra_snippets=tuple(dict.fromkeys(snippet for snippet in extra if snippet))[:MAX_EXTRA_SNIPPETS],
            published_time=_time(entry.get("page_age")),
            language=_text(entry.get("language"), MAX_LANGUAGE_CHARACTERS),
        )


def _time(value: object) -> datetime | None:
    """An ISO time; one without a zone is UTC."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value.strip())
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _text(value: object, max_characters: int) -> str:
    return plain_text(value, max_characters=max_characters) if isinstance(value, str) else ""


def _object(value: object) -> Mapping[object, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
