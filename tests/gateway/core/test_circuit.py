from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from gateway.core.circuit import MIN_RETRY_SECONDS, Circuit, Passage
from gateway.core.errors import (
    BackendBroken,
    BackendExhausted,
    BackendFailed,
    BackendNotSetUp,
    BackendTooSlow,
    BackendUnavailable,
    CircuitOpen,
    RequestRefused,
)
from gateway.core.types import CircuitState, CircuitStatus
from tests.support.fake_backends import SteppingClock

DOWN = BackendUnavailable("search", "down", code_name="UNAVAILABLE")
FAILURES = 3
OPEN_SECONDS = 10.0


class Bench:
    def __init__(self) -> None:
        self.clock = SteppingClock()
        self.changes: list[CircuitState] = []
        self.circuit = Circuit(
            "search",
            clock=self.clock,
            failures_to_open=FAILURES,
            open_seconds=OPEN_SECONDS,
            on_change=lambda service, status: self.changes.append(status.state),
        )

    @property
    def state(self) -> CircuitState:
        return self.circuit.status().state

    @property
    def failures(self) -> int:
        return self.circuit.status().failures_in_row

    def call(self, *failures: BaseException | None) -> None:
        """One call for each: answered whole, or failing so."""
        for failure in failures:
            if failure is None:
                with self.circuit.passage() as passage:
                    passage.answered(whole=True)
                continue
            with pytest.raises(type(failure)), self.circuit.passage():
                raise failure

    @contextmanager
    def failing(self) -> Iterator[Passage]:
        """A call that fails behind what the block does."""
        with suppress(BackendUnavailable), self.circuit.passage() as passage:
            yield passage
            raise DOWN

    def refused(self) -> CircuitOpen:
        with pytest.raises(CircuitOpen) as caught, self.circuit.passage():
            pass
        return caught.value

    def opened(self) -> Bench:
        self.call(*[DOWN] * FAILURES)
        assert self.state is CircuitState.OPEN
        return self

    def half_opened(self) -> Bench:
        self.opened()
        self.clock.seconds += OPEN_SECONDS
        assert self.state is CircuitState.HALF_OPEN
        return self


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    bench = Bench()
    bench.call(DOWN, DOWN, None, DOWN, DOWN)
    assert bench.circuit.status() == CircuitStatus(CircuitState.CLOSED, 2)
    bench.call(DOWN)
    assert bench.circuit.status() == CircuitStatus(CircuitState.OPEN, 3, OPEN_SECONDS)
    assert bench.changes == [CircuitState.OPEN]


def test_while_open_calls_are_refused_and_told_when_to_come_back() -> None:
    bench = Bench().opened()
    bench.clock.seconds += 4
    refused = bench.refused()
    assert (refused.service, refused.reason, refused.retry_after_seconds) == ("search", "SEARCH_CIRCUIT_OPEN", 6)
    assert "3 times in a row" in str(refused)
    bench.clock.seconds += 5.9
    assert bench.refused().retry_after_seconds == MIN_RETRY_SECONDS


def test_one_call_at_a_time_tries_again_and_its_answer_closes() -> None:
    bench = Bench().half_opened()
    with bench.circuit.passage() as probe:
        assert bench.refused().retry_after_seconds == OPEN_SECONDS
        probe.answered(whole=True)
        assert bench.circuit.status() == CircuitStatus(CircuitState.CLOSED, 0)
        bench.call(None)
    assert bench.changes == [CircuitState.OPEN, CircuitState.CLOSED]


def test_a_probe_that_fails_opens_for_as_long_again() -> None:
    bench = Bench().half_opened()
    bench.call(DOWN)
    assert bench.circuit.status() == CircuitStatus(CircuitState.OPEN, 4, OPEN_SECONDS)


def test_a_probe_that_begins_to_answer_closes_and_its_failure_opens_again() -> None:
    bench = Bench().half_opened()
    with bench.failing() as probe:
        probe.answered(whole=False)
        assert bench.state is CircuitState.CLOSED
    assert bench.state is CircuitState.OPEN


def test_beginnings_of_answers_do_not_end_a_row_of_failures() -> None:
    bench = Bench()
    for _ in range(FAILURES):
        with bench.failing() as passage:
            passage.answered(whole=False)
    assert bench.state is CircuitState.OPEN


@pytest.mark.parametrize("end", [asyncio.CancelledError(), GeneratorExit(), BackendTooSlow("search", "slow")])
def test_a_probe_that_tells_nothing_makes_room_for_the_next(end: BaseException) -> None:
    bench = Bench().half_opened()
    bench.call(end)
    assert bench.state is CircuitState.HALF_OPEN
    bench.call(None)
    assert bench.state is CircuitState.CLOSED


def test_a_probe_that_hangs_does_not_keep_the_service_shut() -> None:
    bench = Bench().half_opened()
    with bench.circuit.passage() as hanging:
        bench.clock.seconds += OPEN_SECONDS - 1
        assert bench.refused().retry_after_seconds == 1
        bench.clock.seconds += 1
        bench.call(None)
        assert bench.state is CircuitState.CLOSED
        bench.call(DOWN)
        hanging.answered(whole=True)  # of a time before: it does not end the row
        assert bench.failures == 1


def test_calls_from_before_it_opened_change_nothing_any_more() -> None:
    bench = Bench()
    with bench.circuit.passage() as good, bench.failing():
        bench.opened()
        bench.clock.seconds += 4
        good.answered(whole=True)
        assert bench.state is CircuitState.OPEN
    assert bench.circuit.status() == CircuitStatus(CircuitState.OPEN, 3, OPEN_SECONDS - 4)


@pytest.mark.parametrize(
    "failure",
    [
        DOWN,
        BackendUnavailable("search", "broke off"),
        BackendBroken("search", "broken", code_name="INTERNAL"),
        BackendBroken("search", "broken", code_name="UNKNOWN"),
    ],
)
def test_what_opens_it(failure: BackendFailed) -> None:
    bench = Bench()
    bench.call(*[failure] * FAILURES)
    assert bench.state is CircuitState.OPEN


@pytest.mark.parametrize(
    "failure",
    [
        BackendTooSlow("search", "slow", code_name="DEADLINE_EXCEEDED"),
        BackendUnavailable("search", "stopping", code_name="CANCELLED"),
        BackendBroken("search", "not for you", code_name="PERMISSION_DENIED"),
        asyncio.CancelledError(),
    ],
)
def test_what_says_nothing_of_the_service(failure: BaseException) -> None:
    bench = Bench()
    bench.call(DOWN, *[failure] * FAILURES)
    assert bench.circuit.status() == CircuitStatus(CircuitState.CLOSED, 1)


@pytest.mark.parametrize(
    "failure",
    [
        RequestRefused("search", "no"),
        BackendNotSetUp("search", "no key"),
        BackendExhausted("search", "busy"),
        BackendUnavailable("search", "Brave is down", reason="PROVIDER_UNAVAILABLE", code_name="UNAVAILABLE"),
    ],
)
def test_a_refusal_shows_that_the_service_is_there(failure: BackendFailed) -> None:
    bench = Bench()
    bench.call(DOWN, DOWN, failure)
    assert bench.failures == 0
    bench.half_opened().call(failure)
    assert bench.state is CircuitState.CLOSED
