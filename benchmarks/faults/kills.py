"""Services that are killed in the middle of their callers' answers, under the supervisor of `groundwire up`."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import grpc

from benchmarks.faults.rows import Row, at_most, exactly, percentile
from groundwire.gateway.v1 import gateway_pb2 as pb
from groundwire.gateway.v1 import gateway_pb2_grpc
from groundwire_cli.fleet import Fleet, FleetPlan
from groundwire_cli.restarts import RestartPolicy
from groundwire_rpc.channels import open_channel

TEST = "killed"
SERVICES = ("search", "inference", "gateway")
TOLD_SECONDS = 1.0
"""Within it every caller must know."""
HUNG_SECONDS = 60.0
"""A call that has not ended so long after the kill does not end."""
BACK_SECONDS = 60.0
ANSWER_TOKENS = 100

QUESTION = "What does a rain gauge measure?"
SOURCE = pb.GivenSource(
    title="Rain gauges", text="A rain gauge measures how much rain has fallen. Empty it every morning at nine."
)


@dataclass(slots=True)
class FleetLog:
    """Remembers what the services and their supervisor say."""

    lines: list[str] = field(default_factory=list)

    def line(self, name: str, line: str) -> None:
        """A service wrote a line."""
        self.lines.append(f"{name}: {line}")

    def note(self, name: str, text: str) -> None:
        """The supervisor says something of a service."""
        self.lines.append(f"{name} {text}")


@dataclass(frozen=True, slots=True)
class RunningFleet:
    """All three services, supervised."""

    fleet: Fleet
    target: str
    log: FleetLog


@asynccontextmanager
async def running_fleet(settings: Mapping[str, str]) -> AsyncIterator[RunningFleet]:
    """Start the services on free ports under the real supervisor, which never gives up here: none of these deaths is a
    service's own fault.
    """
    log = FleetLog()
    listen = dict.fromkeys(SERVICES, "127.0.0.1:0")
    patient = RestartPolicy(first_delay_seconds=0.1, quick_seconds=0.5)
    plan = FleetPlan(listen, settings={"GROUNDWIRE_SEARCH_PROVIDER": "local", **settings})
    async with Fleet(plan, log, patient) as fleet:
        yield RunningFleet(fleet, await fleet.start(), log)


@dataclass(frozen=True, slots=True)
class Ended:
    """How one caller's answer ended."""

    code: grpc.StatusCode
    at: float
    whole: bool


@dataclass(slots=True)
class Kills:
    """What came of all kills of one service."""

    service: str
    told_seconds: list[float] = field(default_factory=list)
    """From a kill to the failure of each call that it failed."""
    codes: Counter[str] = field(default_factory=Counter)
    hung: int = 0
    dishonest: int = 0
    """Whole answers that failed, or half ones that look whole."""
    back_seconds: list[float] = field(default_factory=list)
    """From a kill to the next question that was answered."""

    @property
    def count(self) -> int:
        """Kills after which the service was back."""
        return len(self.back_seconds)


