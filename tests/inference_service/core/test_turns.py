from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.scheduler import Scheduler
from inference_service.core.sequence import Sequence
from inference_service.core.turns import TurnQueue
from tests.support.sequences import engine_request, sequence

callers = st.sampled_from("abcd")


def of(caller: str) -> Sequence:
    return sequence(engine_request(caller=caller))


def waiting(names: str) -> tuple[TurnQueue, list[Sequence]]:
    queue, items = TurnQueue(), [of(name) for name in names]
    for item in items:
        queue.append(item)
    return queue, items


@pytest.mark.parametrize(
    ("arrived", "taken"),
    [("aaa", "aaa"), ("aaab", "abaa"), ("aabbc", "abcab"), ("abab", "abab"), ("aaaabbbc", "abcababa")],
)
def test_callers_take_turns(arrived, taken):
    queue, _ = waiting(arrived)
    assert "".join(item.request.caller for item in queue) == taken
    assert "".join(queue.pop_head().request.caller for _ in arrived) == taken
    assert not queue


def test_of_one_caller_it_is_first_come_first_served():
    queue, (first, second, third) = waiting("aaa")
    assert list(queue) == [first, second, third]
    queue.remove(second)
    assert [queue.pop_head(), queue.pop_head()] == [first, third]


def test_who_comes_new_does_not_overtake_the_head():
    queue, (first, *_) = waiting("aa")
    queue.append(of("b"))
    assert queue.head is first


def test_nobody_waits_in_an_empty_queue():
    with pytest.raises(IndexError):
        TurnQueue().pop_head()


@given(st.lists(callers, min_size=1, max_size=60), st.data())
def test_nobody_waits_longer_than_one_turn_of_each_other_caller_for_each_of_their_own(names, data):
    """Whoever has k requests before this one is served after at most k + 1 requests of each other caller."""
    queue, items = waiting("".join(names))
    watched = data.draw(st.sampled_from(items))
    own = [item for item in items if item.request.caller == watched.request.caller].index(watched)
    before: Counter[str] = Counter()
    while (item := queue.pop_head()) is not watched:
        before[item.request.caller] += 1
        queue.append(of(data.draw(callers)))  # who comes later changes nothing of that
    assert before.pop(watched.request.caller, 0) == own
    assert all(count <= own + 1 for count in before.values())


@given(st.lists(st.tuples(callers, st.sampled_from(["append", "pop", "remove"])), max_size=60), st.data())
def test_it_loses_and_doubles_nothing(steps, data):
    queue = TurnQueue()
    inside: list[Sequence] = []
    for caller, step in steps:
        if step == "append":
            inside.append(of(caller))
            queue.append(inside[-1])
        elif inside and step == "pop":
            first = next(iter(queue))
            assert queue.head is first
            assert queue.pop_head() is first
            inside.remove(first)
        elif inside:
            gone = data.draw(st.sampled_from(inside))
            queue.remove(gone)
            inside.remove(gone)
        assert len(queue) == len(inside)
        assert sorted(map(id, queue)) == sorted(map(id, inside))


def test_one_with_a_hundred_requests_does_not_starve_one_with_one():
    scheduler = Scheduler(slots=1, kv_cells=1000)
    for _ in range(100):
        scheduler.add(of("many"))
    assert scheduler.admit_next()
    one = of("one")
    scheduler.add(one)
    ended = 0
    while one.slot is None:
        scheduler.remove(scheduler.running[0])
        ended += 1
        assert scheduler.admit_next()
    assert ended <= 2


def test_a_large_request_whose_turn_it_is_is_not_overtaken_by_another_callers():
    scheduler = Scheduler(slots=4, kv_cells=100)
    running, large = sequence(engine_request(40, caller="a")), sequence(engine_request(80, caller="a"))
    scheduler.add(running)
    assert scheduler.admit_next()
    scheduler.add(large)
    for name in "bcd":
        scheduler.add(sequence(engine_request(1, max_tokens=1, caller=name)))
    assert scheduler.next_waiting is None
    scheduler.remove(running)
    assert scheduler.next_waiting is large
