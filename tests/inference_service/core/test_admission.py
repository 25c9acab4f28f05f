import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.admission import Admission, QueuePace, default_caller_queue
from inference_service.core.errors import CallerQueueFull, QueueFull, QueueTooSlow

LONG = 1e6


class Admitting(Admission):
    """Asks for few tokens where a test does not care."""

    def enter(self, caller: str, *, now: float, timeout_seconds: float, max_tokens: int = 10) -> None:
        super().enter(caller, now=now, timeout_seconds=timeout_seconds, max_tokens=max_tokens)


def filled(admission: Admission, *callers: str) -> None:
    for caller in callers:
        admission.enter(caller, now=0, timeout_seconds=LONG)


def busy(*, slots: int = 2, queue: int = 10, turn_seconds: float = 1.0, **limits: int) -> Admission:
    """All slots run, and from end to end of a request it took so long."""
    admission = Admitting(slots=slots, queue=queue, **limits)
    filled(admission, *["runs"] * (slots + 1))
    for _ in range(slots):
        admission.start("runs")
    for turn in range(1, 20):
        admission.leave("runs", now=turn * turn_seconds, running=True)
        admission.start("runs")
        admission.enter("runs", now=turn * turn_seconds, timeout_seconds=LONG)
    admission.leave("runs", now=20 * turn_seconds, running=False)
    assert admission.taken == slots
    return admission


def test_more_than_slots_and_queue_are_refused_with_a_time_to_come_back():
    admission = Admitting(slots=2, queue=3, caller_queue=3)
    filled(admission, *"abcde")
    with pytest.raises(QueueFull) as refused:
        admission.enter("f", now=0, timeout_seconds=LONG)
    assert (refused.value.limit_name, refused.value.limit) == ("queue", 3)
    assert refused.value.retry_after_seconds >= 0.5
    admission.leave("a", now=0, running=False)
    filled(admission, "f")


def test_one_caller_may_hold_so_many_places_of_the_queue_and_others_the_rest():
    admission = Admitting(slots=2, queue=8)
    filled(admission, *["many"] * (2 + 6))
    with pytest.raises(CallerQueueFull, match="6 of the queue's 8 places") as refused:
        admission.enter("many", now=0, timeout_seconds=LONG)
    assert (refused.value.limit_name, refused.value.limit) == ("caller_queue", 6)
    filled(admission, "one", "two")
    with pytest.raises(QueueFull):
        admission.enter("three", now=0, timeout_seconds=LONG)


@pytest.mark.parametrize(("queue", "most"), [(0, 0), (1, 1), (2, 2), (4, 3), (64, 48), (10_000, 7_500)])
def test_by_default_one_caller_may_hold_three_quarters(queue, most):
    assert default_caller_queue(queue) == most


def test_free_slots_are_for_whoever_comes():
    admission = Admitting(slots=5, queue=0)
    filled(admission, *["many"] * 5)
    with pytest.raises(QueueFull):
        admission.enter("many", now=0, timeout_seconds=LONG)


def test_nobody_is_refused_for_their_deadline_before_the_pace_is_known():
    admission = Admitting(slots=1, queue=10)
    filled(admission, *"abcd")
    admission.enter("e", now=0, timeout_seconds=0.001)


def test_nobody_is_refused_for_their_deadline_while_a_slot_is_free():
    admission = busy(turn_seconds=100)
    admission.leave("runs", now=3000, running=True)
    admission.enter("late", now=3000, timeout_seconds=0.001)


def test_a_request_is_refused_whose_turn_would_come_too_late():
    admission = busy(turn_seconds=2.0)
    admission.enter("a", now=50, timeout_seconds=2.6)
    with pytest.raises(QueueTooSlow, match=r"may take 5\.0 s, .* for about 4\.0 s, .* is in 4\.9 s") as refused:
        admission.enter("b", now=50, timeout_seconds=4.9)
    assert refused.value.limit_name == "deadline"
    assert refused.value.retry_after_seconds == 0.5
    admission.enter("b", now=50, timeout_seconds=5.1)
    with pytest.raises(QueueTooSlow) as refused:
        admission.enter("c", now=50, timeout_seconds=1)
    assert refused.value.retry_after_seconds == pytest.approx(6.5)


