import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from inference_service.adapters.worker import EngineWorker
from inference_service.core.engine import Engine
from inference_service.core.errors import DeadlinePassed, EngineUnavailable, QueueFull
from inference_service.core.pacing import StepPacer
from inference_service.core.ports import Chunk, SampledToken
from inference_service.core.scheduler import Scheduler
from inference_service.core.sequence import EngineRequest
from inference_service.core.types import Delta, Event, Finished, Started
from tests.support.fake_runner import FakeRunner, say
from tests.support.sequences import engine_request


class PacedRunner(FakeRunner):
    """Takes a while for each pass, and may be held or broken."""

    seconds: float = 0.001
    broken: bool = False

    def run(self, chunks: Sequence[Chunk]) -> list[SampledToken]:
        time.sleep(self.seconds)
        if self.broken:
            raise RuntimeError("scripted crash")
        return super().run(chunks)


@asynccontextmanager
async def working(
    runner: FakeRunner, *, slots: int = 2, queue: int = 2, on_failure: Callable[[], None] = lambda: None
) -> AsyncIterator[EngineWorker]:
    engine = Engine(
        runner,
        Scheduler(slots=slots, kv_cells=4000),
        StepPacer(target_seconds=0.25, max_step_tokens=64),
        queue_capacity=queue,
        clock=time.monotonic,
    )
    worker = EngineWorker(engine, capacity=slots + queue, on_failure=on_failure)
    try:
        yield worker
    finally:
        await worker.close()


async def collect(worker: EngineWorker, request: EngineRequest | None = None) -> list[Event]:
    place = worker.reserve()
    try:
        return [event async for event in place.run(request or engine_request())]
    finally:
        place.release()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


def text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


async def test_many_requests_at_once_each_get_their_own_answer():
    runner = PacedRunner(lambda prompt: say(f"to {prompt[0]}"))
    async with working(runner, slots=4, queue=30) as worker:
        requests = [engine_request(first_token=number, max_tokens=50) for number in range(1, 31)]
        answers = await asyncio.gather(*(collect(worker, request) for request in requests))
        assert [text(events) for events in answers] == [f"to {number}" for number in range(1, 31)]
        assert all(isinstance(events[0], Started) and isinstance(events[-1], Finished) for events in answers)
        assert worker.status.slots_used == worker.status.queue_length == worker.status.kv_cells_reserved == 0


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back():
    runner = PacedRunner(lambda prompt: say("x" * 200))
    async with working(runner, slots=1, queue=1) as worker:
        running = [asyncio.create_task(collect(worker, engine_request(max_tokens=250))) for _ in range(2)]
        await until(lambda: worker.status.queue_length == 1)
        with pytest.raises(QueueFull) as refused:
            worker.reserve()
        assert 0.5 <= refused.value.retry_after_seconds <= 30
        await asyncio.gather(*running)
        assert text(await collect(worker)) == "x" * 16


async def test_a_cancelled_caller_frees_its_slot_at_once():
    runner = PacedRunner(lambda prompt: say("x" * 3000))
    async with working(runner, slots=1, queue=1) as worker:
        task = asyncio.create_task(collect(worker, engine_request(max_tokens=3000)))
        await until(lambda: worker.status.slots_used == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: worker.status.slots_used == 0)
        passes = len(runner.passes)
        assert text(await collect(worker, engine_request(max_tokens=1))) == "x"
        assert len(runner.passes) == passes + 1, "nothing of the cancelled request ran any more"


async def test_a_place_that_never_ran_is_given_back():
    async with working(FakeRunner(), slots=1, queue=0) as worker:
        place = worker.reserve()
        with pytest.raises(QueueFull):
            worker.reserve()
        place.release()
        place.release()
        worker.reserve().release()


async def test_a_deadline_ends_a_running_request():
    runner = PacedRunner(lambda prompt: say("x" * 3000))
    async with working(runner) as worker:
        with pytest.raises(DeadlinePassed):
            await collect(worker, engine_request(max_tokens=3000, deadline=time.monotonic() + 0.05))
        assert worker.status.slots_used == 0


async def test_a_slow_caller_gets_merged_deltas_and_loses_nothing():
    runner = FakeRunner(lambda prompt: say("abcdefghij" * 20))
    async with working(runner) as worker:
        place = worker.reserve()
        said, deltas = "", 0
        async for event in place.run(engine_request(max_tokens=250)):
            if isinstance(event, Delta):
                said += event.text
                deltas += 1
                await asyncio.sleep(0.02)
        place.release()
        assert said == "abcdefghij" * 20
        assert deltas < 100


async def test_a_crash_answers_everyone_and_is_reported():
    failed = asyncio.Event()
    runner = PacedRunner(lambda prompt: say("x" * 3000))
    async with working(runner, slots=1, queue=2, on_failure=failed.set) as worker:
        tasks = [asyncio.create_task(collect(worker, engine_request(max_tokens=3000))) for _ in range(3)]
        await until(lambda: worker.status.queue_length == 2)
        runner.broken = True
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, EngineUnavailable) for result in results)
        await asyncio.wait_for(failed.wait(), 20)
        with pytest.raises(EngineUnavailable):
            worker.reserve()


async def test_closing_answers_who_is_still_there_and_ends_the_thread():
    runner = PacedRunner(lambda prompt: say("x" * 3000))
    async with working(runner) as worker:
        task = asyncio.create_task(collect(worker, engine_request(max_tokens=3000)))
        await until(lambda: worker.status.slots_used == 1)
    with pytest.raises(EngineUnavailable):
        await task
    assert not any(thread.name == "engine" for thread in threading.enumerate())


async def test_a_request_that_comes_when_the_engine_has_ended_is_refused_and_does_not_hang():
    failed = asyncio.Event()
    runner = PacedRunner()
    async with working(runner, on_failure=failed.set) as worker:
        place = worker.reserve()  # its prompt is still being built
        runner.broken = True
        with pytest.raises(EngineUnavailable):
            await collect(worker)
        await asyncio.wait_for(failed.wait(), 20)
        with pytest.raises(EngineUnavailable):
            await asyncio.wait_for(anext(aiter(place.run(engine_request()))), 20)
        place.release()


async def test_every_place_taken_is_counted_as_running_or_waiting():
    async with working(FakeRunner(), slots=1, queue=2) as worker:
        places = [worker.reserve(), worker.reserve()]
        assert (worker.status.slots_used, worker.status.queue_length) == (0, 2)
        for place in places:
            place.release()
        assert worker.status.queue_length == 0
