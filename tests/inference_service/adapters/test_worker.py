import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from inference_service.adapters.worker import EngineWorker
from inference_service.core.engine import Engine
from inference_service.core.errors import DeadlinePassed, EngineUnavailable, QueueFull
from inference_service.core.pacing import StepPacer
from inference_service.core.ports import Chunk, Sampled
from inference_service.core.reuse import KvReuse
from inference_service.core.scheduler import Scheduler
from inference_service.core.sequence import EngineRequest
from inference_service.core.types import Delta, Event, Finished, Started
from tests.support.fake_runner import CELL_BYTES, FakeRunner, FakeSegment, say
from tests.support.sequences import engine_request


class PacedRunner(FakeRunner):
    """Takes a while for each pass, and may be held or broken."""

    seconds: float = 0.001
    broken: bool = False

    def run(self, chunks: Sequence[Chunk]) -> list[Sampled]:
        time.sleep(self.seconds)
        if self.broken:
            raise RuntimeError("scripted crash")
        return super().run(chunks)


@dataclass
class SlowCopies(FakeRunner):
    """Takes a while for each piece that is copied out."""

    copying: float = 0.05
    started: threading.Event = field(default_factory=threading.Event)

    def save(self, slot: int, start: int, end: int) -> FakeSegment | None:
        self.started.set()
        time.sleep(self.copying)
        return super().save(slot, start, end)


@asynccontextmanager
async def working(
    runner: FakeRunner,
    *,
    slots: int = 2,
    queue: int = 2,
    cache_bytes: int = 0,
    on_failure: Callable[[], None] = lambda: None,
) -> AsyncIterator[EngineWorker]:
    scheduler = Scheduler(slots=slots, kv_cells=4000, parking_slots=slots)
    engine = Engine(
        runner,
        scheduler,
        StepPacer(target_seconds=0.25, max_step_tokens=64),
        KvReuse(runner, scheduler, limit_bytes=cache_bytes, clock=time.monotonic),
        draft_tokens=4,
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


async def test_kept_cells_are_copied_out_while_nothing_runs_and_then_the_thread_sleeps():
    runner = PacedRunner(lambda prompt: say("fine"))
    async with working(runner, cache_bytes=10**6) as worker:
        await collect(worker, engine_request(300))
        await until(lambda: worker.status.prefix_cache_bytes == 304 * CELL_BYTES)
        assert (worker.status.kv_cells_cached, worker.status.slots_used) == (304, 0)
        events = await collect(worker, engine_request(300))
        assert isinstance(events[0], Started)
        assert events[0].cached_tokens == 299
        passes, copies = len(runner.passes), len(runner.saved)
        await asyncio.sleep(0.05)
        assert (len(runner.passes), len(runner.saved)) == (passes, copies)


async def test_a_request_that_comes_while_cells_are_copied_out_waits_for_one_piece_only():
    runner = SlowCopies(lambda prompt: say("fine"), copying=0.05)
    async with working(runner, cache_bytes=10**6) as worker:
        await collect(worker, engine_request(3000, max_tokens=4))
        await asyncio.to_thread(runner.started.wait, 20)
        pieces = len(runner.saved)
        await collect(worker, engine_request(4, first_token=5000, max_tokens=1))
        assert len(runner.saved) - pieces < 20, "of 47"


async def test_an_answer_does_not_wait_for_what_is_copied_out_behind_it():
    runner = SlowCopies(lambda prompt: say("fine"), copying=0.5)
    async with working(runner, cache_bytes=10**6) as worker:
        await collect(worker, engine_request(50))
        assert not runner.saved, "its caller has the end before the first piece is out"
        await until(lambda: bool(runner.saved))


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
