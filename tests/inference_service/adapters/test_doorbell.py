"""Calls from another thread into the event loop's."""

import asyncio
import sys
import threading
from pathlib import Path

import pytest

from inference_service.adapters.doorbell import Doorbell


async def ring_from_a_thread(bell: Doorbell, *calls: tuple) -> None:
    def ring_all():
        for call in calls:
            bell.ring(*call)

    await asyncio.to_thread(ring_all)


async def test_calls_are_made_in_the_event_loop_s_thread_and_in_order():
    bell, made = Doorbell(), []
    done = asyncio.Event()
    calls = [(lambda number: made.append((number, threading.get_ident())), number) for number in range(1000)]
    await ring_from_a_thread(bell, *calls, (done.set,))
    await asyncio.wait_for(done.wait(), 10)
    assert made == [(number, threading.get_ident()) for number in range(1000)]
    bell.close()


async def test_it_rings_while_the_event_loop_is_busy_without_ever_waiting():
    """More rings than a pipe holds bytes: what is lost of those wakes nobody who is not awake already."""
    bell, made = Doorbell(), []
    rings = 200_000
    for number in range(rings):  # this thread is the loop's: nobody empties the pipe meanwhile
        bell.ring(made.append, number)
    assert not made
    await asyncio.wait_for(asyncio.create_task(until(lambda: len(made) == rings)), 30)
    bell.ring(made.append, "again")
    await asyncio.wait_for(asyncio.create_task(until(lambda: made[-1] == "again")), 10)
    bell.close()


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def test_a_call_that_fails_is_reported_and_the_next_is_made():
    bell, reports = Doorbell(), []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
    done = asyncio.Event()
    await ring_from_a_thread(bell, (int, "no number"), (done.set,))
    await asyncio.wait_for(done.wait(), 10)
    (report,) = reports
    assert isinstance(report["exception"], ValueError)
    bell.close()


def open_files() -> set[Path]:
    return set(Path("/dev/fd").iterdir())


async def test_closing_makes_the_calls_that_are_left_and_gives_back_the_pipe():
    before = open_files()
    bell, made = Doorbell(), []
    bell.ring(made.append, 1)
    bell.close()
    assert made == [1]
    assert open_files() == before


async def test_ringing_keeps_the_interpreter():
    """Between two rings no other thread comes to run, however much it would like to."""
    bell = Doorbell()
    interval = sys.getswitchinterval()
    progress, stop, begun = [0], False, threading.Event()

    def count():
        begun.set()
        while not stop:
            progress[0] += 1

    thread = threading.Thread(target=count)
    # So long that Python itself takes the interpreter from nobody during the test.
    sys.setswitchinterval(0.5)
    try:
        thread.start()
        begun.wait()
        seen = progress[0]
        for _ in range(100):
            bell.ring(int)
        assert progress[0] == seen
    finally:
        stop = True
        sys.setswitchinterval(interval)
        thread.join()
        bell.close()


@pytest.mark.parametrize("times", [1, 50])
async def test_doorbells_can_be_made_one_after_the_other(times):
    for _ in range(times):
        bell, done = Doorbell(), asyncio.Event()
        await ring_from_a_thread(bell, (done.set,))
        await asyncio.wait_for(done.wait(), 10)
        bell.close()
