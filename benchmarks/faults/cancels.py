"""Streams that are cancelled at random moments: queued, in their prompt, in their answer, or before anything."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

import grpc

from benchmarks.faults.calls import generate, sized_request
from benchmarks.faults.rows import Row, at_most, exactly
from benchmarks.soak.afterwards import Settled, settle
from groundwire.inference.v1 import inference_pb2 as pb
from groundwire.inference.v1 import inference_pb2_grpc
from groundwire_rpc.callers import CALLER_KEY

TEST = "cancelled streams"
LONGEST_SECONDS = 1.5
"""From a call's start to its cancellation."""
CALLERS = 4


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What came of it."""

    ends: Counter[str]
    """Calls by the name of the status that they ended with."""
    settled: Settled
    next_seconds: float
    """How long the next request took to be answered with a token."""
    next_code: str


Stub: TypeAlias = "inference_pb2_grpc.InferenceServiceAsyncStub"


async def cancel_streams(
    stub: Stub, *, count: int, at_once: int, longest_seconds: float = LONGEST_SECONDS, seed: int = 1
) -> Cancelled:
    """Start so many streams, `at_once` of them at a time, and cancel each; then look what is left."""
    random = Random(seed)
    ends: Counter[str] = Counter()
    waiting = iter(range(count))

    async def worker() -> None:
        for number in waiting:
            ends[await _cancelled(stub, random, number, longest_seconds)] += 1

    await asyncio.gather(*(worker() for _ in range(at_once)))
    settled = await settle(stub)
    request = sized_request(random, prompt=8, answer=1)
    started = time.monotonic()
    following = await generate(stub, request, timeout_seconds=30)
    return Cancelled(ends, settled, time.monotonic() - started, following.code.name)


async def _cancelled(stub: Stub, random: Random, number: int, longest_seconds: float) -> str:
    request = sized_request(random, prompt=random.randrange(1, 200), answer=random.randrange(1, 400))
    call = stub.Generate(request, timeout=60, metadata=((CALLER_KEY, f"caller-{number % CALLERS}"),))
    timer = asyncio.get_running_loop().call_later(longest_seconds * random.random(), call.cancel)
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError:
        pass
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # not the call was cancelled, but the drill
            raise
    finally:
        timer.cancel()
    return (await call.code()).name


def rows(result: Cancelled, *, stop_seconds: float, exit_status: int) -> Iterator[Row]:
    """What is left. `stop_seconds` is how long the service took to end at SIGTERM, when it waits for its calls."""
    count = sum(result.ends.values())
    test, status = f"{TEST}, {count:,}", result.settled.status
    for name, number in sorted(result.ends.items()):
        yield Row(test, f"calls that ended {name}", number)
    yield exactly(test, "calls that ended neither so nor OK nor refused", _others(result.ends), 0)
    yield exactly(test, "slots left", status.slots_used, 0)
    yield exactly(test, "places in the queue left", status.queue_length, 0)
    yield exactly(test, "KV cells left", status.kv_cells_reserved, 0)
    yield Row(test, "seconds until nothing was left", round(result.settled.seconds, 3))
    yield Row(test, "the next request", result.next_code, "OK", result.next_code == "OK")
    yield at_most(test, "the next request, s", round(result.next_seconds, 3), 1)
    yield at_most(test, "SIGTERM to exit, s (with a call left: 10 or more)", round(stop_seconds, 2), 5)
    yield exactly(test, "exit status", exit_status, 0)


def _others(ends: Counter[str]) -> int:
    return sum(number for name, number in ends.items() if name not in ("CANCELLED", "OK", "RESOURCE_EXHAUSTED"))


def places(status: pb.GetStatusResponse) -> tuple[int, int, int]:
    """Slots, queue places and KV cells that are taken."""
    return status.slots_used, status.queue_length, status.kv_cells_reserved
