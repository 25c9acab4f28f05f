import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.ports import Chunk
from inference_service.core.scheduler import Scheduler
from inference_service.core.sequence import Sequence
from tests.support.sequences import engine_request, sequence


def make(prompt_tokens: int, max_tokens: int = 10) -> Sequence:
    return sequence(engine_request(prompt_tokens, max_tokens=max_tokens))


def chunks(scheduler: Scheduler, budget: int) -> list[Chunk]:
    return [chunk for _, chunk in scheduler.plan(budget)]


def test_admits_in_order_until_the_slots_are_taken():
    scheduler = Scheduler(slots=2, kv_cells=1000)
    first, second, third = make(5), make(5), make(5)
    for item in (first, second, third):
        scheduler.add(item)
    assert scheduler.admit() == [first, second]
    assert (first.slot, second.slot, third.slot) == (0, 1, None)
    assert scheduler.reserved_cells == 30
    assert scheduler.remove(first) == 0
    assert scheduler.admit() == [third]
    assert third.slot == 0, "a freed slot is used again"


def test_a_large_request_at_the_head_waits_and_is_not_overtaken():
    scheduler = Scheduler(slots=4, kv_cells=100)
    running, large, small = make(40), make(80), make(5)
    for item in (running, large, small):
        scheduler.add(item)
    assert scheduler.admit() == [running]
    assert scheduler.admit() == []
    scheduler.remove(running)
    assert scheduler.admit() == [large]
    assert list(scheduler.waiting) == [small]


def test_what_can_never_fit_is_a_mistake_of_the_caller():
    scheduler = Scheduler(slots=1, kv_cells=10)
    with pytest.raises(ValueError, match="never fit"):
        scheduler.add(make(5, max_tokens=6))


def test_prompts_share_the_budget_in_order_of_admission():
    scheduler = Scheduler(slots=2, kv_cells=1000)
    first, second = make(10), make(50)
    scheduler.add(first)
    scheduler.add(second)
    scheduler.admit()
    planned = chunks(scheduler, 16)
    assert [(c.slot, len(c.tokens), c.position, c.wants_token) for c in planned] == [(0, 10, 0, True), (1, 6, 0, False)]


def test_a_generating_sequence_runs_its_last_token_behind_its_prompt():
    scheduler = Scheduler(slots=1, kv_cells=1000)
    item = make(10)
    scheduler.add(item)
    scheduler.admit()
    item.processed, item.generated, item.last_token = 10, 3, 99
    assert chunks(scheduler, 16) == [Chunk(0, (99,), 12, wants_token=True)]


def test_generating_sequences_delay_a_prompt_but_never_stop_it():
    scheduler = Scheduler(slots=4, kv_cells=1000)
    items = [make(10) for _ in range(4)]
    for item in items:
        scheduler.add(item)
    scheduler.admit()
    for item in items[:3]:
        item.processed, item.generated, item.last_token = 10, 1, 5
    planned = chunks(scheduler, 2)
    assert [len(chunk.tokens) for chunk in planned] == [1, 1, 1, 1]
    assert planned[-1].slot == items[3].slot


def test_a_waiting_sequence_can_be_removed():
    scheduler = Scheduler(slots=1, kv_cells=100)
    item = make(5)
    scheduler.add(item)
    assert scheduler.remove(item) is None
    assert not scheduler.waiting


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 40)), max_size=30),
    st.integers(1, 6),
    st.integers(1, 64),
)
def test_cells_are_never_promised_twice_and_all_come_back(requests, slots, budget):
    scheduler = Scheduler(slots=slots, kv_cells=100)
    for prompt_tokens, max_tokens in requests:
        scheduler.add(make(prompt_tokens, max_tokens))
    done = 0
    while scheduler.running or scheduler.waiting:
        scheduler.admit()
        assert len({item.slot for item in scheduler.running}) == len(scheduler.running) <= slots
        assert sum(item.reserved_cells for item in scheduler.running) == scheduler.reserved_cells <= 100
        planned = scheduler.plan(budget)
        assert planned, "something always runs"
        for item, chunk in planned:
            if not item.generated:
                item.processed += len(chunk.tokens)
            item.generated += chunk.wants_token
            if item.generated == item.request.prompt.max_tokens:
                scheduler.remove(item)
                done += 1
    assert done == len(requests)
    assert scheduler.reserved_cells == 0
