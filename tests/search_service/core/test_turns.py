from __future__ import annotations

import asyncio
import random

import pytest

from search_service.core.turns import FairTurns
from tests.support.clocks import settle


class Bench:
    def __init__(self) -> None:
        self.turns = FairTurns()
        self.order: list[str] = []
        self.at_once = 0

    async def call(self, caller: str) -> None:
        async with self.turns.turn(caller):
            self.at_once += 1
            assert self.at_once == 1
            self.order.append(caller)
            try:
                await asyncio.sleep(0)
            finally:
                self.at_once -= 1

    async def run(self, callers: str) -> str:
        await asyncio.gather(*(self.call(caller) for caller in callers))
        return "".join(self.order)


@pytest.mark.parametrize(
    ("arriving", "served"),
    [("a", "a"), ("aaa", "aaa"), ("aaab", "abaa"), ("aaaabbc", "abacbaa"), ("abcabc", "abcabc")],
)
async def test_callers_take_turns(arriving: str, served: str) -> None:
    assert await Bench().run(arriving) == served


async def test_how_many_are_ahead() -> None:
    bench = Bench()
    held = asyncio.Event()

    async def hold() -> None:
        async with bench.turns.turn("a"):
            await held.wait()

    calls = [asyncio.create_task(hold())]
    await settle()
    calls += [asyncio.create_task(bench.call(caller)) for caller in "aaab"]
    await settle()
    assert [bench.turns.ahead(caller) for caller in "abc"] == [1 + 3 + 1, 1 + 1 + 1, 1 + 0 + 1]
    held.set()
    await asyncio.gather(*calls)
    assert bench.turns.ahead("a") == 0


async def test_whoever_is_cancelled_at_any_moment_leaves_the_line_going() -> None:
    chance = random.Random(3)
    for _ in range(100):
        bench = Bench()
        tasks = [asyncio.create_task(bench.call(chance.choice("abc"))) for _ in range(12)]
        for _ in range(chance.randrange(10)):
            await asyncio.sleep(0)
            chance.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(1):
            await bench.call("late")
        assert bench.turns.ahead("late") == 0
