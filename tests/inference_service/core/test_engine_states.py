"""The engine under requests that come, leave, fail and run late in any order."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from inference_service.core.engine import Departed
from inference_service.core.errors import DeadlinePassed, EngineUnavailable, InferenceError, InvalidRequest
from inference_service.core.sequence import EngineRequest, Sequence
from inference_service.core.stopping import TextAssembler
from inference_service.core.types import Delta, Finished, FinishReason, Progress, Started
from tests.inference_service.engine_bench import FakeBench, text, tokens
from tests.support.fake_runner import CELL_BYTES, END, FAIL, FakeRunner, padded, say
from tests.support.sequences import NEVER, engine_request

KV_CELLS = 400
MAX_TOKENS = 20
BEGINNINGS = ["", "ab" * 10, "abc" * 30, "abc" * 20 + "b" * 60, "c" * 64, "c" * 64 + "ab" * 40]


def script(prompt: tuple[int, ...]) -> list[int]:
    """An answer of each prompt's own, which copies from it and may end, fail or never end."""
    source = random.Random(repr(prompt))
    answer: list[int] = []
    for _ in range(source.randrange(4)):
        start = source.randrange(len(prompt))
        answer += prompt[start : start + source.randrange(12)]
        answer += say(source.choice("abc"))[:-1]
    return answer + source.choice([[END], [END], [FAIL], []])


def expected(request: EngineRequest) -> tuple[list[int], str, FinishReason | None]:
    """The whole answer, one token at a time: its tokens, its text and why it ends. None: it fails."""
    assembler = TextAssembler(request.stop)
    said, spelled = [], ""
    reason = FinishReason.MAX_TOKENS
    for token in padded(script(request.prompt.token_ids), request.prompt.max_tokens):
        if token == FAIL:
            return said, spelled, None
        said.append(token)
        if token == END:
            reason = FinishReason.STOP
            break
        spelled += assembler.push(bytes([token - 1]))
        if assembler.matched is not None:
            return said, spelled, FinishReason.STOP_SEQUENCE
    spelled += assembler.flush()
    return said, spelled, reason


arrivals = st.builds(
    engine_request,
    st.builds(
        lambda beginning, end: say(beginning + end)[:-1],
        st.sampled_from(BEGINNINGS),
        st.text("abc", min_size=1, max_size=40),
    ),
    max_tokens=st.integers(1, MAX_TOKENS),
    deadline=st.sampled_from([NEVER] * 6 + [0.05, 0.2, 0.5]),
    salt=st.sampled_from(["", "", "a"]),
    stop=st.sampled_from([(), (), ("ab",), ("cc", "ba")]),
    speculation=st.sampled_from([True, True, False]),
)
"""Requests whose deadlines count from their arrival."""


class EngineMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.sequences: list[Sequence] = []
        self.outputs: dict[Sequence, list[object]] = {}
        self.passes_at_break = -1

    @initialize(
        slots=st.integers(1, 4),
        parking_slots=st.integers(0, 4),
        draft_tokens=st.sampled_from([0, 1, 4]),
        cache_cells=st.sampled_from([0, 100, 100_000]),
        step_tokens=st.sampled_from([16, 64]),
    )
    def begin(self, slots: int, parking_slots: int, draft_tokens: int, cache_cells: int, step_tokens: int) -> None:
        runner = FakeRunner(script, pass_seconds=lambda count: 0.01 + 0.001 * count, copy_seconds=0.02)
        self.bench = FakeBench(
            runner,
            slots=slots,
            parking_slots=parking_slots,
            draft_tokens=draft_tokens,
            cache_bytes=cache_cells * CELL_BYTES,
            step_tokens=step_tokens,
            kv_cells=KV_CELLS,
        )

    @rule(requests=st.lists(arrivals, min_size=1, max_size=4))
    def arrive(self, requests: list[EngineRequest]) -> None:
        for request in requests:
            item = self.bench.add(replace(request, deadline=self.bench.clock() + request.deadline))
            self.sequences.append(item)
            self.outputs[item] = []

    @rule(steps=st.integers(1, 15))
    def step(self, steps: int) -> None:
        for _ in range(steps):
            if self.bench.engine.has_work or self.bench.engine.has_leftovers:
                self.collect()

    def collect(self) -> None:
        for item, output in self.bench.step():
            assert not ended(self.outputs[item]), "nothing comes behind the end"
            self.outputs[item].append(output)

    @precondition(lambda self: self.bench.engine.has_work)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        here = list(self.bench.scheduler)
        if here:
            data.draw(st.sampled_from(here)).departed = True

    @rule(seconds=st.sampled_from([0.02, 0.3]))
    def wait(self, seconds: float) -> None:
        self.bench.now += seconds

    @precondition(lambda self: self.bench.engine.has_work)
    @rule(breaks=st.sampled_from([True] + [False] * 4))
    def break_a_pass(self, breaks: bool) -> None:
        # Where passes do nothing but fail, the engine gives up: see test_engine.py.
        breaks = breaks and len(self.bench.runner.passes) > self.passes_at_break
        self.bench.runner.fail_after_passes = len(self.bench.runner.passes) if breaks else None
        self.collect()
        self.bench.runner.fail_after_passes = None
        if breaks:
            self.passes_at_break = len(self.bench.runner.passes)

    @rule(works=st.booleans())
    def copying_works(self, works: bool) -> None:
        self.bench.runner.can_copy = works

    @invariant()
    def what_is_held_is_what_is_promised(self) -> None:
        if not hasattr(self, "bench"):
            return
        runner, scheduler, status = self.bench.runner, self.bench.scheduler, self.bench.engine.status
        running = {item.slot for item in scheduler.running}
        assert len(running) == len(scheduler.running) <= scheduler.slots
        assert set(runner.opened) == running <= set(runner.cells)
        kept = sum(len(cells) for slot, cells in runner.cells.items() if slot not in running)
        assert kept == scheduler.parked_cells == self.bench.reuse.parked_cells
        assert status.kv_cells_reserved == sum(item.reserved_cells for item in scheduler.running)
        assert runner.used_cells <= status.kv_cells_reserved + status.kv_cells_cached <= KV_CELLS
        assert status.prefix_cache_bytes <= status.prefix_cache_limit_bytes

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        for _ in range(5000):
            if not self.bench.engine.has_work:
                break
            self.collect()
        for item in self.sequences:
            check(item, self.outputs[item])
        assert self.bench.empty()
        assert self.bench.scheduler.parked_cells == 0


def ended(outputs: list[object]) -> bool:
    return bool(outputs) and isinstance(outputs[-1], Finished | InferenceError | Departed)


def check(item: Sequence, outputs: list[object]) -> None:
    """Started, Progress*, Delta*, one end; and the text that the script says, or its beginning."""
    *events, end = outputs
    kinds = [type(event) for event in events]
    order = [Started, Progress, Delta]
    assert kinds == sorted(kinds, key=order.index)
    assert kinds.count(Started) == (1 if kinds else 0)
    said, spelled, reason = expected(item.request)
    if isinstance(end, Finished):
        assert (tokens(events), text(events), end.reason) == (said, spelled, reason)
        assert end.usage.completion_tokens == len(said)
        assert end.usage.cached_tokens == events[0].cached_tokens < item.prompt_length
        return
    assert tokens(events) == said[: len(tokens(events))]
    assert spelled.startswith(text(events))
    if isinstance(end, InvalidRequest):
        assert reason is None
        assert tokens(events) == said
    else:
        assert isinstance(end, Departed | DeadlinePassed | EngineUnavailable)
        assert item.departed or not isinstance(end, Departed)


EngineMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
TestEngine = EngineMachine.TestCase
