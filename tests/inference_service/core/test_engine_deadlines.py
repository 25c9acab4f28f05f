"""Deadlines that pass, and deadlines that cannot be kept."""

import pytest

from inference_service.core.errors import DeadlinePassed, DeadlineTooShort
from inference_service.core.types import Progress, Started
from tests.inference_service.engine_bench import FakeBench, finished, of, text
from tests.support.fake_runner import FakeRunner, say
from tests.support.sequences import engine_request

SECONDS_PER_TOKEN = 0.01
PLENTY = 10**6


def bench(**parts: int) -> FakeBench:
    """A hundred tokens a second, as the engine has seen."""
    runner = FakeRunner(lambda prompt: say("x" * 60), pass_seconds=lambda tokens: SECONDS_PER_TOKEN * tokens)
    made = FakeBench(runner, step_tokens=64, **{"kv_cells": 5000, **parts})
    made.answer(engine_request(64, first_token=9000, max_tokens=1, salt="warm"))
    while made.reuse.unpark_one(hurry=False):
        pass
    return made


@pytest.mark.parametrize(("slots", "where"), [(2, "while it was being answered"), (1, "in the queue")])
def test_a_passed_deadline_ends_a_sequence_wherever_it_is(slots, where):
    made = FakeBench(FakeRunner(lambda prompt: say("x" * 50)), slots=slots)
    made.add(engine_request(max_tokens=60))
    late = made.add(engine_request(max_tokens=60, deadline=0.05))
    error = of(made.finish(), late)[-1]
    assert isinstance(error, DeadlinePassed)
    assert not isinstance(error, DeadlineTooShort)
    assert where in str(error)
    assert made.empty()


def test_a_prompt_that_cannot_be_read_in_time_is_refused_before_any_work():
    made = bench()
    passes = len(made.runner.passes)
    item = made.add(engine_request(500, deadline=made.clock() + 4.9))
    outputs = of(made.step(), item)
    assert len(outputs) == 1
    assert isinstance(outputs[0], DeadlineTooShort)
    assert "500 tokens left of its prompt takes 5.0 s or more here, and 4.9 s are left" in str(outputs[0])
    assert len(made.runner.passes) == passes
    assert made.empty()


def test_a_prompt_that_can_just_be_read_in_time_is_read():
    made = bench()
    item = made.add(engine_request(500, max_tokens=1, deadline=made.clock() + 5.5))
    outputs = of(made.finish(), item)
    assert finished(outputs)
    assert made.empty()


def test_nothing_is_refused_before_anything_is_known_of_this_host():
    made = FakeBench(FakeRunner(pass_seconds=lambda tokens: 1.0), kv_cells=5000)
    item = made.add(engine_request(500, deadline=0.1))
    assert isinstance(of(made.step(), item)[0], Started)
    error = of(made.step(), item)[-1]
    assert isinstance(error, DeadlinePassed)
    assert not isinstance(error, DeadlineTooShort)


def test_a_request_that_waited_too_long_in_the_queue_is_refused_there():
    made = bench(slots=1)
    first = made.add(engine_request(4, max_tokens=50))
    waiting = made.add(engine_request(100, deadline=made.clock() + 1.2))
    outputs = made.finish()
    error = of(outputs, waiting)[-1]
    assert isinstance(error, DeadlineTooShort)
    assert finished(of(outputs, first))
    assert made.empty()


def test_a_prompt_that_falls_behind_is_given_up_when_it_is_certain():
    made = bench()
    item = made.add(engine_request(500, deadline=made.clock() + 5.5))
    outputs = made.step()
    made.now += 1.0
    outputs += made.finish()
    said = of(outputs, item)
    assert isinstance(said[-1], DeadlineTooShort)
    assert isinstance(said[-2], Progress)
    assert said[-2].processed < 500
    assert made.empty()


@pytest.mark.parametrize("copied", [False, True], ids=["in the KV cache", "in host memory"])
def test_what_is_kept_of_a_prompt_need_not_be_read(copied):
    made = bench(cache_bytes=PLENTY)
    made.answer(engine_request(480, max_tokens=1))
    while copied and made.reuse.unpark_one(hurry=False):
        pass
    stranger = made.add(engine_request(500, max_tokens=1, deadline=made.clock() + 0.6, salt="stranger"))
    item = made.add(engine_request(500, max_tokens=1, deadline=made.clock() + 0.6))
    outputs = made.finish()
    assert isinstance(of(outputs, stranger)[-1], DeadlineTooShort), "nothing is kept under that salt"
    assert finished(of(outputs, item)).usage.cached_tokens == 480


def test_what_is_still_coming_back_from_host_memory_need_not_be_read_either():
    made = bench(cache_bytes=PLENTY)
    made.answer(engine_request(640))
    while made.reuse.unpark_one(hurry=False):
        pass
    stream = made.add(engine_request(4, first_token=8000, max_tokens=500, ignore_eos=True))
    while not stream.answer:
        made.step()
    made.runner.copy_seconds = 0.04
    item = made.add(engine_request(641, max_tokens=1, deadline=made.clock() + 3.0))
    outputs = made.step()
    assert item.restorations, "a stream is not held up until all is back"
    while item.slot is not None:
        outputs += made.step()
    assert finished(of(outputs, item)).usage.cached_tokens == 640


def test_a_sequence_that_speaks_may_go_on_to_the_last_moment():
    made = bench()
    item = made.add(engine_request(64, max_tokens=60, deadline=made.clock() + 1.0))
    said = of(made.finish(), item)
    assert text(said).startswith("xxxxx")
    assert isinstance(said[-1], DeadlinePassed)
    assert not isinstance(said[-1], DeadlineTooShort)
    assert made.empty()
