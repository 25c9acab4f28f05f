from dataclasses import replace

import pytest

from inference_service.core.engine import Departed, Engine, Output
from inference_service.core.errors import DeadlinePassed, EngineUnavailable, InvalidRequest, RequestFailed
from inference_service.core.pacing import StepPacer
from inference_service.core.ports import SamplerSpec
from inference_service.core.scheduler import Scheduler
from inference_service.core.sequence import EngineRequest, Sequence
from inference_service.core.types import Delta, Finished, FinishReason, Progress, Started
from tests.support.fake_runner import END, FAIL, FakeRunner, say
from tests.support.sequences import engine_request, sequence


class Bench:
    """An engine on a fake runner and a clock that the test moves."""

    def __init__(self, runner: FakeRunner | None = None, *, slots: int = 4, kv_cells: int = 1000) -> None:
        self.now = 0.0
        self.runner = runner or FakeRunner()
        pacer = StepPacer(target_seconds=0.25, max_step_tokens=32)
        scheduler = Scheduler(slots=slots, kv_cells=kv_cells)
        self.engine = Engine(self.runner, scheduler, pacer, queue_capacity=9, clock=lambda: self.now)

    def add(self, request: EngineRequest) -> Sequence:
        item = sequence(request)
        self.engine.add(item)
        return item

    def finish(self) -> list[Output]:
        outputs: list[Output] = []
        for _ in range(1000):
            if not self.engine.has_work:
                return outputs
            outputs += self.engine.step()
            self.now += 0.01
        raise AssertionError("the engine never ended")

    def idle(self) -> bool:
        status = self.engine.status
        return (
            not self.runner.opened
            and not self.runner.cells
            and (status.slots_used, status.queue_length, status.kv_cells_reserved) == (0, 0, 0)
        )


def of(outputs: list[Output], item: Sequence) -> list[object]:
    return [output for owner, output in outputs if owner is item]


def text(outputs: list[object]) -> str:
    return "".join(output.text for output in outputs if isinstance(output, Delta))


def test_one_request_from_start_to_finish():
    bench = Bench(FakeRunner(lambda prompt: say("Grüße")))
    item = bench.add(engine_request(40))
    outputs = of(bench.finish(), item)
    assert isinstance(outputs[0], Started)
    assert outputs[0].prompt is item.request.prompt
    assert [output for output in outputs if isinstance(output, Progress)] == [Progress(32, 40), Progress(40, 40)]
    assert text(outputs) == "Grüße"
    finished = outputs[-1]
    assert isinstance(finished, Finished)
    assert finished.reason is FinishReason.STOP
    assert (finished.usage.prompt_tokens, finished.usage.completion_tokens) == (40, len("Grüße".encode()) + 1)
    assert finished.seed == 7
    tokens = [token for output in outputs if isinstance(output, Delta) for token in output.token_ids]
    assert tokens == list(say("Grüße")), "every generated token is reported once, in order"
    assert bench.idle()


def test_sequences_run_together_and_a_new_one_joins_between_steps():
    bench = Bench(FakeRunner(lambda prompt: say(f"answer to {prompt[0]}")))
    first = bench.add(engine_request(4, first_token=11))
    outputs = bench.engine.step()
    second = bench.add(engine_request(4, first_token=22))
    outputs += bench.finish()
    assert text(of(outputs, first)) == "answer to 11"
    assert text(of(outputs, second)) == "answer to 22"
    assert {len(chunks) for chunks in bench.runner.passes} == {1, 2}, "both were in one pass for a while"
    assert bench.idle()


def test_a_long_prompt_does_not_stop_a_running_stream():
    bench = Bench(FakeRunner(lambda prompt: say("x" * 30)))
    stream = bench.add(engine_request(4))
    bench.engine.step()
    bench.add(engine_request(300, max_tokens=2))
    for _ in range(5):
        outputs = bench.engine.step()
        assert any(owner is stream and isinstance(output, Delta) for owner, output in outputs)
        assert sum(len(chunk.tokens) for chunk in bench.runner.passes[-1]) <= 32


@pytest.mark.parametrize(
    ("request_fields", "script", "reason", "said", "matched"),
    [
        ({"max_tokens": 3}, say("abcdef"), FinishReason.MAX_TOKENS, "abc", None),
        ({"max_tokens": 3, "limited_by_context": True}, say("abcdef"), FinishReason.CONTEXT_FULL, "abc", None),
        ({"stop": ("STOP",)}, say("go STOP on"), FinishReason.STOP_SEQUENCE, "go ", "STOP"),
        ({"stop": ("zz",)}, say("pizz"), FinishReason.STOP_SEQUENCE, "pi", "zz"),
        ({"stop": ("zzz",)}, say("pizz"), FinishReason.STOP, "pizz", None),
        ({"max_tokens": 4, "stop": ("zzz",)}, say("pizza"), FinishReason.MAX_TOKENS, "pizz", None),
        ({"max_tokens": 4}, say("abc€"), FinishReason.MAX_TOKENS, "abc\ufffd", None),
        ({"max_tokens": 5, "ignore_eos": True}, (*say("ab"), *say("c")), FinishReason.MAX_TOKENS, "abc", None),
        ({}, (END,), FinishReason.STOP, "", None),
    ],
)
def test_every_way_to_end(request_fields, script, reason, said, matched):
    bench = Bench(FakeRunner(lambda prompt: script))
    item = bench.add(engine_request(**request_fields))
    outputs = of(bench.finish(), item)
    finished = outputs[-1]
    assert isinstance(finished, Finished)
    assert (finished.reason, text(outputs), finished.matched_stop) == (reason, said, matched)
    assert bench.idle()


