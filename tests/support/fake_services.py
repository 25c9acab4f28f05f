"""A search and an inference service that do what a test scripts, over real gRPC on the loopback interface.

Each call takes the next script; the last one serves every further call. A script is a sequence of steps: a message to
send, a status to fail with, an event to wait for, or HANG.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import grpc

from groundwire.inference.v1 import inference_pb2, inference_pb2_grpc
from groundwire.search.v1 import search_pb2, search_pb2_grpc
from groundwire_rpc.server import RpcServer
from groundwire_rpc.status import RichStatus, abort

SEARCH_SERVICE = "groundwire.search.v1.SearchService"
INFERENCE_SERVICE = "groundwire.inference.v1.InferenceService"

HANG = asyncio.sleep
"""A step that lasts until the call is cancelled."""

RequestT = TypeVar("RequestT")


@dataclass(slots=True)
class ReceivedCall(Generic[RequestT]):
    """One call as the service saw it."""

    request: RequestT
    metadata: dict[str, str]
    seconds_left: float | None
    """Until its deadline, on arrival."""
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the call was cancelled, by its caller or its deadline."""


def _received(request: RequestT, context: grpc.aio.ServicerContext[Any, Any]) -> ReceivedCall[RequestT]:
    metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    return ReceivedCall(request, metadata, context.time_remaining())


async def _take(step: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Any step but a message."""
    if isinstance(step, RichStatus):
        await abort(context, step)
    elif isinstance(step, asyncio.Event):
        await step.wait()
    elif step is HANG:
        await asyncio.sleep(3600)
    else:
        raise TypeError(f"{step!r} is no step")


async def _write(message: inference_pb2.GenerateResponse, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    try:
        await context.write(message)
    except grpc.aio.InternalError:  # what gRPC says of a write that waited when its call was cancelled
        raise asyncio.CancelledError from None


class FakeSearch(search_pb2_grpc.SearchServiceServicer):
    """SearchService by script."""

    def __init__(self, *scripts: Sequence[object]) -> None:
        self.scripts = list(scripts)
        self.calls: list[ReceivedCall[search_pb2.SearchRequest]] = []
        self.arrived = asyncio.Event()

    async def Search(  # noqa: N802 - as the contract names it
        self, request: search_pb2.SearchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> search_pb2.SearchResponse:
        call = _received(request, context)
        self.calls.append(call)
        self.arrived.set()
        try:
            for step in _next(self.scripts):
                if isinstance(step, search_pb2.SearchResponse):
                    return step
                await _take(step, context)
        except asyncio.CancelledError:
            call.cancelled.set()
            raise
        raise AssertionError("the script has no response")


class FakeInference(inference_pb2_grpc.InferenceServiceServicer):
    """InferenceService by script; only Generate is served."""

    def __init__(self, *scripts: Sequence[object]) -> None:
        self.scripts = list(scripts)
        self.calls: list[ReceivedCall[inference_pb2.GenerateRequest]] = []
        self.arrived = asyncio.Event()

    async def Generate(  # noqa: N802 - as the contract names it, and writing, not yielding
        self, request: inference_pb2.GenerateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        call = _received(request, context)
        self.calls.append(call)
        self.arrived.set()
        try:
            for step in _next(self.scripts):
                if isinstance(step, inference_pb2.GenerateResponse):
                    await _write(step, context)
                else:
                    await _take(step, context)
        except asyncio.CancelledError:
            call.cancelled.set()
            raise


def _next(scripts: list[Sequence[object]]) -> Sequence[object]:
    return scripts.pop(0) if len(scripts) > 1 else scripts[0]


@asynccontextmanager
async def serving(
    servicer: FakeSearch | FakeInference, listen: str = "127.0.0.1:0", *, healthy: bool = True
) -> AsyncIterator[str]:
    """Serve, with health and reflection; yields HOST:PORT."""
    if isinstance(servicer, FakeSearch):
        server = RpcServer(listen, [SEARCH_SERVICE])
        search_pb2_grpc.add_SearchServiceServicer_to_server(servicer, server.grpc_server)
    else:
        server = RpcServer(listen, [INFERENCE_SERVICE])
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(servicer, server.grpc_server)
    target = await server.start()
    await server.set_serving(healthy)
    try:
        yield target
    finally:
        await server.stop(0)


def found(*texts: str, **fields: Any) -> search_pb2.SearchResponse:
    """A response with one web result for each text; `fields` are further ones of the response."""
    results = [
        search_pb2.SearchResult(
            rank=rank,
            vertical=search_pb2.VERTICAL_WEB,
            title=f"Page {rank}",
            url=f"https://example.org/{rank}",
            host="example.org",
            description=text,
        )
        for rank, text in enumerate(texts, start=1)
    ]
    fields.setdefault("provider", search_pb2.PROVIDER_BRAVE)
    return search_pb2.SearchResponse(results=results, **fields)


def started(
    *used: int, cut: Sequence[int] = (), dropped: Sequence[int] = (), model: str = "tiny", prompt_tokens: int = 12
) -> inference_pb2.GenerateResponse:
    """The first event: which documents are in the prompt."""
    return inference_pb2.GenerateResponse(
        started=inference_pb2.Started(
            model=model,
            prompt_tokens=prompt_tokens,
            documents_used=[inference_pb2.DocumentUse(index=index, cut=index in cut) for index in used],
            documents_dropped=dropped,
        )
    )


def progress(processed: int, total: int) -> inference_pb2.GenerateResponse:
    """The prompt is being read."""
    return inference_pb2.GenerateResponse(
        progress=inference_pb2.Progress(prompt_tokens_processed=processed, prompt_tokens_total=total)
    )


def delta(text: str) -> inference_pb2.GenerateResponse:
    """A piece of the answer."""
    return inference_pb2.GenerateResponse(delta=inference_pb2.Delta(text=text, token_ids=[1]))


def finished(
    reason: inference_pb2.FinishReason = inference_pb2.FINISH_REASON_STOP, matched_stop: str | None = None
) -> inference_pb2.GenerateResponse:
    """The last event."""
    event = inference_pb2.Finished(
        reason=reason,
        matched_stop=matched_stop,
        usage=inference_pb2.Usage(prompt_tokens=12, cached_tokens=4, completion_tokens=7),
        seed=42,
    )
    event.timings.queue.FromMilliseconds(1)
    event.timings.prompt.FromMilliseconds(20)
    event.timings.generation.FromMilliseconds(30)
    return inference_pb2.GenerateResponse(finished=event)


def answer_script(*texts: str, used: Sequence[int] = (1,)) -> list[inference_pb2.GenerateResponse]:
    """A whole answer from the given deltas."""
    return [started(*used), progress(12, 12), *(delta(text) for text in texts), finished()]
