"""An engine with all its parts, which tests drive step by step."""

from __future__ import annotations

from collections.abc import Callable

from inference_service.core.engine import Engine, Output
from inference_service.core.pacing import StepPacer
from inference_service.core.ports import ModelRunner
from inference_service.core.reuse import KvReuse
from inference_service.core.scheduler import Scheduler
from inference_service.core.sequence import EngineRequest, Sequence
from inference_service.core.types import Delta, Finished
from tests.support.fake_runner import FakeRunner
from tests.support.sequences import sequence


class EngineBench:
    """An engine on any runner."""

    def __init__(
        self,
        runner: ModelRunner,
        clock: Callable[[], float],
        *,
        slots: int = 4,
        kv_cells: int = 1000,
        parking_slots: int | None = None,
        draft_tokens: int = 0,
        cache_bytes: int = 0,
        step_tokens: int = 32,
    ) -> None:
        """`parking_slots` are as many as `slots` where finished sequences are kept at all."""
        if parking_slots is None:
            parking_slots = slots if cache_bytes else 0
        self.scheduler = Scheduler(slots=slots, kv_cells=kv_cells, parking_slots=parking_slots)
        self.pacer = StepPacer(target_seconds=0.25, max_step_tokens=step_tokens)
        self.reuse = KvReuse(runner, self.scheduler, limit_bytes=cache_bytes, clock=clock)
        self.engine = Engine(
            runner,
            self.scheduler,
            self.pacer,
            self.reuse,
            draft_tokens=draft_tokens,
            queue_capacity=9,
            clock=clock,
        )

    def add(self, request: EngineRequest) -> Sequence:
        item = sequence(request)
        self.engine.add(item)
        return item

    def step(self) -> list[Output]:
        outputs = [*self.engine.schedule(), *self.engine.run()]
        self.engine.copy_out()
        return outputs

    def finish(self) -> list[Output]:
        """Step until there is nothing left to do, the copying out of kept cells included."""
        outputs: list[Output] = []
        for _ in range(5000):
            if not (self.engine.has_work or self.engine.has_leftovers):
                return outputs
            outputs += self.step()
        raise AssertionError("the engine never ended")

    def answer(self, request: EngineRequest) -> list[object]:
        """Run a request to the end of all work, and return what was said of it."""
        item = self.add(request)
        return of(self.finish(), item)


class FakeBench(EngineBench):
    """An engine on a fake runner. Its clock moves with the runner's work, by 10 ms a step, and as the test likes."""

    def __init__(
        self,
        runner: FakeRunner | None = None,
        *,
        slots: int = 4,
        kv_cells: int = 1000,
        draft_tokens: int = 0,
        step_tokens: int = 32,
        **parts: int,
    ) -> None:
        self.now = 0.0
        self.runner = runner or FakeRunner()
        self.runner.max_batch_tokens = step_tokens
        self.runner.kv_cells = kv_cells
        self.runner.max_outputs = slots * (1 + draft_tokens)
        super().__init__(
            self.runner,
            self.clock,
            slots=slots,
            kv_cells=kv_cells,
            draft_tokens=draft_tokens,
            step_tokens=step_tokens,
            **parts,
        )

    def clock(self) -> float:
        return self.now + self.runner.seconds

    def step(self) -> list[Output]:
        outputs = super().step()
        self.now += 0.01
        return outputs

    def idle(self) -> bool:
        """Whether nothing runs or waits, and nothing is held but what is kept of finished sequences."""
        status = self.engine.status
        if (status.slots_used, status.queue_length, status.kv_cells_reserved) != (0, 0, 0) or self.runner.opened:
            return False
        kept = sum(map(len, self.runner.cells.values()))
        return kept == status.kv_cells_cached == self.reuse.parked_cells

    def empty(self) -> bool:
        """Whether nothing is held at all once what is kept has been told to give way."""
        while self.reuse.unpark_one(hurry=False):
            pass
        return self.idle() and not self.runner.cells


def of(outputs: list[Output], item: Sequence) -> list[object]:
    """What the outputs say of one sequence, in order."""
    return [output for owner, output in outputs if owner is item]


def text(outputs: list[object]) -> str:
    return "".join(output.text for output in outputs if isinstance(output, Delta))


def tokens(outputs: list[object]) -> list[int]:
    return [token for output in outputs if isinstance(output, Delta) for token in output.token_ids]


def finished(outputs: list[object]) -> Finished:
    """The last of a whole answer's outputs."""
    last = outputs[-1]
    assert isinstance(last, Finished), last
    return last
