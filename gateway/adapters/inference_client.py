"""The inference service as a generator of answers. The mapping to its contract lives here."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Final, cast

import grpc

from gateway.adapters.backends import Backend
from gateway.core.events import (
    Context,
    FinishReason,
    GenerationEvent,
    GenerationFinished,
    GenerationTimings,
    Progress,
    Stage,
    TextDelta,
    Usage,
)
from gateway.core.ports import Metadata
from gateway.core.types import GrammarKind, Prompt, ResponseFormat, Role, Sampling, Source
from groundwire.inference.v1 import inference_pb2, inference_pb2_grpc

INFERENCE: Final = "inference"
"""The service's name."""

GRPC_SERVICE: Final = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name

LAST_STATUS_SECONDS: Final = 0.05
"""How long a call's status may come behind its last event."""

_MAX_URL_BYTES: Final = 8_192
"""A longer address is left out of a document: the model does not see it anyway."""

_ROLES: Final = {Role.USER: inference_pb2.ROLE_USER, Role.ASSISTANT: inference_pb2.ROLE_ASSISTANT}
_FINISH_REASONS: Final = {
    inference_pb2.FINISH_REASON_STOP: FinishReason.STOP,
    inference_pb2.FINISH_REASON_STOP_SEQUENCE: FinishReason.STOP_SEQUENCE,
    inference_pb2.FINISH_REASON_MAX_TOKENS: FinishReason.MAX_TOKENS,
    inference_pb2.FINISH_REASON_CONTEXT_FULL: FinishReason.CONTEXT_FULL,
}
_MESSAGE_FIELD: Final = re.compile(r"(?:chat\.)?messages\[(\d+)\](.*)")
_DOCUMENT_FIELD: Final = re.compile(r"(?:chat\.)?documents(\[\d+\].*)?")


