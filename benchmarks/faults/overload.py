"""Many times as many calls as the inference service can serve."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.faults.calls import Outcome, generate, goodput, own_channel, sized_request
from benchmarks.faults.rows import Row, at_least, at_most, exactly, percentile
from benchmarks.soak.watch import footprint
from groundwire.inference.v1 import inference_pb2 as pb
from groundwire.inference.v1 import inference_pb2_grpc

TEST = "overload"
PROMPT_TOKENS = 32
ANSWER_TOKENS = 96
PATIENCE_SECONDS = 20.0
"""Deadline of each call."""
CALLERS = 8
CHANNELS = 4
PROBE_SECONDS = 0.05


@dataclass(slots=True)
class Probes:
    """What health and status said while all this went on."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    rss_mib: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Overload:
    """What came of it."""

    outcomes: Sequence[Outcome]
    goodput: float
    """Tokens a second in whole answers."""
    seconds: float
    probes: Probes

    @property
    def refused(self) -> list[Outcome]:
        """The calls that were not taken."""
        return [outcome for outcome in self.outcomes if outcome.code is grpc.StatusCode.RESOURCE_EXHAUSTED]

    def badly_refused(self) -> list[Outcome]:
        """Refusals that do not tell why, or when to come back."""
        return [
            outcome
            for outcome in self.refused
            if outcome.status is None
            or not outcome.status.reason
            or "limit" not in outcome.status.metadata
            or outcome.status.retry_after_seconds is None
            or not outcome.pushback
        ]


async def goodput_at_capacity(address: str, *, slots: int, seconds: float, seed: int = 1) -> float:
    """Tokens a second in whole answers, with one caller for each slot who asks again as soon as they have an answer."""
    random = Random(seed)
    async with _stubs(address) as stubs:
        started = time.monotonic()
        outcomes: list[Outcome] = []

        async def ask(number: int) -> None:
            while time.monotonic() < started + seconds:
                stub = stubs[number % len(stubs)]
                outcomes.append(await generate(stub, _request(random), timeout_seconds=PATIENCE_SECONDS))

        await asyncio.gather(*(ask(number) for number in range(slots)))
    return goodput(outcomes, since=started, seconds=seconds)


async def overload(address: str, pid: int, *, calls_a_second: float, seconds: float, seed: int = 1) -> Overload:
    """Send so many calls a second for so long, and wait for every call's end."""
    probes = Probes()
    probing = asyncio.create_task(_probe(address, pid, probes))
    try:
        async with _stubs(address) as stubs:
            started = time.monotonic()
            outcomes = await _offer(stubs, Random(seed), calls_a_second=calls_a_second, seconds=seconds)
    finally:
        probing.cancel()
        with suppress(asyncio.CancelledError):
            await probing
    return Overload(outcomes, goodput(outcomes, since=started, seconds=seconds), seconds, probes)


class _stubs:  # noqa: N801 - used like a function
    """A few connections, as several gateways would have."""

    def __init__(self, address: str) -> None:
        self._channels = [own_channel(address) for _ in range(CHANNELS)]

    async def __aenter__(self) -> list[inference_pb2_grpc.InferenceServiceAsyncStub]:
        return [await channel.__aenter__() for channel in self._channels]

    async def __aexit__(self, *exc: object) -> None:
        for channel in self._channels:
            await channel.__aexit__(None, None, None)


Stubs: TypeAlias = "Sequence[inference_pb2_grpc.InferenceServiceAsyncStub]"


def _request(random: Random) -> pb.GenerateRequest:
    return sized_request(random, prompt=PROMPT_TOKENS, answer=ANSWER_TOKENS)


async def _offer(stubs: Stubs, random: Random, *, calls_a_second: float, seconds: float) -> list[Outcome]:
    """Calls at random moments, whatever becomes of those before."""
    started = time.monotonic()
    calls: list[asyncio.Task[Outcome]] = []
    at = 0.0
    while (at := at + random.expovariate(calls_a_second)) < seconds:
        await asyncio.sleep(max(0.0, started + at - time.monotonic()))
        number = len(calls)
        call = generate(
            stubs[number % len(stubs)],
            _request(random),
            timeout_seconds=PATIENCE_SECONDS,
            caller=f"caller-{number % CALLERS}",
        )
        calls.append(asyncio.create_task(call))
    return list(await asyncio.gather(*calls))


async def _probe(address: str, pid: int, probes: Probes) -> None:
    """Ask for the health, and now and then for status and model, over a connection of its own."""
    async with own_channel(address) as stub, grpc.aio.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for number in range(10**9):
            started = time.monotonic()
            try:
                response = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)  # type: ignore[attr-defined]
                probes.seconds.append(time.monotonic() - started)
                if response.status != health_pb2.HealthCheckResponse.SERVING:
                    probes.failures.append("it does not serve")
                if number % 10 == 0:
                    await stub.GetStatus(pb.GetStatusRequest(), timeout=5)
                    await stub.GetModel(pb.GetModelRequest(), timeout=5)
                    probes.rss_mib.append(footprint(pid).rss_mib)
            except grpc.aio.AioRpcError as error:
                probes.failures.append(f"{error.code().name}: {error.details()}")
            await asyncio.sleep(PROBE_SECONDS)


def rows(result: Overload, *, factor: float, peak: float) -> Iterator[Row]:
    """What `factor` times the capacity must not do. `peak` is the goodput at capacity."""
    test = f"{TEST}, {factor:g} x capacity for {result.seconds:g} s"
    codes = Counter(outcome.code for outcome in result.outcomes)
    served, refused = codes[grpc.StatusCode.OK], len(result.refused)
    yield Row(test, "tokens/s at capacity", round(peak, 1))
    yield Row(test, "calls offered", len(result.outcomes))
    yield Row(test, "calls answered", served)
    yield at_least(test, "calls refused", refused, 1)
    yield exactly(test, "calls that ended otherwise", len(result.outcomes) - served - refused, 0)
    yield exactly(test, "refusals without reason, limit, RetryInfo or pushback", len(result.badly_refused()), 0)
    dishonest = sum(not outcome.honest for outcome in result.outcomes)
    yield exactly(test, "half answers that look whole, or whole ones that failed", dishonest, 0)
    yield at_least(test, "goodput, share of that at capacity", round(result.goodput / peak, 3), 0.9)
    refusals = [outcome.seconds for outcome in result.refused]
    yield at_most(test, "refusal, p99 ms", round(1000 * percentile(refusals, 0.99), 1), 50)
    yield at_most(test, "health, p99 ms", round(1000 * percentile(result.probes.seconds, 0.99), 1), 100)
    yield exactly(test, "health, status and model checks that failed", len(result.probes.failures), 0)
    yield from _memory(test, result.probes.rss_mib)


def _memory(test: str, rss_mib: Sequence[float]) -> Iterator[Row]:
    third = len(rss_mib) // 3
    if third:
        before, after = max(rss_mib[third : 2 * third]), max(rss_mib[2 * third :])
        yield Row(test, "memory in the middle third, MiB", round(before, 1))
        yield at_most(test, "memory in the last third, MiB", round(after, 1), round(before * 1.05 + 16, 1))
