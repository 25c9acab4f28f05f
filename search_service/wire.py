"""Between the contract's messages and the core's types: pure functions, nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from groundwire.search.v1 import search_pb2 as pb
from groundwire_rpc.validation import FieldChecks
from search_service.core.plain_text import one_line
from search_service.core.types import (
    DateRange,
    FreshnessPreset,
    Provider,
    ProviderStatus,
    Quota,
    SafeSearch,
    SearchAnswer,
    SearchQuery,
    SearchResult,
    ServiceStatus,
    Vertical,
)

MAX_QUERY_CHARACTERS: Final = 2_000
MAX_PAGE_SIZE: Final = 20
MAX_PAGE: Final = 9
MAX_GOGGLES: Final = 3
MAX_GOGGLE_BYTES: Final = 2_048
MAX_CODE_CHARACTERS: Final = 64
"""Of a country or language. Which ones exist is the provider's to say."""
DEFAULT_PAGE_SIZE: Final = 10

_PROVIDERS: Final[Mapping[int, Provider]] = {pb.PROVIDER_BRAVE: Provider.BRAVE, pb.PROVIDER_LOCAL: Provider.LOCAL}
_VERTICALS: Final[Mapping[int, Vertical]] = {
    pb.VERTICAL_WEB: Vertical.WEB,
    pb.VERTICAL_NEWS: Vertical.NEWS,
    pb.VERTICAL_LOCAL: Vertical.LOCAL,
}
_SAFE_SEARCH: Final[Mapping[int, SafeSearch]] = {
    pb.SAFE_SEARCH_UNSPECIFIED: SafeSearch.MODERATE,
    pb.SAFE_SEARCH_OFF: SafeSearch.OFF,
    pb.SAFE_SEARCH_MODERATE: SafeSearch.MODERATE,
    pb.SAFE_SEARCH_STRICT: SafeSearch.STRICT,
}
_PRESETS: Final[Mapping[int, FreshnessPreset]] = {
    pb.FRESHNESS_PRESET_PAST_DAY: FreshnessPreset.PAST_DAY,
    pb.FRESHNESS_PRESET_PAST_WEEK: FreshnessPreset.PAST_WEEK,
    pb.FRESHNESS_PRESET_PAST_MONTH: FreshnessPreset.PAST_MONTH,
    pb.FRESHNESS_PRESET_PAST_YEAR: FreshnessPreset.PAST_YEAR,
}
_PROVIDER_NUMBERS: Final = {
    Provider.BRAVE: pb.PROVIDER_BRAVE,
    Provider.LOCAL: pb.PROVIDER_LOCAL,
}
_VERTICAL_NUMBERS: Final = {
    Vertical.WEB: pb.VERTICAL_WEB,
    Vertical.NEWS: pb.VERTICAL_NEWS,
    Vertical.LOCAL: pb.VERTICAL_LOCAL,
}
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class DecodedSearch:
    """A SearchRequest that keeps to the contract's limits."""

    query: SearchQuery
    provider: Provider | None
    bypass_cache: bool


def decode_search(request: pb.SearchRequest) -> DecodedSearch:
    """The query a request asks. Raises InvalidFields that names every offending field."""
    check = FieldChecks()
    text = one_line(request.query)
    if check.characters("query", request.query, low=1, high=MAX_QUERY_CHARACTERS) and not text:
        check.add("query", "has no visible characters")
    page_size = request.page_size if request.HasField("page_size") else DEFAULT_PAGE_SIZE
    check.number("page_size", page_size, low=1, high=MAX_PAGE_SIZE)
    check.number("page", request.page, low=0, high=MAX_PAGE)
    for field in ("country", "search_language", "ui_language"):
        check.characters(field, getattr(request, field), high=MAX_CODE_CHARACTERS)
    check.known_enum("safe_search", request.safe_search, tuple(_SAFE_SEARCH))
    check.known_enum("provider", request.provider, (pb.PROVIDER_UNSPECIFIED, *_PROVIDERS))
    freshness = _freshness(request.freshness, check) if request.HasField("freshness") else None
    verticals = _verticals(request.verticals, check)
    check.count("goggles", len(request.goggles), high=MAX_GOGGLES)
    for position, goggle in enumerate(request.goggles):
        check.utf8_bytes(f"goggles[{position}]", goggle, low=1, high=MAX_GOGGLE_BYTES)
    check.done()
    query = SearchQuery(
        text=text,
        page_size=page_size,
        page=request.page,
        country=request.country.strip().upper(),
        search_language=request.search_language.strip().lower(),
        ui_language=request.ui_language.strip(),
        safe_search=_SAFE_SEARCH[request.safe_search],
        freshness=freshness,
        verticals=verticals,
        extra_snippets=request.extra_snippets if request.HasField("extra_snippets") else True,
        goggles=tuple(request.goggles),
    )
    return DecodedSearch(query, _PROVIDERS.get(request.provider), request.bypass_cache)