def test_who_leaves_is_let_go_before_the_next_pass_and_the_slot_is_used_at_once():
    bench = Bench(FakeRunner(lambda prompt: say("x" * 100)), slots=1)
    leaver, waiter = bench.add(engine_request(max_tokens=90)), bench.add(engine_request())
    bench.engine.step()
    passes = len(bench.runner.passes)
    leaver.departed = True
    outputs = bench.engine.step()
    assert of(outputs, leaver) == [Departed()]
    assert isinstance(of(outputs, waiter)[0], Started), "the freed slot is taken in the very same step"
    assert len(bench.runner.passes) == passes + 1
    assert all(chunk.position == 0 for chunk in bench.runner.passes[-1]), "only the new sequence ran"


def test_a_waiting_caller_can_leave_too():
    bench = Bench(slots=1)
    bench.add(engine_request())
    leaver = bench.add(engine_request())
    bench.engine.step()
    leaver.departed = True
    assert of(bench.finish(), leaver) == [Departed()]
    assert bench.idle()


@pytest.mark.parametrize(("slots", "where"), [(2, "while it was being answered"), (1, "in the queue")])
def test_a_passed_deadline_ends_a_sequence_wherever_it_is(slots, where):
    bench = Bench(FakeRunner(lambda prompt: say("x" * 50)), slots=slots)
    bench.add(engine_request(max_tokens=60))
    late = bench.add(engine_request(max_tokens=60, deadline=0.05))
    error = of(bench.finish(), late)[-1]
    assert isinstance(error, DeadlinePassed)
    assert where in str(error)
    assert bench.idle()


def test_a_failed_pass_ends_what_ran_and_the_queue_goes_on():
    runner = FakeRunner(lambda prompt: say("fine"), fail_after_passes=1)
    bench = Bench(runner, slots=1)
    running, waiting = bench.add(engine_request()), bench.add(engine_request())
    outputs = bench.engine.step()
    outputs += bench.engine.step()
    assert isinstance(of(outputs, running)[-1], EngineUnavailable)
    runner.fail_after_passes = None
    outputs += bench.finish()
    assert text(of(outputs, waiting)) == "fine"
    assert bench.idle()


def test_a_sequence_that_cannot_go_on_fails_alone():
    bench = Bench(FakeRunner(lambda prompt: (*say("abc")[:2], FAIL) if prompt[0] == 1 else say("fine")))
    failing, fine = bench.add(engine_request()), bench.add(engine_request(first_token=50))
    outputs = bench.finish()
    assert text(of(outputs, failing)) == "ab"
    assert isinstance(of(outputs, failing)[-1], InvalidRequest)
    assert text(of(outputs, fine)) == "fine"
    assert bench.idle()


def test_timings_are_those_of_the_clock():
    bench = Bench(FakeRunner(lambda prompt: say("abc")), slots=1)
    bench.add(engine_request())
    late = bench.add(engine_request())
    finished = of(bench.finish(), late)[-1]
    assert isinstance(finished, Finished)
    timings = finished.timings
    assert timings.queue_seconds == pytest.approx(0.04)
    assert timings.time_to_first_token_seconds == pytest.approx(timings.queue_seconds + timings.prompt_seconds)
    assert timings.generation_seconds == pytest.approx(0.03)


def test_cells_in_use_never_pass_the_kv_cache():
    bench = Bench(FakeRunner(lambda prompt: say("y" * 40)), slots=8, kv_cells=100)
    for _ in range(20):
        bench.add(engine_request(10, max_tokens=20))
    bench.finish()
    assert 30 <= bench.runner.peak_cells <= 100
    assert bench.idle()


class FaultyRunner(FakeRunner):
    """Has a fault that only the requests with a seed of 13 or 14 meet."""

    def open(self, slot: int, spec: SamplerSpec) -> None:
        super().open(slot, spec)
        if spec.seed == 13:
            raise ValueError("scripted fault")

    def token_bytes(self, token_id: int) -> bytes:
        if token_id == FAULT:
            raise KeyError(token_id)
        return super().token_bytes(token_id)


FAULT = 999


@pytest.mark.parametrize("seed", [13, 14])
def test_a_fault_that_meets_one_request_leaves_the_others_alone(seed: int):
    bench = Bench(FaultyRunner(lambda prompt: (FAULT,) if prompt[0] == 50 else say("fine")))
    faulty = bench.add(replace(engine_request(first_token=50), seed=seed))
    other = bench.add(engine_request())
    outputs = bench.finish()
    failure = of(outputs, faulty)[-1]
    assert isinstance(failure, RequestFailed)
    assert isinstance(failure.__cause__, ValueError if seed == 13 else KeyError)
    assert text(of(outputs, other)) == "fine"
    assert bench.idle()
