"""Calls to the gateway."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import grpc

from groundwire.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from groundwire_cli.errors import BadUsage
from groundwire_cli.rpc_errors import call_failed
from groundwire_cli.search_options import NO_OPTIONS, SearchOptions
from groundwire_cli.services import GATEWAY
from groundwire_rpc.channels import PLAINTEXT, ChannelSecurity, open_channel
from groundwire_rpc.metadata import REQUEST_ID_KEY, is_request_id, new_call_metadata


@dataclass(frozen=True, slots=True)
class Question:
    """What `ask` was asked."""

    text: str
    """The question."""
    search: SearchOptions = NO_OPTIONS
    """How to search for sources."""
    max_sources: int | None = None
    """How many sources to offer to the model."""
    max_tokens: int | None = None
    """The most tokens to generate."""
    temperature: float | None = None
    """0 is greedy."""
    seed: int | None = None
    """For repeatable sampling."""


def ask_request(question: Question) -> gateway_pb2.AskRequest:
    """The question as the contract has it. Raises BadUsage for text that is not valid Unicode."""
    try:
        request = gateway_pb2.AskRequest(
            question=question.text,
            max_sources=question.max_sources,
            country=question.search.country,
            search_language=question.search.language,
            max_tokens=question.max_tokens,
            temperature=question.temperature,
            seed=question.seed,
        )
    except UnicodeEncodeError:
        raise BadUsage("The question, or an option, is not valid UTF-8 text.") from None
    if question.search.provider is not None:
        request.provider = gateway_pb2.Provider.Value(f"PROVIDER_{question.search.provider.upper()}")
    if question.search.news:
        request.verticals.append(gateway_pb2.VERTICAL_NEWS)
    if (freshness := question.search.freshness) is not None:
        if freshness.preset:
            request.freshness.preset = gateway_pb2.FreshnessPreset.Value(freshness.preset)
        else:
            request.freshness.range.start = freshness.start
            request.freshness.range.end = freshness.end
    return request


def call_metadata(request_id: str | None) -> tuple[tuple[str, str], ...]:
    """Metadata of a call that starts here, with the request id that was given. Raises BadUsage for a bad one.

    No trace context: this command records no span that a trace could hang from, so the first service begins it.
    """
    if request_id is None:
        return ((REQUEST_ID_KEY, new_call_metadata().request_id),)
    if not is_request_id(request_id):
        raise BadUsage("--request-id: give 1 to 128 letters, digits or any of . _ : / + = @ -")
    return ((REQUEST_ID_KEY, request_id),)


async def stream_answer(
    target: str,
    request: gateway_pb2.AskRequest,
    *,
    metadata: tuple[tuple[str, str], ...],
    timeout_seconds: float,
    security: ChannelSecurity = PLAINTEXT,
) -> AsyncGenerator[gateway_pb2.AskResponse, None]:
    """The events of one answer. Closing the generator cancels the call. Raises CommandError."""
    answered = False
    async with open_channel(target, security) as channel:
        call = gateway_pb2_grpc.AnswerServiceStub(channel).Ask(request, timeout=timeout_seconds, metadata=metadata)
        try:
            async for event in call:
                answered = True
                yield event
        except grpc.aio.AioRpcError as error:
            raise call_failed(
                error, called=GATEWAY, target=target, answered=answered, timeout_seconds=timeout_seconds
            ) from None
        finally:
            call.cancel()