def encode_answer(answer: SearchAnswer) -> pb.SearchResponse:
    """The response to one query."""
    page = answer.page
    response = pb.SearchResponse(
        results=[_result(result) for result in page.results],
        altered_query=page.altered_query,
        more_results_available=page.more_results_available,
        provider=_PROVIDER_NUMBERS[page.provider],
        from_cache=answer.from_cache,
    )
    response.elapsed.FromNanoseconds(max(0, round(answer.elapsed_seconds * 1e9)))
    return response


def encode_status(status: ServiceStatus, version: str) -> pb.GetStatusResponse:
    """The state of the service."""
    return pb.GetStatusResponse(
        version=version,
        default_provider=_PROVIDER_NUMBERS[status.default_provider],
        providers=[_provider_status(provider) for provider in status.providers],
        cached_queries=status.cached_queries,
        running_searches=status.running_searches,
        max_searches=status.max_searches,
    )


def _verticals(numbers: Sequence[int], check: FieldChecks) -> tuple[Vertical, ...]:
    """In the order of the enum, so that the order of a request does not matter to the cache."""
    for position, number in enumerate(numbers):
        field = f"verticals[{position}]"
        if check.known_enum(field, number, tuple(_VERTICALS), required=True) and number in numbers[:position]:
            check.add(field, "is there twice")
    return tuple(vertical for number, vertical in _VERTICALS.items() if number in numbers) or (Vertical.WEB,)


def _freshness(freshness: pb.Freshness, check: FieldChecks) -> FreshnessPreset | DateRange | None:
    match freshness.WhichOneof("period"):
        case "preset":
            check.known_enum("freshness.preset", freshness.preset, tuple(_PRESETS), required=True)
            return _PRESETS.get(freshness.preset)
        case "range":
            start = _day("freshness.range.start", freshness.range.start, check)
            end = _day("freshness.range.end", freshness.range.end, check)
            if start is None or end is None:
                return None
            if end < start:
                check.add("freshness.range.end", f"is before start; it must be {start} or later")
            return DateRange(start, end)
        case None:
            check.add("freshness.period", "must be a preset or a range")
    return None


def _day(field: str, text: str, check: FieldChecks) -> date | None:
    if _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:  # such as the 31st of February
            pass
    check.add(field, "must be a calendar day as YYYY-MM-DD")
    return None


def _result(result: SearchResult) -> pb.SearchResult:
    location = result.location
    return pb.SearchResult(
        rank=result.rank,
        vertical=_VERTICAL_NUMBERS[result.vertical],
        title=result.title,
        url=result.url,
        location=pb.Location(path=location.path, heading=location.heading) if location else None,
        description=result.description,
        extra_snippets=result.extra_snippets,
        host=result.host,
        published_time=_timestamp(result.published_time) if result.published_time else None,
        language=result.language,
    )


def _provider_status(status: ProviderStatus) -> pb.ProviderStatus:
    return pb.ProviderStatus(
        provider=_PROVIDER_NUMBERS[status.provider],
        available=status.available,
        detail=status.detail,
        quotas=[_quota(quota) for quota in status.quotas],
    )


def _quota(quota: Quota) -> pb.Quota:
    message = pb.Quota(limit=quota.limit, remaining=quota.remaining, reset_time=_timestamp(quota.reset_time))
    message.window.FromTimedelta(quota.window)
    return message


def _timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment.astimezone(UTC))
    return stamp
