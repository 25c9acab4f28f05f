import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.scheduler import Scheduler
from inference_service.core.sequence import Sequence
from tests.support.sequences import engine_request, sequence


def make(prompt_tokens: int, max_tokens: int = 10) -> Sequence:
    return sequence(engine_request(prompt_tokens, max_tokens=max_tokens))


def admit(scheduler: Scheduler) -> list[Sequence]:
    """Admit who may run, as the engine does where nothing is parked."""
    admitted = []
    while (item := scheduler.next_waiting) is not None:
        assert scheduler.admit_next(), "nothing is parked that could be in the way"
        admitted.append(item)
    return admitted


def test_admits_in_order_until_the_slots_are_taken():
    scheduler = Scheduler(slots=2, kv_cells=1000)
    first, second, third = make(5), make(5), make(5)
    for item in (first, second, third):
        scheduler.add(item)
    assert admit(scheduler) == [first, second]
    assert (first.slot, second.slot, third.slot) == (0, 1, None)
    assert scheduler.reserved_cells == 30
    assert scheduler.remove(first) == 0
    assert admit(scheduler) == [third]
    assert third.slot == 0, "a freed slot is used again"


def test_a_large_request_at_the_head_waits_and_is_not_overtaken():
    scheduler = Scheduler(slots=4, kv_cells=100)
    running, large, small = make(40), make(80), make(5)
    for item in (running, large, small):
        scheduler.add(item)
    assert admit(scheduler) == [running]
    assert admit(scheduler) == []
    scheduler.remove(running)
    assert admit(scheduler) == [large]
    assert list(scheduler.waiting) == [small]


def test_what_can_never_fit_is_a_mistake_of_the_caller():
    scheduler = Scheduler(slots=1, kv_cells=10)
    scheduler.add(make(5, max_tokens=5))
    with pytest.raises(ValueError, match="never fit"):
        scheduler.add(make(5, max_tokens=6))


def test_a_waiting_sequence_can_be_removed():
    scheduler = Scheduler(slots=1, kv_cells=100)
    item = make(5)
    scheduler.add(item)
    assert scheduler.remove(item) is None
    assert not scheduler.waiting


def parked(scheduler: Scheduler, prompt_tokens: int) -> int:
    """Park a sequence with all of its prompt's cells, and return its slot."""
    item = make(prompt_tokens)
    scheduler.add(item)
    assert scheduler.admit_next()
    return scheduler.park(item, prompt_tokens)


def test_a_parked_sequence_keeps_its_slot_and_only_the_cells_that_it_uses():
    scheduler = Scheduler(slots=1, kv_cells=100, parking_slots=1)
    slot = parked(scheduler, 30)
    assert (scheduler.running, scheduler.reserved_cells, scheduler.parked_cells) == ([], 0, 30)
    scheduler.add(make(10))
    assert [item.slot for item in admit(scheduler)] != [slot]
    scheduler.release(slot, 30)
    assert scheduler.parked_cells == 0


@pytest.mark.parametrize(
    ("parked_tokens", "prompt_tokens", "admitted"),
    [((40,), 50, True), ((40,), 51, False), ((20, 20), 50, False)],
    ids=["cells for both", "a cell too few", "no slot"],
)
def test_parked_sequences_are_in_the_way_until_they_are_released(parked_tokens, prompt_tokens, admitted):
    scheduler = Scheduler(slots=1, kv_cells=100, parking_slots=1)
    kept = [(parked(scheduler, tokens), tokens) for tokens in parked_tokens]
    item = make(prompt_tokens)
    scheduler.add(item)
    assert scheduler.next_waiting is item, "what is parked can be made to give way"
    assert scheduler.admit_next() is admitted
    if not admitted:
        assert scheduler.waiting.head is item, "it keeps its place"
        scheduler.release(*kept[0])
        assert scheduler.admit_next()
        assert scheduler.reserved_cells + scheduler.parked_cells <= 100


def test_running_sequences_are_not_made_to_give_way():
    scheduler = Scheduler(slots=2, kv_cells=100, parking_slots=2)
    scheduler.add(make(40))
    scheduler.add(make(60))
    assert scheduler.admit_next()
    assert scheduler.next_waiting is None
    scheduler.add(make(1, max_tokens=1))
    assert scheduler.next_waiting is None, "the one behind does not overtake"


def test_parking_slots_do_not_let_more_run():
    scheduler = Scheduler(slots=2, kv_cells=100, parking_slots=5)
    for _ in range(3):
        scheduler.add(make(1))
    assert len(admit(scheduler)) == 2


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 40)), max_size=30),
    st.integers(1, 6),
    st.integers(0, 6),
    st.integers(1, 64),
    st.data(),
)
def test_cells_are_never_promised_twice_and_all_come_back(requests, slots, parking_slots, budget, data):
    scheduler = Scheduler(slots=slots, kv_cells=100, parking_slots=parking_slots)
    for prompt_tokens, max_tokens in requests:
        scheduler.add(make(prompt_tokens, max_tokens))
    kept: list[tuple[int, int]] = []
    done = 0
    while scheduler.running or scheduler.waiting:
        while scheduler.next_waiting is not None:
            if not scheduler.admit_next():
                scheduler.release(*kept.pop(0))
        taken = [item.slot for item in scheduler.running] + [slot for slot, _ in kept]
        assert len(scheduler.running) <= slots
        assert len(set(taken)) == len(taken) <= slots + parking_slots
        assert sum(item.reserved_cells for item in scheduler.running) == scheduler.reserved_cells
        assert sum(cells for _, cells in kept) == scheduler.parked_cells
        assert scheduler.reserved_cells + scheduler.parked_cells <= 100
        planned = scheduler.plan_prompts(budget)
        assert planned or scheduler.generating, "something always runs"
        for item in scheduler.generating:
            item.answer.append(1)
        for item, chunk in planned:
            item.processed += len(chunk.tokens)
            item.answer += [1] * chunk.wants_token
        for item in scheduler.generating:
            if item.tokens_left > 0:
                continue
            if data.draw(st.booleans()):
                kept.append((scheduler.park(item, len(item.cached_prefix)), len(item.cached_prefix)))
            else:
                scheduler.remove(item)
            done += 1
    assert done == len(requests)
    assert scheduler.reserved_cells == 0
