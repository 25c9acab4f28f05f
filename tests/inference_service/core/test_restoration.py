"""Cells that come back from host memory, and cells that give way."""

import pytest

from inference_service.core.prefixes import SEGMENT_TOKENS
from inference_service.core.sequence import Sequence
from inference_service.core.types import Started
from tests.inference_service.engine_bench import FakeBench, finished, of, text
from tests.support.fake_runner import FakeRunner, say
from tests.support.sequences import engine_request

PLENTY = 10**6
WAIT_SECONDS = 0.05
"""How long copying may hold up running streams."""


def bench(runner: FakeRunner | None = None, **parts: int) -> FakeBench:
    made = runner or FakeRunner(lambda prompt: say(f"after {prompt[-1]}"))
    return FakeBench(made, cache_bytes=PLENTY, step_tokens=1024, **{"kv_cells": 10_000, **parts})


def keep_in_host_memory(made: FakeBench, prompt: object) -> None:
    made.answer(engine_request(prompt))
    while made.reuse.unpark_one(hurry=False):
        pass
    assert made.runner.used_cells == 0


def stream(made: FakeBench) -> Sequence:
    """A sequence that generates for long."""
    item = made.add(engine_request(3, first_token=5000, max_tokens=900, salt="stream", ignore_eos=True))
    while not item.answer:
        made.step()
    return item


@pytest.mark.parametrize(
    ("then", "parts"),
    [
        (range(1, 101), [(0, 64), (64, 99)]),
        (range(1, 201), [(0, 64), (64, 100)]),
        ((*range(1, 81), *range(800, 900)), [(0, 64), (64, 80)]),
        ((*range(1, 31), *range(800, 900)), [(0, 30)]),
        (range(1, 66), [(0, 64)]),
        ((*range(800, 900),), []),
    ],
    ids=["the same", "longer", "parts in the second", "parts in the first", "at a border", "another"],
)
def test_the_common_beginning_of_the_prompt_is_copied_back(then, parts):
    made = bench()
    keep_in_host_memory(made, 100)
    outputs = made.answer(engine_request(then))
    assert [(start, end) for _, start, end in made.runner.restored] == parts
    assert finished(outputs).usage.cached_tokens == (parts[-1][1] if parts else 0)
    assert text(outputs) == f"after {then[-1]}"
    assert made.empty()


def test_what_is_resident_is_shared_and_only_the_rest_is_copied_back():
    made = bench()
    keep_in_host_memory(made, 200)
    made.answer(engine_request((*range(1, 81), *range(800, 810))))
    del made.runner.restored[:]
    outputs = made.answer(engine_request(range(1, 201)))
    assert made.runner.shared[-1][2] == 80
    assert [(start, end) for _, start, end in made.runner.restored] == [(80, 128), (128, 192), (192, 199)]
    assert finished(outputs).usage.cached_tokens == 199


def test_texts_that_parted_within_a_segment_are_put_together_again():
    made = bench()
    keep_in_host_memory(made, 100)
    keep_in_host_memory(made, (*range(1, 41), *range(800, 860)))
    del made.runner.restored[:]
    outputs = made.answer(engine_request((*range(1, 41), *range(800, 860), 5)))
    assert [(start, end) for _, start, end in made.runner.restored] == [(0, 40), (40, 100)]
    assert text(outputs) == "after 5"


def test_a_request_starts_when_its_cells_are_back_and_reports_them():
    made = bench(FakeRunner(lambda prompt: say("yes"), copy_seconds=0.02))
    keep_in_host_memory(made, 8 * SEGMENT_TOKENS)
    running = stream(made)
    item = made.add(engine_request(range(1, 8 * SEGMENT_TOKENS + 1)))
    before = len(made.runner.restored)
    steps = 0
    while not item.started:
        copied, said = len(made.runner.restored), len(running.answer)
        outputs = of(made.step(), item)
        assert len(running.answer) == said + 1, "the stream goes on meanwhile"
        assert 1 <= len(made.runner.restored) - copied <= 1 + WAIT_SECONDS / 0.02
        steps += 1
    assert steps > 1
    assert len(made.runner.restored) - before == 8
    assert isinstance(outputs[0], Started)
    assert outputs[0].cached_tokens == 8 * SEGMENT_TOKENS - 1
    made.finish()
    assert item.cached == 8 * SEGMENT_TOKENS - 1
    assert made.empty()


