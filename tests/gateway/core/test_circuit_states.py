"""A circuit under calls that come, answer, fail, hang and leave in any order, against its rules told once more."""

from __future__ import annotations

from contextlib import ExitStack

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.core.circuit import Circuit, Passage
from gateway.core.errors import BackendFailed, BackendTooSlow, BackendUnavailable, CircuitOpen
from gateway.core.types import CircuitState
from tests.support.fake_backends import SteppingClock

FAILURES = 2
OPEN_SECONDS = 8.0


class Call:
    """One call that runs."""

    def __init__(self, circuit: Circuit) -> None:
        self.stack = ExitStack()
        self.passage: Passage = self.stack.enter_context(circuit.passage())
        self.is_probe = False

    def end(self, failure: BackendFailed | None) -> None:
        if failure is None:
            self.stack.close()
        else:
            self.stack.__exit__(type(failure), failure, None)


class CircuitStates(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = SteppingClock()
        self.changes: list[CircuitState] = []
        self.circuit = Circuit(
            "inference",
            clock=self.clock,
            failures_to_open=FAILURES,
            open_seconds=OPEN_SECONDS,
            on_change=lambda service, status: self.changes.append(status.state),
        )
        self.calls: list[Call] = []
        self.probe_times: list[float] = []

    @property
    def state(self) -> CircuitState:
        return self.circuit.status().state

    @initialize(is_down=st.booleans())
    def begin(self, is_down: bool) -> None:
        """Half of the runs begin where a circuit is at its most interesting: half-open."""
        if is_down:
            for _ in range(FAILURES):
                Call(self.circuit).end(BackendUnavailable("inference", "down"))
            self.clock.seconds += OPEN_SECONDS

    @rule(seconds=st.sampled_from([0.5, 3.0, OPEN_SECONDS]))
    def pass_time(self, seconds: float) -> None:
        self.clock.seconds += seconds

    @rule()
    def arrive(self) -> None:
        before = self.state
        try:
            call = Call(self.circuit)
        except CircuitOpen as refused:
            wait = refused.retry_after_seconds
        else:
            self.let_through(call, before)
            return
        assert wait is not None
        assert 0 < wait <= OPEN_SECONDS
        assert before is CircuitState.OPEN or any(call.is_probe for call in self.calls)
        assert before is not CircuitState.CLOSED

    def let_through(self, call: Call, before: CircuitState) -> None:
        assert before is not CircuitState.OPEN
        if before is CircuitState.HALF_OPEN:
            call.is_probe = True
            assert all(self.clock() - began >= OPEN_SECONDS for began in self.probe_times)
            self.probe_times = [self.clock()]
        self.calls.append(call)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), whole=st.booleans())
    def answer(self, data: st.DataObject, whole: bool) -> None:
        before = self.state
        data.draw(st.sampled_from(self.calls)).passage.answered(whole=whole)
        assert self.state in (before, CircuitState.CLOSED)
        assert before is not CircuitState.OPEN or self.state is CircuitState.OPEN

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), kind=st.sampled_from(["down", "slow", "left"]))
    def end(self, data: st.DataObject, kind: str) -> None:
        call = data.draw(st.sampled_from(self.calls))
        self.calls.remove(call)
        before, changes = self.circuit.status(), len(self.changes)
        if kind == "down":
            call.end(BackendUnavailable("inference", "down"))
        else:
            call.end(BackendTooSlow("inference", "slow") if kind == "slow" else None)
            assert self.circuit.status() == before
        if len(self.changes) > changes:
            assert self.changes[changes:] == [CircuitState.OPEN]
            assert before.state is not CircuitState.OPEN
        if call.is_probe:
            self.probe_times = []

    @invariant()
    def it_says_what_it_does(self) -> None:
        status = self.circuit.status()
        assert (status.retry_after_seconds is not None) == (status.state is CircuitState.OPEN)
        if status.state is CircuitState.CLOSED:
            assert status.failures_in_row < FAILURES
        else:
            assert status.failures_in_row >= FAILURES

    @invariant()
    def only_what_opened_closes(self) -> None:
        before = [CircuitState.CLOSED, *self.changes]
        assert (CircuitState.CLOSED, CircuitState.CLOSED) not in zip(before, self.changes, strict=False)

    @invariant()
    def an_idle_circuit_lets_somebody_try_once_the_time_is_over(self) -> None:
        if not self.calls and self.state is not CircuitState.OPEN:
            self.circuit.check()


CircuitStates.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestCircuitStates = CircuitStates.TestCase
