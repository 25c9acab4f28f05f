"""SearchService over gRPC: decode, call, encode; and the one table from the core's errors to statuses."""

from __future__ import annotations

from typing import Any, Final

import grpc

from groundwire.search.v1 import search_pb2 as pb
from groundwire.search.v1 import search_pb2_grpc
from groundwire_rpc.callers import caller_of
from groundwire_rpc.calls import serving_call
from groundwire_rpc.metadata import remaining_seconds
from groundwire_rpc.status import FieldViolation, QuotaViolation, RichStatus, invalid_fields
from groundwire_rpc.version import version
from search_service.core.errors import (
    InvalidQuery,
    ProviderNotSetUp,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
    SearchBusy,
    SearchTimeout,
)
from search_service.core.search import Searcher
from search_service.wire import decode_search, encode_answer, encode_status

REPLY_RESERVE_SECONDS: Final = 0.1
"""Kept back from the caller's deadline, so that the error that says what was slow still arrives."""

PROVIDER_NOT_SET_UP: Final = "PROVIDER_NOT_SET_UP"
SEARCH_BUSY: Final = "SEARCH_BUSY"
RATE_LIMITED: Final = "RATE_LIMITED"
QUOTA_EXHAUSTED: Final = "QUOTA_EXHAUSTED"
PROVIDER_UNAVAILABLE: Final = "PROVIDER_UNAVAILABLE"
SEARCH_TIMEOUT: Final = "SEARCH_TIMEOUT"


def status_of(error: Exception) -> RichStatus | None:
    """The status that a caller sees of an error of the core."""
    match error:
        case InvalidQuery():
            return invalid_fields([FieldViolation(field, description) for field, description in error.violations])
        case ProviderNotSetUp():
            metadata = {"setting": error.setting}
            return RichStatus(
                grpc.StatusCode.FAILED_PRECONDITION, str(error), reason=PROVIDER_NOT_SET_UP, metadata=metadata
            )
        case SearchBusy():
            return RichStatus(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                str(error),
                reason=SEARCH_BUSY,
                metadata={
                    "limit": "caller_searches_in_flight" if error.of_caller else "searches_in_flight",
                    "value": str(error.limit),
                },
                retry_after_seconds=error.retry_after_seconds,
            )
        case RateLimited():
            return RichStatus(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                str(error),
                reason=RATE_LIMITED,
                metadata={"limit": "provider_rate"},
                retry_after_seconds=error.retry_after_seconds,
            )
        case QuotaExhausted():
            return RichStatus(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                str(error),
                reason=QUOTA_EXHAUSTED,
                metadata={"limit": error.subject},
                quota_violations=(QuotaViolation(error.subject, str(error)),),
                retry_after_seconds=error.retry_after_seconds,
            )
        case ProviderUnavailable():
            return RichStatus(grpc.StatusCode.UNAVAILABLE, str(error), reason=PROVIDER_UNAVAILABLE)
        case SearchTimeout():
            return RichStatus(grpc.StatusCode.DEADLINE_EXCEEDED, str(error), reason=SEARCH_TIMEOUT)
    return None


class SearchServicer(search_pb2_grpc.SearchServiceServicer):
    """Serves a Searcher."""

    def __init__(self, searcher: Searcher, *, default_timeout_seconds: float) -> None:
        """`default_timeout_seconds` is for callers that set no deadline."""
        self._searcher = searcher
        self._default_timeout_seconds = default_timeout_seconds

    async def Search(self, request: pb.SearchRequest, context: grpc.aio.ServicerContext[Any, Any]) -> pb.SearchResponse:
        """Run one query against one provider."""
        async with serving_call("Search", context, status_of):
            decoded = decode_search(request)
            remaining = remaining_seconds(context, self._default_timeout_seconds + REPLY_RESERVE_SECONDS)
            answer = await self._searcher.search(
                decoded.query,
                provider=decoded.provider,
                bypass_cache=decoded.bypass_cache,
                timeout_seconds=max(0.0, remaining - REPLY_RESERVE_SECONDS),
                caller=caller_of(context),
            )
            return encode_answer(answer)

    async def GetStatus(
        self,
        request: pb.GetStatusRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> pb.GetStatusResponse:
        """Tell which providers there are and how they are."""
        async with serving_call("GetStatus", context, status_of):
            return encode_status(self._searcher.status(), version())
