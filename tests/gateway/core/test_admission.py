"""How much of the gateway may be in use: the limits, each caller's part, and that everything is given back."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.admission import ASKS, BYTES, STREAM_BYTES, Admission, AdmissionLimits, Holding
from gateway.core.errors import GatewayBusy

PLENTY = 2**40


def admission(asks: int = 1_000, size: int = PLENTY, share: float = 1.0) -> Admission:
    return Admission(AdmissionLimits(asks, size, share))


@dataclass
class Ask:
    """A question being answered, until `end`."""

    holding: Holding
    answering: ExitStack
    held: AbstractContextManager[Holding] = field(repr=False)

    def end(self) -> None:
        self.answering.close()
        self.held.__exit__(None, None, None)


def begin(gate: Admission, caller: str = "alice", size: int = 0) -> Ask:
    held = gate.holding(caller)
    holding = held.__enter__()
    answering = ExitStack()
    try:
        answering.enter_context(holding.answering(size))
    except GatewayBusy:
        held.__exit__(None, None, None)
        raise
    return Ask(holding, answering, held)


def refusal(gate: Admission, caller: str = "alice", size: int = 0) -> tuple[str, int, bool]:
    with pytest.raises(GatewayBusy) as caught:
        begin(gate, caller, size)
    assert caught.value.retry_after_seconds > 0
    return caught.value.limit_name, caught.value.limit, caught.value.of_caller


def test_no_more_answers_run_than_may_and_a_place_that_is_given_back_is_free() -> None:
    gate = admission(asks=3)
    running = [begin(gate, caller) for caller in ("alice", "bob", "carol")]
    assert refusal(gate, "dave") == (ASKS, 3, False)
    running.pop().end()
    begin(gate, "dave")


def test_no_more_bytes_are_held_than_may_and_those_of_the_answer_count() -> None:
    gate = admission(size=3 * STREAM_BYTES)
    first = begin(gate, "alice", STREAM_BYTES // 2)
    assert gate.held_bytes == STREAM_BYTES * 3 // 2
    assert refusal(gate, "bob", STREAM_BYTES // 2 + 1) == (BYTES, 3 * STREAM_BYTES, False)
    begin(gate, "bob", 10).end()
    first.holding.take(STREAM_BYTES)  # what runs is never refused
    assert refusal(gate, "bob") == (BYTES, 3 * STREAM_BYTES, False)
    first.end()
    begin(gate, "bob", STREAM_BYTES * 2)


def test_a_question_larger_than_the_limit_is_taken_alone() -> None:
    gate = admission(size=STREAM_BYTES)
    large = begin(gate, size=10 * STREAM_BYTES)
    assert refusal(gate) == (BYTES, STREAM_BYTES, False)
    large.end()
    begin(gate)


@pytest.mark.parametrize(("share", "part"), [(0.5, 5), (0.75, 7), (0.01, 1), (1.0, 10)])
def test_one_caller_has_only_a_part_of_the_places(share: float, part: int) -> None:
    gate = admission(asks=10, share=share)
    running = [begin(gate, "alice") for _ in range(part)]
    assert refusal(gate, "alice") == (ASKS, part, part < 10)
    running += [begin(gate, "bob") for _ in range(min(part, 10 - part))]
    assert gate.running_asks == len(running)


def test_one_caller_has_only_a_part_of_the_bytes() -> None:
    gate = admission(size=8 * STREAM_BYTES, share=0.5)
    running = [begin(gate, "alice") for _ in range(4)]
    assert refusal(gate, "alice") == (BYTES, 4 * STREAM_BYTES, True)
    running += [begin(gate, "bob") for _ in range(4)]
    assert refusal(gate, "carol") == (BYTES, 8 * STREAM_BYTES, False)
    assert gate.held_bytes == len(running) * STREAM_BYTES


def test_a_place_is_free_while_the_bytes_of_its_answer_are_still_held() -> None:
    gate = admission(asks=1)
    ended = begin(gate, size=100)
    ended.answering.close()
    assert (gate.running_asks, gate.held_bytes) == (0, STREAM_BYTES + 100)
    begin(gate, "bob").end()
    ended.end()
    assert gate.held_bytes == 0


def test_whatever_ends_an_answer_gives_everything_back() -> None:
    gate = admission()
    with pytest.raises(ZeroDivisionError), gate.holding("alice") as holding, holding.answering(10):
        holding.take(1 // 0)
    assert (gate.running_asks, gate.held_bytes) == (0, 0)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 4 * STREAM_BYTES), st.booleans()), max_size=60),
    st.integers(1, 8),
    st.floats(0.05, 1),
)
def test_the_counts_are_those_of_what_runs_and_callers_are_forgotten(
    steps: list[tuple[str, int, bool]], asks: int, share: float
) -> None:
    gate = admission(asks=asks, size=10 * STREAM_BYTES, share=share)
    running: list[tuple[str, Ask]] = []
    for caller, size, ends in steps:
        assert gate.running_asks == len(running)
        assert gate.held_bytes == sum(ask.holding.held_bytes for _, ask in running)
        if ends and running:
            running.pop(size % len(running))[1].end()
            continue
        mine = [ask for name, ask in running if name == caller]
        full = len(running) == asks or len(mine) >= max(1, int(asks * share))
        try:
            running.append((caller, begin(gate, caller, size)))
        except GatewayBusy as refused:
            error = refused
        else:
            assert not full
            continue
        assert (error.limit_name == ASKS) == full
        assert mine or not error.of_caller  # one's part is never used up before one has anything
    for _, ask in running:
        ask.end()
    assert (gate.running_asks, gate.held_bytes, gate._asks, gate._bytes) == (0, 0, {}, {})
