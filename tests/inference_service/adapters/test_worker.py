import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from inference_service.adapters.worker import EngineWorker
from inference_service.core.admission import Admission
from inference_service.core.engine import Engine
from inference_service.core.errors import (
    DeadlinePassed,
    EngineFailed,
    EngineStuck,
    EngineUnavailable,
    QueueFull,
    QueueTooSlow,
    ReaderTooSlow,
)
from inference_service.core.pacing import StepPacer
from inference_service.core.ports import Chunk, EnginePlace, Sampled
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
    on_failure: Callable[[EngineUnavailable], None] = lambda failure: None,
    stuck_seconds: float = 60,
    mailbox_bytes: int = 10**6,
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
    worker = EngineWorker(
        engine,
        Admission(slots=slots, queue=queue, caller_queue=queue),
        on_failure=on_failure,
        stuck_seconds=stuck_seconds,
        mailbox_bytes=mailbox_bytes,
    )
    try:
        yield worker
    finally:
        await worker.close()


def reserve(worker: EngineWorker, caller: str = "") -> EnginePlace:
    return worker.reserve(caller, timeout_seconds=60, max_tokens=10)


async def collect(worker: EngineWorker, request: EngineRequest | None = None) -> list[Event]:
    place = reserve(worker)
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
            reserve(worker)
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
        place = reserve(worker)
        with pytest.raises(QueueFull):
            reserve(worker)
        place.release()
        place.release()
        reserve(worker).release()


async def test_a_deadline_ends_a_running_request():
    runner = PacedRunner(lambda prompt: say("x" * 3000))
    async with working(runner) as worker:
        with pytest.raises(DeadlinePassed):
            await collect(worker, engine_request(max_tokens=3000, deadline=time.monotonic() + 0.05))
        assert worker.status.slots_used == 0


async def test_a_slow_caller_gets_merged_deltas_and_loses_nothing():
    runner = FakeRunner(lambda prompt: say("abcdefghij" * 20))
    async with working(runner) as worker:
        place = reserve(worker)
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
    failures: list[EngineUnavailable] = []
    runner = PacedRunner(lambda prompt: say("x" * 3000))
    async with working(runner, slots=1, queue=2, on_failure=failures.append) as worker:
        tasks = [asyncio.create_task(collect(worker, engine_request(max_tokens=3000))) for _ in range(3)]
        await until(lambda: worker.status.queue_length == 2)
        runner.broken = True
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [EngineFailed] * 3
        assert [type(failure) for failure in failures] == [EngineFailed]
        with pytest.raises(EngineFailed):
            reserve(worker)


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
    runner = PacedRunner()
    async with working(runner) as worker:
        place = reserve(worker)  # its prompt is still being built
        runner.broken = True
        with pytest.raises(EngineUnavailable):
            await collect(worker)
        with pytest.raises(EngineFailed):
            await asyncio.wait_for(anext(aiter(place.run(engine_request()))), 20)
        place.release()


async def test_every_place_taken_is_counted_as_running_or_waiting():
    async with working(FakeRunner(), slots=1, queue=2) as worker:
        places = [reserve(worker), reserve(worker)]
        assert (worker.status.slots_used, worker.status.queue_length) == (0, 2)
        for place in places:
            place.release()
        assert worker.status.queue_length == 0


async def test_a_new_callers_request_does_not_wait_behind_all_of_anothers():
    runner = PacedRunner(lambda prompt: say("x" * 20))
    async with working(runner, slots=1, queue=20) as worker:
        ended: list[str] = []

        async def ask(caller: str) -> None:
            place = worker.reserve(caller, timeout_seconds=60, max_tokens=10)
            try:
                async for _ in place.run(engine_request(max_tokens=20, caller=caller)):
                    pass
                ended.append(caller)
            finally:
                place.release()

        many = [asyncio.create_task(ask("many")) for _ in range(15)]
        await until(lambda: worker.status.slots_used == 1)
        await ask("one")
        assert ended.index("one") <= 2, "one that ran already, and one whose turn it was"
        await asyncio.gather(*many)


async def test_what_cannot_run_in_time_is_refused_by_the_pace_of_those_before():
    runner = PacedRunner(lambda prompt: say("x" * 50))
    runner.seconds = 0.002
    async with working(runner, slots=1, queue=50) as worker:
        tasks = [asyncio.create_task(collect(worker, engine_request(max_tokens=50))) for _ in range(5)]
        await asyncio.gather(*tasks[:3])
        with pytest.raises(QueueTooSlow):
            worker.reserve("", timeout_seconds=0.001, max_tokens=10)
        worker.reserve("", timeout_seconds=60, max_tokens=10).release()
        await asyncio.gather(*tasks)
        worker.reserve("", timeout_seconds=0.001, max_tokens=10).release()


