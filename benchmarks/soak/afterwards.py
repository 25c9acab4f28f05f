"""What must hold once the load is over: nothing runs, and every KV cell can be had again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import grpc

from benchmarks.soak.watch import STATUS_TIMEOUT_SECONDS, Footprint, footprint
from groundwire.inference.v1 import inference_pb2 as pb
from groundwire.inference.v1 import inference_pb2_grpc

SETTLE_SECONDS = 10.0
WHOLE_CONTEXT_ANSWER_TOKENS = 8

_LOOK_SECONDS = 0.01
_ANSWER_SECONDS = 600.0
"""Deadline of a request that takes a whole context."""
_TOGETHER_ANSWER_SHARE = 0.25
"""Of its cells, what each of the requests that run together generates: long enough to be seen together."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The status some time after the last call."""

    seconds: float
    """Until nothing ran, or until the wait was given up."""
    status: pb.GetStatusResponse


async def settle(stub: inference_pb2_grpc.InferenceServiceAsyncStub) -> Settled:
    """Wait until nothing runs, waits or is reserved, up to SETTLE_SECONDS."""
    started = time.monotonic()
    while True:
        status = await stub.GetStatus(pb.GetStatusRequest(), timeout=STATUS_TIMEOUT_SECONDS)
        seconds = time.monotonic() - started
        if not (status.slots_used or status.queue_length or status.kv_cells_reserved) or seconds > SETTLE_SECONDS:
            return Settled(seconds, status)
        await asyncio.sleep(0.05)


async def settled_footprint(pid: int, *, enough: Callable[[Footprint], bool]) -> Footprint:
    """What the process takes once it is `enough`, or SETTLE_SECONDS later."""
    give_up = time.monotonic() + SETTLE_SECONDS
    while True:
        taken = footprint(pid)
        if enough(taken) or time.monotonic() > give_up:
            return taken
        await asyncio.sleep(0.2)


def _exact(random: Random, model: pb.GetModelResponse, *, prompt: int, answer: int) -> pb.CompleteRequest:
    """A request that takes exactly so many tokens."""
    ids = random.choices(range(3, int(model.vocabulary_size * 0.9)), k=prompt)
    generate = pb.GenerateRequest(token_ids=pb.TokenIds(ids=ids), max_tokens=answer, ignore_eos=True)
    return pb.CompleteRequest(generate=generate)


async def take_whole_context(
    stub: inference_pb2_grpc.InferenceServiceAsyncStub, model: pb.GetModelResponse, *, seed: int
) -> str:
    """Run one request of the whole context. Returns what went wrong, empty where nothing did."""
    prompt = model.context_length - WHOLE_CONTEXT_ANSWER_TOKENS
    request = _exact(Random(seed), model, prompt=prompt, answer=WHOLE_CONTEXT_ANSWER_TOKENS)
    return await _answered(stub, request)


async def _answered(stub: inference_pb2_grpc.InferenceServiceAsyncStub, request: pb.CompleteRequest) -> str:
    wanted = request.generate.max_tokens
    try:
        response = await stub.Complete(request, timeout=_ANSWER_SECONDS)
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"
    generated = response.finished.usage.completion_tokens
    return "" if generated == wanted else f"{generated} of {wanted} tokens were generated"


@dataclass(frozen=True, slots=True)
class Together:
    """Requests that share all cells evenly, sent at once."""

    most_running: int
    most_reserved: int
    """KV cells."""
    expected_reserved: int
    failures: tuple[str, ...]


async def run_together(
    stub: inference_pb2_grpc.InferenceServiceAsyncStub, model: pb.GetModelResponse, *, seed: int
) -> Together:
    """Fill every slot with its even share of the cells, and see whether all of them run at the same time."""
    status = await stub.GetStatus(pb.GetStatusRequest(), timeout=STATUS_TIMEOUT_SECONDS)
    share = min(status.kv_cells // status.slots, model.context_length)
    answer = max(1, int(share * _TOGETHER_ANSWER_SHARE))
    random = Random(seed)
    calls = [
        asyncio.create_task(_answered(stub, _exact(random, model, prompt=share - answer, answer=answer)))
        for _ in range(status.slots)
    ]
    most_running = most_reserved = 0
    while not all(call.done() for call in calls):
        status = await stub.GetStatus(pb.GetStatusRequest(), timeout=STATUS_TIMEOUT_SECONDS)
        most_running = max(most_running, status.slots_used)
        most_reserved = max(most_reserved, status.kv_cells_reserved)
        await asyncio.sleep(_LOOK_SECONDS)
    failures = tuple(failure for call in calls if (failure := call.result()))
    return Together(most_running, most_reserved, share * status.slots, failures)
