"""The search service as a finder of sources. The mapping to its contract lives here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import grpc

from gateway.adapters.backends import Backend
from gateway.core.ports import Metadata
from gateway.core.types import (
    DateRange,
    Findings,
    FoundResult,
    FreshnessPreset,
    Location,
    Provider,
    SafeSearch,
    SourceQuery,
    Vertical,
)
from groundwire.search.v1 import search_pb2, search_pb2_grpc

SEARCH: Final = "search"
"""The service's name."""

GRPC_SERVICE: Final = search_pb2.DESCRIPTOR.services_by_name["SearchService"].full_name

_PROVIDERS: Final = {
    Provider.BRAVE: search_pb2.PROVIDER_BRAVE,
    Provider.LOCAL: search_pb2.PROVIDER_LOCAL,
}
_PROVIDERS_BACK: Final = {number: provider for provider, number in _PROVIDERS.items()}
_VERTICALS: Final = {
    Vertical.WEB: search_pb2.VERTICAL_WEB,
    Vertical.NEWS: search_pb2.VERTICAL_NEWS,
}
_SAFE_SEARCHES: Final = {
    None: search_pb2.SAFE_SEARCH_UNSPECIFIED,
    SafeSearch.OFF: search_pb2.SAFE_SEARCH_OFF,
    SafeSearch.MODERATE: search_pb2.SAFE_SEARCH_MODERATE,
    SafeSearch.STRICT: search_pb2.SAFE_SEARCH_STRICT,
}
_FRESHNESS_PRESETS: Final = {
    FreshnessPreset.PAST_DAY: search_pb2.FRESHNESS_PRESET_PAST_DAY,
    FreshnessPreset.PAST_WEEK: search_pb2.FRESHNESS_PRESET_PAST_WEEK,
    FreshnessPreset.PAST_MONTH: search_pb2.FRESHNESS_PRESET_PAST_MONTH,
    FreshnessPreset.PAST_YEAR: search_pb2.FRESHNESS_PRESET_PAST_YEAR,
}


class SearchClient:
    """A SourceFinder over a channel to the search service. The caller closes the channel."""

    def __init__(self, channel: grpc.aio.Channel, backend: Backend) -> None:
        self._backend = backend
        self._stub = search_pb2_grpc.SearchServiceStub(channel)

    async def find(self, query: SourceQuery, *, timeout_seconds: float, metadata: Metadata) -> Findings:
        """Search once. Raises BackendFailed."""
        try:
            response = await self._stub.Search(
                encode_query(query), timeout=timeout_seconds, metadata=metadata, wait_for_ready=False
            )
        except grpc.aio.AioRpcError as error:
            raise self._backend.failed(error, map_field=question_field) from None
        return decode_findings(response)


def encode_query(query: SourceQuery) -> search_pb2.SearchRequest:
    """The request for a query."""
    options = query.options
    return search_pb2.SearchRequest(
        query=query.text,
        page_size=query.page_size,
        country=options.country,
        search_language=options.search_language,
        safe_search=_SAFE_SEARCHES[options.safe_search],
        freshness=_encode_freshness(options.freshness),
        verticals=[_VERTICALS[vertical] for vertical in options.verticals],
        goggles=options.goggles,
        provider=search_pb2.PROVIDER_UNSPECIFIED if options.provider is None else _PROVIDERS[options.provider],
        bypass_cache=options.bypass_cache,
    )


def _encode_freshness(freshness: FreshnessPreset | DateRange | None) -> search_pb2.Freshness | None:
    if freshness is None:
        return None
    if isinstance(freshness, FreshnessPreset):
        return search_pb2.Freshness(preset=_FRESHNESS_PRESETS[freshness])
    return search_pb2.Freshness(
        range=search_pb2.DateRange(start=freshness.start.isoformat(), end=freshness.end.isoformat())
    )


def decode_findings(response: search_pb2.SearchResponse) -> Findings:
    """What was found."""
    return Findings(
        results=tuple(_decode_result(result) for result in response.results),
        provider=_PROVIDERS_BACK.get(response.provider),
        altered_query=response.altered_query if response.HasField("altered_query") else None,
        from_cache=response.from_cache,
    )


def _decode_result(result: search_pb2.SearchResult) -> FoundResult:
    # The service promises http and https only; a link is the one thing of a result that a caller may click on.
    is_web = result.url.lower().startswith(("http://", "https://"))
    location = result.location
    return FoundResult(
        title=result.title,
        host=result.host,
        description=result.description,
        extra_snippets=tuple(result.extra_snippets),
        url=result.url if is_web else None,
        location=Location(location.path, location.heading) if result.HasField("location") else None,
        published_time=_decode_time(result),
    )


def _decode_time(result: search_pb2.SearchResult) -> datetime | None:
    if not result.HasField("published_time"):
        return None
    try:
        return result.published_time.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):  # outside the years 1 to 9999
        return None


def question_field(field: str) -> str:
    """The field of the question that a field of the search request came from."""
    if field == "query":
        return "question"
    return f"search.{field}" if field in {"page", "page_size", "extra_snippets", "ui_language"} else field