def test_the_wait_is_by_turns_and_not_by_the_length_of_the_queue():
    admission = busy(turn_seconds=1.0, queue=100)
    filled(admission, *["many"] * 50)
    with pytest.raises(QueueTooSlow):
        admission.enter("many", now=50, timeout_seconds=60)
    admission.enter("one", now=50, timeout_seconds=2.6)


def test_the_time_to_run_counts_too_by_that_of_others_and_by_its_own_tokens():
    admission = busy(turn_seconds=1.0)
    for tokens in (50, 150):
        admission.observe_run(5.0, tokens=tokens)
    with pytest.raises(QueueTooSlow, match=r"may take 7\.5 s, .* about 1\.0 s"):
        admission.enter("a", now=50, timeout_seconds=7.4, max_tokens=1000)
    admission.enter("a", now=50, timeout_seconds=7.6, max_tokens=1000)
    with pytest.raises(QueueTooSlow, match=r"may take 3\.1 s, .* about 2\.0 s"):
        admission.enter("b", now=50, timeout_seconds=3.0, max_tokens=10)
    admission.enter("b", now=50, timeout_seconds=3.2, max_tokens=10)


def test_where_kv_cells_are_short_fewer_run_at_once():
    admission = busy(turn_seconds=1.0, slots=4)
    for _ in range(2):
        admission.leave("runs", now=60, running=True)
    admission.enter("a", now=60, timeout_seconds=0.1)
    admission.set_runnable(2, now=60)
    with pytest.raises(QueueTooSlow):
        admission.enter("b", now=60, timeout_seconds=0.1)


def test_the_pace_is_that_of_whole_rounds():
    pace = QueuePace(slots=4)
    for seconds in (8.0, 0.0, 0.0):
        pace.observe(seconds)
        assert pace.turn_seconds is None
    pace.observe(0.0)
    assert pace.turn_seconds == 2.0, "four that ended together after eight seconds"


def test_a_pause_without_anyone_waiting_is_no_part_of_the_pace():
    admission = busy(turn_seconds=1.0, slots=1)
    admission.leave("runs", now=100, running=True)
    filled(admission)
    admission.enter("a", now=1000, timeout_seconds=LONG)
    admission.start("a")
    admission.enter("b", now=1000, timeout_seconds=LONG)
    admission.leave("a", now=1001, running=True)
    admission.start("b")
    admission.enter("c", now=1001, timeout_seconds=LONG)
    assert admission.wait_seconds < 25


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["enter", "start", "leave", "end"])), max_size=80))
def test_places_are_counted_right_and_all_come_back(steps):
    admission = Admitting(slots=2, queue=3, caller_queue=2)
    waiting: list[str] = []
    running: list[str] = []
    for now, (caller, step) in enumerate(steps):
        if step == "enter":
            try:
                admission.enter(caller, now=now, timeout_seconds=LONG)
                waiting.append(caller)
            except QueueFull:
                assert len(waiting) + len(running) == 5
            except CallerQueueFull:
                assert waiting.count(caller) >= 2
        elif step == "start" and waiting and len(running) < 2:
            running.append(waiting.pop(0))
            admission.start(running[-1])
        elif step == "leave" and waiting:
            admission.leave(waiting.pop(), now=now, running=False)
        elif step == "end" and running:
            admission.leave(running.pop(), now=now, running=True)
        assert admission.taken == len(waiting) + len(running) <= 5
        assert admission.wait_seconds >= 0
    for caller in waiting:
        admission.leave(caller, now=1000, running=False)
    for caller in running:
        admission.leave(caller, now=1000, running=True)
    assert (admission.taken, admission.wait_seconds) == (0, 0)