class InferenceClient:
    """An AnswerGenerator over a channel to the inference service. The caller closes the channel."""

    def __init__(self, channel: grpc.aio.Channel, backend: Backend) -> None:
        self._backend = backend
        self._stub = inference_pb2_grpc.InferenceServiceStub(channel)

    async def generate(
        self, prompt: Prompt, *, timeout_seconds: float, metadata: Metadata
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Answer once. Raises BackendFailed. Closing the generator cancels the call."""
        started = finished = False
        call = self._stub.Generate(
            encode_prompt(prompt), timeout=timeout_seconds, metadata=metadata, wait_for_ready=False
        )
        try:
            # What grpcio iterates with is a generator; left open it would linger until it is collected.
            async with aclosing(cast("AsyncGenerator[inference_pb2.GenerateResponse, None]", aiter(call))) as responses:
                async for response in responses:
                    event = self._decode(response, started)
                    started = started or isinstance(event, Context)
                    finished = isinstance(event, GenerationFinished)
                    if event is not None:
                        yield event
                    if finished:
                        await _until_ended(call)
                        return
        except grpc.aio.AioRpcError as error:
            raise self._backend.failed(
                error, map_field=lambda field: question_field(field, prompt), answered=started
            ) from None
        finally:
            # Also after a whole answer: what the stream still holds is of no use to anyone.
            call.cancel()
        raise self._backend.broke_off(answered=started)

    def _decode(self, response: inference_pb2.GenerateResponse, started: bool) -> GenerationEvent | None:
        kind = response.WhichOneof("event")
        if kind == "started":
            return _decode_started(response.started)
        if kind == "progress":
            read = response.progress
            return Progress(Stage.READING, read.prompt_tokens_processed, read.prompt_tokens_total)
        if kind == "delta":
            if not response.delta.text:
                return None
            if not started:
                raise self._backend.misbehaved("text came before `started`")
            return TextDelta(response.delta.text)
        if kind == "finished":
            if not started:
                raise self._backend.misbehaved("`finished` came before `started`")
            return self._decode_finished(response.finished)
        return None  # an event of a newer version

    def _decode_finished(self, finished: inference_pb2.Finished) -> GenerationFinished:
        reason = _FINISH_REASONS.get(finished.reason)
        if reason is None:
            raise self._backend.misbehaved(f"{finished.reason} is no reason to finish")
        timings = finished.timings
        return GenerationFinished(
            reason=reason,
            usage=Usage(
                prompt_tokens=finished.usage.prompt_tokens,
                cached_tokens=finished.usage.cached_tokens,
                completion_tokens=finished.usage.completion_tokens,
                drafted_tokens=finished.usage.drafted_tokens,
                accepted_tokens=finished.usage.accepted_tokens,
            ),
            timings=GenerationTimings(
                queue_seconds=timings.queue.ToNanoseconds() / 1e9,
                prompt_seconds=timings.prompt.ToNanoseconds() / 1e9,
                generation_seconds=timings.generation.ToNanoseconds() / 1e9,
            ),
            seed=finished.seed,
            matched_stop=finished.matched_stop if finished.HasField("matched_stop") else None,
        )


async def _until_ended(call: grpc.aio.Call) -> None:
    """Wait until the service has ended the call, though not for long. Cancelled before, it would look given up."""
    with suppress(TimeoutError):
        await asyncio.wait_for(call.code(), LAST_STATUS_SECONDS)


def encode_prompt(prompt: Prompt) -> inference_pb2.GenerateRequest:
    """The request for a prompt. No system message: see gateway.core.prompt."""
    options = prompt.options
    return inference_pb2.GenerateRequest(
        chat=inference_pb2.Chat(
            messages=[
                inference_pb2.Message(role=_ROLES[message.role], content=message.content) for message in prompt.messages
            ],
            documents=[_encode_document(source) for source in prompt.documents],
        ),
        sampling=_encode_sampling(options.sampling),
        max_tokens=options.max_tokens,
        stop=options.stop,
        response_format=_encode_response_format(options.response_format),
        context_policy=inference_pb2.CONTEXT_POLICY_FIT,
        cache_salt=prompt.cache_salt,
    )


def _encode_document(source: Source) -> inference_pb2.Document:
    url = source.url or ""
    return inference_pb2.Document(
        title=source.title,
        url=url if len(url.encode()) <= _MAX_URL_BYTES else "",
        host=source.host,
        text=source.text,
    )


def _encode_sampling(sampling: Sampling) -> inference_pb2.Sampling:
    return inference_pb2.Sampling(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        repeat_penalty=sampling.repeat_penalty,
        seed=sampling.seed,
    )


def _encode_response_format(form: ResponseFormat | None) -> inference_pb2.ResponseFormat | None:
    if form is None:
        return None
    if form.kind is GrammarKind.JSON_SCHEMA:
        return inference_pb2.ResponseFormat(json_schema=form.source)
    return inference_pb2.ResponseFormat(gbnf=form.source)


def _decode_started(started: inference_pb2.Started) -> Context:
    return Context(
        used=tuple(document.index for document in started.documents_used),
        cut=tuple(document.index for document in started.documents_used if document.cut),
        dropped=tuple(started.documents_dropped),
        history_turns_dropped=started.messages_dropped,
        prompt_tokens=started.prompt_tokens,
        model=started.model,
    )


def question_field(field: str, prompt: Prompt) -> str:
    """The field of the question that a field of the generate request came from.

    A chat that does not fit was already cut down to the question and a first source, so it is the question's fault.
    """
    turn = _MESSAGE_FIELD.fullmatch(field)
    if turn:
        is_question = int(turn[1]) >= len(prompt.messages) - 1
        return "question" if is_question else f"history[{turn[1]}]{turn[2]}"
    document = _DOCUMENT_FIELD.fullmatch(field)
    if document:
        return f"sources{document[1] or ''}" if prompt.documents_given else "max_sources"
    if field in ("chat", "input"):
        return "question"
    if field in ("messages", "chat.messages"):
        return "history"
    return field.removeprefix("sampling.")
