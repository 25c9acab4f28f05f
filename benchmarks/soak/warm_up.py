"""Before the load: the probes' reference answers, and calls that make the service start all that it ever starts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc

from benchmarks.soak.forms import FORMS
from benchmarks.soak.probes import PROBES, Reference, reference
from groundwire.inference.v1 import inference_pb2 as pb
from groundwire.inference.v1 import inference_pb2_grpc

_TIMEOUT_SECONDS = 600.0
_SALT = "reference"
"""What the references leave in the service's cache is of no use to the load."""


async def ask_references(stub: inference_pb2_grpc.InferenceServiceAsyncStub) -> Sequence[Reference]:
    """Ask every probe alone, one after the other, without drafts."""
    references = []
    for probe in PROBES:
        request = pb.GenerateRequest(cache_salt=_SALT, speculation=False, logprobs=2)
        request.MergeFrom(probe)
        answer = await stub.Complete(pb.CompleteRequest(generate=request), timeout=_TIMEOUT_SECONDS)
        references.append(reference(answer.text, answer.token_ids, answer.logprobs))
    return references


async def warm_up(stub: inference_pb2_grpc.InferenceServiceAsyncStub, *, places: int) -> None:
    """Take every place at once, with forms among the requests, so that all threads and processes are there.

    One refusal is no failure: an answer's place may come free a moment after the answer.
    """
    requests = [
        pb.GenerateRequest(text=f"Warm up {number}.", max_tokens=8, cache_salt=_SALT) for number in range(places)
    ]
    for request, form in zip(requests, FORMS, strict=False):
        request.response_format.CopyFrom(form.response_format())
    calls = [stub.Complete(pb.CompleteRequest(generate=request), timeout=_TIMEOUT_SECONDS) for request in requests]
    await asyncio.gather(*(_end(call) for call in calls))


async def _end(call: grpc.aio.UnaryUnaryCall[pb.CompleteRequest, pb.CompleteResponse]) -> None:
    code = await call.code()
    if code not in (grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED):
        await call  # raises what went wrong