async def kill_under_callers(
    running: RunningFleet,
    service: str,
    *,
    times: int,
    callers: int,
    answer_tokens: int = ANSWER_TOKENS,
    number: signal.Signals = signal.SIGKILL,
    seed: int = 1,
) -> Kills:
    """Kill the service in the middle of its callers' answers, and wait until questions are answered again; repeat.

    Raises TimeoutError where the service does not come back.
    """
    random = Random(seed)
    kills = Kills(service)
    for _ in range(times):
        async with open_channel(running.target) as channel:
            group = _Callers(gateway_pb2_grpc.AnswerServiceStub(channel), answer_tokens)
            # Half of them search; some more begin at the last moment, so that the search service has calls, too.
            group.start(callers // 2, searched=False)
            group.start(callers - callers // 2, searched=True)
            try:
                async with asyncio.timeout(BACK_SECONDS):
                    await group.answering.wait()
                await asyncio.sleep(0.2 * random.random())
                group.start(max(1, callers // 4), searched=True)
                await asyncio.sleep(0.01 * random.random())
                killed = time.monotonic()
                os.kill(_pid(running.fleet, service), number)
                await group.wait(HUNG_SECONDS)
            finally:
                ended = await group.stop()
        _note(kills, ended, killed)
        kills.back_seconds.append(await _back(running.target, killed))
    return kills


def _note(kills: Kills, ended: Sequence[Ended | None], killed: float) -> None:
    for end in ended:
        if end is None:
            kills.hung += 1
            continue
        kills.codes[end.code.name] += 1
        kills.dishonest += end.whole != (end.code is grpc.StatusCode.OK)
        if end.code is not grpc.StatusCode.OK:
            kills.told_seconds.append(end.at - killed)


class _Callers:
    """Who asks while a service is killed."""

    def __init__(self, gateway: gateway_pb2_grpc.AnswerServiceAsyncStub, answer_tokens: int) -> None:
        self.answering = asyncio.Event()
        """Somebody's answer has begun."""
        self._gateway = gateway
        self._answer_tokens = answer_tokens
        self._calls: list[asyncio.Task[Ended]] = []

    def start(self, count: int, *, searched: bool) -> None:
        """Let so many more ask, with a source of their own or one that is to be searched."""
        self._calls += [asyncio.create_task(self._ask(searched)) for _ in range(count)]

    async def wait(self, seconds: float) -> None:
        """Until all have ended, or the time is over."""
        await asyncio.wait(self._calls, timeout=seconds)

    async def stop(self) -> list[Ended | None]:
        """How each ended. None: it had to be stopped."""
        for call in self._calls:
            call.cancel()
        ended = await asyncio.gather(*self._calls, return_exceptions=True)
        return [end if isinstance(end, Ended) else None for end in ended]

    async def _ask(self, searched: bool) -> Ended:
        request = pb.AskRequest(question=QUESTION, max_tokens=self._answer_tokens)
        if not searched:
            request.sources.append(SOURCE)
        # A grammar that goes on and on, whatever the model would say.
        request.response_format.gbnf = "root ::= " + " ".join(["[a-z ]{900}"] * 10)
        whole = False
        try:
            async for event in self._gateway.Ask(request, timeout=120):
                if event.HasField("delta"):
                    self.answering.set()
                whole = event.HasField("finished")
        except grpc.aio.AioRpcError as error:
            return Ended(error.code(), time.monotonic(), whole)
        return Ended(grpc.StatusCode.OK, time.monotonic(), whole)


def _pid(fleet: Fleet, service: str) -> int:
    pid = fleet.pid(service)
    assert pid is not None, f"{service} is not running"  # noqa: S101 - it has just answered
    return pid


async def _back(target: str, killed: float) -> float:
    """Ask as callers do until a searched question is answered. Returns how long that was after the kill."""
    async with asyncio.timeout(BACK_SECONDS), open_channel(target) as channel:
        gateway = gateway_pb2_grpc.AnswerServiceStub(channel)
        while True:
            try:
                await gateway.Answer(pb.AnswerRequest(ask=pb.AskRequest(question=QUESTION, max_tokens=1)), timeout=20)
                return time.monotonic() - killed
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.1)


def rows(all_kills: Sequence[Kills]) -> Iterator[Row]:
    """What callers must be told, and when."""
    for kills in all_kills:
        test = f"{TEST} {kills.service}, {kills.count} times"
        for name, number in sorted(kills.codes.items()):
            yield Row(test, f"calls that ended {name}", number)
        yield exactly(test, "calls that never ended", kills.hung, 0)
        yield exactly(test, "half answers that look whole, or whole ones that failed", kills.dishonest, 0)
        slowest = round(max(kills.told_seconds, default=0.0), 3)
        yield at_most(test, "slowest caller to be told, s", slowest, TOLD_SECONDS)
        yield Row(test, "back without a hand, median s", round(percentile(kills.back_seconds, 0.5), 2))
        yield at_most(test, "back without a hand, slowest s", round(max(kills.back_seconds), 2), BACK_SECONDS)
