"""Contests: settings are chosen once, then all sides are measured in turn on the same tokens."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from benchmarks.engine.contests import Contest
from benchmarks.engine.metrics import Figure
from benchmarks.engine.processes import SystemFailed
from benchmarks.engine.requests import Client, Request
from benchmarks.engine.results import OURS
from benchmarks.engine.rounds import rotated, run_contest
from benchmarks.engine.sides import ServerSide
from benchmarks.engine.systems import Running
from benchmarks.engine.works.work import Load
from tests.benchmarks.engine.scripted_client import ScriptedClient


class Process:
    def peak_memory_mib(self) -> float:
        return 64.0


@dataclass
class FakeSystem:
    """Every start and every seed that it is given goes into the journal."""

    name: str
    speed: float
    journal: list[str]
    starts: bool = True

    @contextlib.asynccontextmanager
    async def start(self) -> AsyncIterator[Running]:
        if not self.starts:
            raise SystemFailed(f"{self.name} did not start")
        self.journal.append(self.name)
        client = ScriptedClient()
        client.speed = self.speed
        yield Running(client, Process())


@dataclass
class FakeWork:
    seeds: list[str] = field(default_factory=list)
    name: str = "plain"
    streams: int = 2

    @property
    def load(self) -> Load:
        return Load(10, 100)

    async def run(self, client: Client, seed: str) -> list[Figure]:
        self.seeds.append(seed)
        async for _ in client.stream(Request((1,), 1)):
            pass
        return [Figure("throughput", client.speed)]


def side(role: str, work: FakeWork, *systems: FakeSystem) -> ServerSide:
    return ServerSide(role, "60m", "plain", 2, systems, (work,), work)


async def test_all_sides_are_measured_in_turn_on_the_same_tokens():
    journal: list[str] = []
    work, reports = FakeWork(), []
    contest = Contest(
        "plain",
        "60m",
        (
            side(OURS, work, FakeSystem("ours", 30.0, journal)),
            side("peer", work, FakeSystem("slow", 10.0, journal), FakeSystem("fast", 20.0, journal)),
        ),
    )
    rows = await run_contest(contest, rounds=3, seed=7, commit="abc", report=reports.append)
    assert journal == ["slow", "fast", "ours", "fast", "fast", "ours", "ours", "fast"]
    assert work.seeds == ["trial/7"] * 2 + ["7/0"] * 2 + ["7/1"] * 2 + ["7/2"] * 2
    found = {(row.metric, row.role): row for row in rows}
    assert found["throughput", "peer"].ratio == 1.5
    assert found["throughput", "peer"].peer_name == "fast"
    assert found["peak_memory", "peer"].streams == 2
    # The scripted engine spends 8 of 10 seconds inside the model.
    assert found["outside_decode", "peer"].ours == pytest.approx(0.2)
    assert any("slow: 10.0 tokens/s" in line for line in reports)


async def test_a_candidate_that_does_not_start_is_out():
    journal: list[str] = []
    broken, good = FakeSystem("broken", 99.0, journal, starts=False), FakeSystem("good", 1.0, journal)
    settled = await side("peer", FakeWork(), broken, good).settled("0", print)
    assert settled.candidates == (good,)


async def test_if_none_starts_the_reason_is_raised():
    systems = [FakeSystem(name, 1.0, [], starts=False) for name in "ab"]
    with pytest.raises(SystemFailed, match="a did not start"):
        await side("peer", FakeWork(), *systems).settled("0", print)


async def test_a_failing_side_fails_the_contest():
    sides = (side(OURS, FakeWork(), FakeSystem("ours", 1.0, [], starts=False)),)
    with pytest.raises(SystemFailed, match="ours"):
        await run_contest(Contest("plain", "60m", sides), rounds=1, seed=1, commit="", report=print)


async def test_the_preparation_is_done_first_and_not_measured():
    preparation, work = FakeWork(name="fill"), FakeWork()
    prepared = ServerSide(OURS, "60m", "plain", 2, (FakeSystem("a", 5.0, []),), (work,), work, preparation=preparation)
    samples = await prepared.measure("0")
    assert preparation.seeds == ["0"]
    assert {sample.work for sample in samples} == {"plain"}


def test_another_side_goes_first_in_each_round():
    sides = [side(name, FakeWork()) for name in "abc"]
    orders = ["".join(entry.role for entry in rotated(sides, number)) for number in range(4)]
    assert orders == ["abc", "bca", "cab", "abc"]


def test_a_side_without_a_wanted_work_is_left_out():
    contest = Contest("plain", "60m", (side(OURS, FakeWork()), side("peer", FakeWork(streams=8))))
    assert contest.restricted(lambda work, model, streams: (work, model) == ("plain", "60m")) == contest
    only_two = contest.restricted(lambda _work, _model, streams: streams == 2)
    assert only_two is not None
    assert [entry.role for entry in only_two.sides] == [OURS]
    assert contest.restricted(lambda _work, _model, streams: streams == 8) is None
