"""One client of many that reads one message a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from benchmarks.faults.calls import SMALL_WINDOW, generate, own_channel, sized_request
from benchmarks.faults.rows import Row, at_least, at_most
from benchmarks.soak.watch import footprint
from groundwire.inference.v1 import inference_pb2_grpc

TEST = "slow reader"
PROMPT_TOKENS = 16
ANSWER_TOKENS = 64
PAUSE_SECONDS = 1.0
ROUNDS = 3
"""Of a fast and a slow phase each, so that what drifts on the host drifts in both."""


@dataclass(frozen=True, slots=True)
class SlowReader:
    """What came of it."""

    readers: int
    fast_tokens_a_second: float
    """Of all but one, while that one reads as fast as they."""
    slow_tokens_a_second: float
    """The same, while it reads slowly."""
    rss_growth_mib: float
    unwhole: int
    """Answers of the others that failed."""


async def read_slowly(address: str, pid: int, *, readers: int, seconds: float, seed: int = 1) -> SlowReader:
    """Measure all readers but one for so long, in turns with that one fast and slow."""
    random = Random(seed)
    tokens = {False: 0, True: 0}
    unwhole = 0
    async with own_channel(address) as stub, own_channel(address, *SMALL_WINDOW) as slow_stub:
        await _phase(stub, slow_stub, random, readers=readers, seconds=1.0, slow=False)
        before = footprint(pid).rss_mib
        for _ in range(ROUNDS):
            for slow in (False, True):
                received, failed = await _phase(
                    stub, slow_stub, random, readers=readers, seconds=seconds / (2 * ROUNDS), slow=slow
                )
                tokens[slow] += received
                unwhole += failed
        growth = footprint(pid).rss_mib - before
    half = seconds / 2
    return SlowReader(readers, tokens[False] / half, tokens[True] / half, growth, unwhole)


Stub: TypeAlias = "inference_pb2_grpc.InferenceServiceAsyncStub"


async def _phase(
    stub: Stub, odd_stub: Stub, random: Random, *, readers: int, seconds: float, slow: bool
) -> tuple[int, int]:
    """Tokens that all but the odd reader received within the time, and how many of their answers failed."""
    end = time.monotonic() + seconds
    tokens = failed = 0

    async def read_on() -> None:
        nonlocal tokens, failed
        while time.monotonic() < end:
            request = sized_request(random, prompt=PROMPT_TOKENS, answer=ANSWER_TOKENS)
            call = stub.Generate(request, timeout=120)
            whole = False
            try:
                async for event in call:
                    if time.monotonic() < end:
                        tokens += len(event.delta.token_ids)
                    whole = event.HasField("finished")
            finally:
                failed += not whole

    async def odd_one() -> None:
        while True:
            # With log probabilities, so that there is much to read.
            request = sized_request(random, prompt=PROMPT_TOKENS, answer=ANSWER_TOKENS, logprobs=20)
            await generate(odd_stub, request, timeout_seconds=600, pause_seconds=PAUSE_SECONDS if slow else 0.0)

    odd = asyncio.create_task(odd_one())
    try:
        await asyncio.gather(*(read_on() for _ in range(readers - 1)))
    finally:
        odd.cancel()
        with suppress(asyncio.CancelledError):
            await odd
    return tokens, failed


def rows(result: SlowReader) -> Iterator[Row]:
    """What it must not cost the others."""
    test = f"{TEST} among {result.readers}"
    share = result.slow_tokens_a_second / result.fast_tokens_a_second
    yield Row(test, "others' tokens/s, all fast", round(result.fast_tokens_a_second, 1))
    yield Row(test, "others' tokens/s, one slow", round(result.slow_tokens_a_second, 1))
    yield at_least(test, "others' throughput, share", round(share, 3), 0.95)
    yield at_most(test, "others' answers that failed", result.unwhole, 0)
    yield at_most(test, "growth of memory, MiB", round(result.rss_growth_mib, 1), 32)