def test_where_no_stream_waits_everything_comes_back_at_once():
    made = bench(FakeRunner(lambda prompt: say("yes"), copy_seconds=1.0))
    keep_in_host_memory(made, 8 * SEGMENT_TOKENS)
    item = made.add(engine_request(range(1, 8 * SEGMENT_TOKENS + 1)))
    made.step()
    assert item.started
    assert item.cached == 8 * SEGMENT_TOKENS - 1


def test_who_leaves_while_cells_come_back_is_let_go_and_nothing_is_kept_of_it():
    made = bench(FakeRunner(lambda prompt: say("yes"), copy_seconds=0.04))
    keep_in_host_memory(made, 8 * SEGMENT_TOKENS)
    running = stream(made)
    item = made.add(engine_request(range(1, 8 * SEGMENT_TOKENS + 1)))
    made.step()
    assert 0 < item.processed < 8 * SEGMENT_TOKENS - 1
    item.departed = True
    made.step()
    assert set(made.runner.cells) == {running.slot}


@pytest.mark.parametrize(("others", "cached"), [(16, 36), (41, 30), (51, 0)], ids=["room", "for the first", "none"])
def test_where_there_is_no_room_just_now_the_rest_of_the_prompt_is_read_anew(others, cached):
    """A segment comes back whole, 64 cells, before it is cut."""
    made = bench(kv_cells=111)
    keep_in_host_memory(made, 90)
    keep_in_host_memory(made, (*range(1, 31), *range(800, 860)))
    other = made.add(engine_request(others - 1, first_token=5000, max_tokens=10, salt="x", ignore_eos=True))
    while len(other.answer) < 2:
        made.step()
    assert made.runner.used_cells == others
    item = made.add(engine_request((*range(1, 31), *range(800, 806), 5), max_tokens=13))
    outputs = made.finish()
    assert finished(of(outputs, item)).usage.cached_tokens == cached
    assert text(of(outputs, item)) == "after 5"
    assert finished(of(outputs, other))
    assert made.empty()


def test_parked_cells_give_way_to_a_request_that_needs_them_and_are_copied_out_first():
    made = bench(kv_cells=1000)
    made.add(engine_request(600))
    while not made.reuse.parked_cells:
        made.step()
    item = made.add(engine_request(700, first_token=5000))
    made.step()
    assert item.slot is not None, "in the very next step"
    assert (made.reuse.parked_cells, made.engine.status.prefix_cache_bytes > 0) == (0, True)
    made.finish()
    assert finished(made.answer(engine_request(600))).usage.cached_tokens == 599


def test_parked_slots_give_way_too():
    made = bench(slots=1, parking_slots=0)
    for first_token in (1, 101, 201):
        assert text(made.answer(engine_request(50, first_token=first_token)))
    assert finished(made.answer(engine_request(50))).usage.cached_tokens == 49


def test_what_cannot_be_copied_out_while_streams_may_wait_is_lost():
    made = bench(FakeRunner(lambda prompt: say("yes"), copy_seconds=0.02), kv_cells=2000)
    running = stream(made)
    made.add(engine_request(16 * SEGMENT_TOKENS, salt="long"))
    while not made.reuse.parked_cells:
        made.step()
    copied = len(made.runner.saved)
    item = made.add(engine_request(900, first_token=3000, max_tokens=4))
    made.step()
    assert item.slot is not None
    assert 1 <= len(made.runner.saved) - copied <= 1 + WAIT_SECONDS / 0.02
    assert made.reuse.parked_cells == 0
    assert running.slot is not None
    made.finish()
    kept = finished(made.answer(engine_request(16 * SEGMENT_TOKENS, salt="long"))).usage.cached_tokens
    assert kept == len(made.runner.restored) * SEGMENT_TOKENS < 16 * SEGMENT_TOKENS - 1


def test_no_more_gives_way_than_is_needed():
    made = bench(kv_cells=1000, slots=4)
    for first_token in (1, 1001):
        made.add(engine_request(300, first_token=first_token, salt=str(first_token)))
    while made.engine.status.slots_used or not made.reuse.parked_cells:
        made.step()
    parked = len(made.runner.cells)
    assert parked == 2
    sequence = made.add(engine_request(500, first_token=5000))
    assert made.scheduler.next_waiting is sequence
    assert not made.scheduler.admit_next()
    assert made.reuse.unpark_one(hurry=False)
    assert made.scheduler.admit_next()
    assert made.reuse.parked_cells > 0
