"""Calls to the search service."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from groundwire.search.v1 import search_pb2, search_pb2_grpc
from groundwire_cli.errors import BadUsage
from groundwire_cli.rpc_errors import call_failed
from groundwire_cli.search_options import NO_OPTIONS, SearchOptions
from groundwire_cli.services import SEARCH
from groundwire_rpc.channels import PLAINTEXT, ChannelSecurity, open_channel


@dataclass(frozen=True, slots=True)
class Query:
    """What `search` was asked."""

    text: str
    """The query."""
    options: SearchOptions = NO_OPTIONS
    """How to search."""
    page_size: int | None = None
    """How many results."""
    page: int | None = None
    """Which page of them, from 0."""


def search_request(query: Query) -> search_pb2.SearchRequest:
    """The query as the contract has it. Raises BadUsage for text that is not valid Unicode."""
    try:
        request = search_pb2.SearchRequest(
            query=query.text,
            page_size=query.page_size,
            page=query.page,
            country=query.options.country,
            search_language=query.options.language,
        )
    except UnicodeEncodeError:
        raise BadUsage("The query, or an option, is not valid UTF-8 text.") from None
    if query.options.provider is not None:
        request.provider = search_pb2.Provider.Value(f"PROVIDER_{query.options.provider.upper()}")
    if query.options.news:
        request.verticals.append(search_pb2.VERTICAL_NEWS)
    if (freshness := query.options.freshness) is not None:
        if freshness.preset:
            request.freshness.preset = search_pb2.FreshnessPreset.Value(freshness.preset)
        else:
            request.freshness.range.start = freshness.start
            request.freshness.range.end = freshness.end
    return request


async def run_search(
    target: str,
    query: Query,
    *,
    metadata: tuple[tuple[str, str], ...],
    timeout_seconds: float,
    security: ChannelSecurity = PLAINTEXT,
) -> search_pb2.SearchResponse:
    """One search. Raises CommandError."""
    request = search_request(query)
    async with open_channel(target, security) as channel:
        try:
            return await search_pb2_grpc.SearchServiceStub(channel).Search(
                request, timeout=timeout_seconds, metadata=metadata
            )
        except grpc.aio.AioRpcError as error:
            raise call_failed(error, called=SEARCH, target=target, timeout_seconds=timeout_seconds) from None