async def test_a_step_that_does_not_end_is_told_to_everyone():
    failures: list[EngineUnavailable] = []
    go_on = threading.Event()

    class StuckRunner(PacedRunner):
        stuck = False

        def run(self, chunks: Sequence[Chunk]) -> list[Sampled]:
            if self.stuck:
                go_on.wait(60)
            return super().run(chunks)

    runner = StuckRunner(lambda prompt: say("x" * 3000))
    async with working(runner, slots=1, queue=2, on_failure=failures.append, stuck_seconds=0.2) as worker:
        tasks = [asyncio.create_task(collect(worker, engine_request(max_tokens=3000))) for _ in range(3)]
        await until(lambda: worker.status.queue_length == 2)
        runner.stuck = True
        async with asyncio.timeout(20):
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [EngineStuck] * 3
        assert [type(failure) for failure in failures] == [EngineStuck]
        with pytest.raises(EngineStuck):
            reserve(worker)
        await asyncio.wait_for(worker.close(), 20)  # which does not wait for the thread
        assert any(thread.name == "engine" for thread in threading.enumerate())
        go_on.set()
        await until(lambda: not any(thread.name == "engine" for thread in threading.enumerate()))
        await asyncio.sleep(0.05)  # what it brings now concerns nobody


async def test_slow_steps_are_not_stuck_and_the_first_may_take_longer():
    failures: list[EngineUnavailable] = []
    runner = PacedRunner(lambda prompt: say("x" * 10))
    runner.seconds = 0.1
    async with working(runner, on_failure=failures.append, stuck_seconds=0.4) as worker:
        assert text(await collect(worker, engine_request(max_tokens=8))) == "x" * 8
    runner = PacedRunner()
    runner.seconds = 0.5
    async with working(runner, on_failure=failures.append, stuck_seconds=0.1) as worker:
        assert await collect(worker, engine_request(max_tokens=1))
    assert not failures


async def test_an_answer_that_nobody_takes_ends_and_frees_its_slot():
    runner = FakeRunner(lambda prompt: say("x" * 3000))
    async with working(runner, slots=1, mailbox_bytes=1000) as worker:
        place = reserve(worker)
        events = place.run(engine_request(max_tokens=3000, ignore_eos=True))
        assert isinstance(await anext(events), Started)
        await until(lambda: worker.status.slots_used == 0)
        assert worker.status.kv_cells_reserved == 0
        with pytest.raises(ReaderTooSlow, match="1,000 bytes") as ended:
            [event async for event in events]  # what had been taken with the beginning comes first
        assert (ended.value.limit_name, ended.value.limit) == ("stream_buffer_bytes", 1000)
        place.release()
        assert worker.status.queue_length == 0
        assert sum(map(len, runner.passes)) < 3000, "it was not written to its end"
        assert text(await collect(worker, engine_request(max_tokens=5))) == "xxxxx"


async def test_an_answer_of_the_whole_mailbox_is_not_too_much():
    answer = "abcdefghij" * 20
    runner = FakeRunner(lambda prompt: say(answer))
    whole = 200 + 3 * 201
    async with working(runner, mailbox_bytes=whole) as worker:
        place = reserve(worker)
        events = place.run(engine_request(max_tokens=250))
        said = [await anext(events)]
        await until(lambda: worker.status.slots_used == 0)
        said += [event async for event in events]
        place.release()
        assert text(said) == answer
        assert isinstance(said[-1], Finished)


async def test_who_leaves_the_queue_gives_the_place_back_before_the_step_ends():
    class HeldRunner(FakeRunner):
        holding = threading.Event()

        def run(self, chunks: Sequence[Chunk]) -> list[Sampled]:
            self.holding.wait(20)
            return super().run(chunks)

    runner = HeldRunner(lambda prompt: say("fine"))
    async with working(runner, slots=1, queue=2) as worker:
        running = asyncio.create_task(collect(worker))
        await until(lambda: worker.status.slots_used == 1)

        async def come_and_leave() -> int:
            waiting = asyncio.create_task(collect(worker))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            return worker.status.queue_length

        assert [await come_and_leave() for _ in range(3)] == [0, 0, 0]
        # The engine still has as many of them as there are places: no more can be given back before it looks.
        assert [await come_and_leave() for _ in range(2)] == [1, 2]
        with pytest.raises(QueueFull):
            reserve(worker)
        runner.holding.set()
        assert text(await running) == "fine"
        await until(lambda: worker.status.queue_length == 0)
        assert [text(await collect(worker)) for _ in range(4)] == ["fine"] * 4
