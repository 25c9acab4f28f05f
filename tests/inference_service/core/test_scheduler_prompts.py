"""Which prompts are read next, and how much of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.scheduler import Scheduler
from inference_service.core.sequence import Restoration, Sequence
from tests.support.fake_runner import FakeSegment
from tests.support.sequences import engine_request, sequence


def admitted(scheduler: Scheduler, prompt_tokens: int) -> Sequence:
    item = sequence(engine_request(prompt_tokens, max_tokens=1))
    scheduler.add(item)
    assert scheduler.admit_next()
    return item


def read(scheduler: Scheduler, budget: int) -> list[tuple[int, int]]:
    """Run the next pass: (slot, tokens) of each part of a prompt. Those that are read whole make room at once."""
    planned = scheduler.plan_prompts(budget)
    for item, chunk in planned:
        assert chunk.position == item.processed
        assert chunk.tokens == item.request.prompt.token_ids[chunk.position :][: len(chunk.tokens)]
        item.processed += len(chunk.tokens)
        assert chunk.wants_token == (item.prompt_left == 0)
        if chunk.wants_token:
            scheduler.remove(item)
    return [(chunk.slot, len(chunk.tokens)) for _, chunk in planned]


@pytest.mark.parametrize(
    ("prompts", "budget", "planned"),
    [
        ((10, 50), 16, [(0, 10), (1, 6)]),
        ((50, 10), 16, [(1, 10), (0, 6)]),
        ((50, 40, 30), 16, [(2, 16)]),
        ((20, 20), 16, [(0, 16)]),
        ((5, 6, 7), 100, [(0, 5), (1, 6), (2, 7)]),
        ((7, 5, 6), 11, [(1, 5), (2, 6)]),
    ],
    ids=["rest to the next", "a later one", "shortest", "first come", "all", "exactly used up"],
)
def test_the_prompt_with_the_least_left_is_read_first(prompts, budget, planned):
    scheduler = Scheduler(slots=4, kv_cells=1000)
    items = [admitted(scheduler, tokens) for tokens in prompts]
    assert scheduler.next_prompt is items[planned[0][0]]
    assert read(scheduler, budget) == planned


def test_what_is_cached_of_a_prompt_is_not_left_to_read():
    scheduler = Scheduler(slots=4, kv_cells=1000)
    admitted(scheduler, 40)
    long = admitted(scheduler, 100)
    long.processed = long.cached = 90
    assert read(scheduler, 16) == [(1, 10), (0, 6)]


def test_a_prompt_whose_cells_are_still_coming_back_is_not_read():
    scheduler = Scheduler(slots=4, kv_cells=1000)
    item = admitted(scheduler, 10)
    item.restorations.append(Restoration(FakeSegment(0, (1,) * 5), 0, 5))
    assert scheduler.next_prompt is None
    assert read(scheduler, 16) == []
    assert item.passed_over == 0


def test_a_sequence_that_generates_has_no_prompt_to_read():
    scheduler = Scheduler(slots=4, kv_cells=1000)
    item = admitted(scheduler, 10)
    item.processed = 10
    item.answer.append(1)
    assert (scheduler.generating, scheduler.next_prompt) == ([item], None)


def test_a_long_prompt_goes_on_beside_short_ones_that_never_end():
    scheduler = Scheduler(slots=2, kv_cells=1000)
    admitted(scheduler, 100)
    passes = 0
    while scheduler.running[0].processed == 0:
        admitted(scheduler, 16)
        read(scheduler, 16)
        passes += 1
    assert passes == 1 + 100 // 16, "it is overtaken by as many tokens as it has itself, and no more"


@given(
    long=st.integers(1, 200),
    arrivals=st.lists(st.lists(st.integers(1, 60), max_size=3), max_size=60),
    budget=st.integers(1, 40),
)
def test_who_comes_when_a_prompt_has_waited_for_as_many_tokens_as_it_has_is_behind_it(long, arrivals, budget):
    scheduler = Scheduler(slots=200, kv_cells=10**6)
    item = admitted(scheduler, long)
    before = {item}
    waited = 0
    for lengths in arrivals:
        newcomers = [admitted(scheduler, length) for length in lengths]
        if waited < long:
            before.update(newcomers)
        planned = scheduler.plan_prompts(budget)
        for other, chunk in planned:
            other.processed += len(chunk.tokens)
            if not other.prompt_left:
                scheduler.remove(other)
        if any(other is item for other, _ in planned):
            return
        assert {other for other, _ in planned} <= before
        waited += sum(len(chunk.tokens) for _, chunk in planned)


@given(prompts=st.lists(st.integers(1, 100), min_size=1, max_size=8), budget=st.integers(1, 64))
def test_every_prompt_is_read_once_in_order_and_the_budget_is_used_up(prompts, budget):
    scheduler = Scheduler(slots=8, kv_cells=10**6)
    for length in prompts:
        admitted(scheduler, length)
    left = sum(prompts)
    while left:
        taken = sum(count for _, count in read(scheduler, budget))
        assert taken == min(budget, left)
        left -= taken
    assert not scheduler.running
