from dataclasses import replace

import pytest

from inference_service.core.engine import PENALTY_WINDOW, Departed
from inference_service.core.errors import EngineFailed, EngineUnavailable, InvalidRequest, RequestFailed
from inference_service.core.ports import Chunk, SamplerSpec
from inference_service.core.types import Delta, FinishReason, Progress, Started
from tests.inference_service.engine_bench import FakeBench, finished, of, text, tokens
from tests.support.fake_runner import END, FAIL, FakeRunner, say
from tests.support.sequences import engine_request


def test_one_request_from_start_to_finish():
    bench = FakeBench(FakeRunner(lambda prompt: say("Grüße")))
    item = bench.add(engine_request(40))
    outputs = of(bench.finish(), item)
    assert isinstance(outputs[0], Started)
    assert outputs[0].prompt is item.request.prompt
    assert [output for output in outputs if isinstance(output, Progress)] == [Progress(32, 40), Progress(40, 40)]
    assert text(outputs) == "Grüße"
    end = finished(outputs)
    assert end.reason is FinishReason.STOP
    assert (end.usage.prompt_tokens, end.usage.completion_tokens) == (40, len("Grüße".encode()) + 1)
    assert end.seed == 7
    assert tokens(outputs) == list(say("Grüße")), "every generated token is reported once, in order"
    assert bench.empty()


def test_sequences_run_together_and_a_new_one_joins_between_steps():
    bench = FakeBench(FakeRunner(lambda prompt: say(f"answer to {prompt[0]}")))
    first = bench.add(engine_request(4, first_token=11))
    outputs = bench.step()
    second = bench.add(engine_request(4, first_token=22))
    outputs += bench.finish()
    assert text(of(outputs, first)) == "answer to 11"
    assert text(of(outputs, second)) == "answer to 22"
    assert {len(chunks) for chunks in bench.runner.passes} == {1, 2}, "both were in one pass for a while"
    assert bench.empty()


def test_a_long_prompt_does_not_stop_a_running_stream():
    bench = FakeBench(FakeRunner(lambda prompt: say("x" * 30)))
    stream = bench.add(engine_request(4))
    bench.step()
    bench.add(engine_request(300, max_tokens=2))
    for _ in range(5):
        outputs = bench.step()
        assert any(owner is stream and isinstance(output, Delta) for owner, output in outputs)
        assert sum(len(chunk.tokens) for chunk in bench.runner.passes[-1]) <= 32


@pytest.mark.parametrize("asked_before", [False, True])
def test_a_sampler_is_told_of_the_prompt_s_end_whether_it_is_read_or_kept(asked_before):
    bench = FakeBench(cache_bytes=10**6)
    if asked_before:
        bench.answer(engine_request(PENALTY_WINDOW + 20))
    item = bench.add(engine_request(PENALTY_WINDOW + 20, ignore_eos=True, logprobs=3, seed=9))
    bench.step()
    spec = bench.runner.opened[item.slot]
    assert spec.prompt_tail == tuple(range(21, 21 + PENALTY_WINDOW))
    assert (spec.seed, spec.ignore_eos, spec.logprobs, spec.sampling) == (9, True, 3, item.request.sampling)
    assert item.cached == (PENALTY_WINDOW + 19 if asked_before else 0)


def test_a_generating_sequence_runs_its_last_token_behind_its_prompt():
    bench = FakeBench(FakeRunner(lambda prompt: say("abc")))
    item = bench.add(engine_request(10))
    bench.step()
    bench.step()
    bench.step()
    assert bench.runner.passes[1:] == [
        [Chunk(item.slot, say("a")[:1], 10, wants_token=True)],
        [Chunk(item.slot, say("b")[:1], 11, wants_token=True)],
    ]


def test_generating_sequences_delay_a_prompt_but_never_stop_it():
    bench = FakeBench(FakeRunner(lambda prompt: say("x" * 50)), step_tokens=3)
    streams = [bench.add(engine_request(1, max_tokens=40)) for _ in range(3)]
    while not all(item.answer for item in streams):
        bench.step()
    bench.runner.max_batch_tokens = 4
    item = bench.add(engine_request(3))
    for read in (1, 2, 3):
        bench.step()
        assert len(bench.runner.passes[-1]) == 4, "nobody is left out"
        assert item.processed == read


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
    bench = FakeBench(FakeRunner(lambda prompt: script))
    item = bench.add(engine_request(**request_fields))
    outputs = of(bench.finish(), item)
    end = finished(outputs)
    assert (end.reason, text(outputs), end.matched_stop) == (reason, said, matched)
    assert bench.empty()


def test_who_leaves_is_let_go_before_the_next_pass_and_the_slot_is_used_at_once():
    bench = FakeBench(FakeRunner(lambda prompt: say("x" * 100)), slots=1)
    leaver, waiter = bench.add(engine_request(max_tokens=90)), bench.add(engine_request())
    bench.step()
    passes = len(bench.runner.passes)
    leaver.departed = True
    outputs = bench.step()
    assert of(outputs, leaver) == [Departed()]
    assert isinstance(of(outputs, waiter)[0], Started), "the freed slot is taken in the very same step"
    assert len(bench.runner.passes) == passes + 1
    assert all(chunk.position == 0 for chunk in bench.runner.passes[-1]), "only the new sequence ran"


def test_a_waiting_caller_can_leave_too():
    bench = FakeBench(slots=1)
    bench.add(engine_request())
    leaver = bench.add(engine_request())
    bench.step()
    leaver.departed = True
    assert of(bench.finish(), leaver) == [Departed()]
    assert bench.empty()


def test_a_failed_pass_ends_what_ran_and_the_queue_goes_on():
    runner = FakeRunner(lambda prompt: say("fine"), fail_after_passes=1)
    bench = FakeBench(runner, slots=1)
    running, waiting = bench.add(engine_request()), bench.add(engine_request())
    outputs = bench.step()
    outputs += bench.step()
    assert isinstance(of(outputs, running)[-1], EngineUnavailable)
    runner.fail_after_passes = None
    outputs += bench.finish()
    assert text(of(outputs, waiting)) == "fine"
    assert bench.empty()


def test_a_failed_pass_loses_what_was_parked_in_the_kv_cache_but_not_what_is_in_host_memory():
    runner = FakeRunner(lambda prompt: say("fine"))
    bench = FakeBench(runner, cache_bytes=10**6)
    bench.answer(engine_request(50))
    bench.runner.can_copy = False
    bench.add(engine_request(50, first_token=300, max_tokens=1, salt="not copied"))
    running = bench.add(engine_request(4, first_token=600, salt="stream"))
    while not bench.reuse.parked_cells:
        outputs = bench.step()
    runner.fail_after_passes = len(runner.passes)
    outputs = bench.step()
    assert isinstance(of(outputs, running)[-1], EngineUnavailable)
    assert not runner.cells
    assert (bench.reuse.parked_cells, bench.scheduler.parked_cells, bench.scheduler.reserved_cells) == (0, 0, 0)
    runner.fail_after_passes, runner.can_copy = None, True
    again = bench.answer(engine_request(50))
    assert (finished(again).usage.cached_tokens, text(again)) == (49, "fine")
    lost = bench.answer(engine_request(50, first_token=300, salt="not copied"))
    assert (finished(lost).usage.cached_tokens, text(lost)) == (0, "fine")
    assert bench.empty()


def test_a_sequence_that_cannot_go_on_fails_alone():
    bench = FakeBench(FakeRunner(lambda prompt: (*say("abc")[:2], FAIL) if prompt[0] == 1 else say("fine")))
    failing, fine = bench.add(engine_request()), bench.add(engine_request(first_token=50))
    outputs = bench.finish()
    assert text(of(outputs, failing)) == "ab"
    assert isinstance(of(outputs, failing)[-1], InvalidRequest)
    assert text(of(outputs, fine)) == "fine"
    assert bench.empty()


def test_timings_are_those_of_the_clock():
    bench = FakeBench(FakeRunner(lambda prompt: say("abc")), slots=1)
    bench.add(engine_request())
    late = bench.add(engine_request())
    timings = finished(of(bench.finish(), late)).timings
    assert timings.queue_seconds == pytest.approx(0.04)
    assert timings.time_to_first_token_seconds == pytest.approx(timings.queue_seconds + timings.prompt_seconds)
    assert timings.generation_seconds == pytest.approx(0.03)


def test_cells_in_use_never_pass_the_kv_cache():
    bench = FakeBench(FakeRunner(lambda prompt: say("y" * 40)), slots=8, kv_cells=100)
    for _ in range(20):
        bench.add(engine_request(10, max_tokens=20))
    bench.finish()
    assert 30 <= bench.runner.peak_cells <= 100
    assert bench.empty()


def test_totals_count_what_was_read_cached_and_generated():
    bench = FakeBench(FakeRunner(lambda prompt: say("yes")), cache_bytes=10**6)
    bench.answer(engine_request(40))
    bench.answer(engine_request(50))
    totals = bench.engine.status.totals
    assert (totals.prompt_tokens, totals.cached_tokens, totals.completion_tokens) == (40 + 10, 40, 8)


def test_time_is_counted_while_something_runs_and_of_it_the_time_in_passes():
    bench = FakeBench(FakeRunner(lambda prompt: say("yes"), pass_seconds=lambda tokens: 0.5))
    bench.answer(engine_request())
    bench.now += 100.0
    bench.answer(engine_request())
    totals = bench.engine.status.totals
    assert totals.forward_seconds == pytest.approx(2 * 4 * 0.5)
    assert totals.step_seconds == pytest.approx(2 * (4 * 0.5 + 3 * 0.01)), "between steps too, but not between answers"


def test_the_time_of_copying_out_while_nothing_runs_is_not_counted():
    bench = FakeBench(FakeRunner(lambda prompt: say("yes")), cache_bytes=10**6, step_tokens=512)
    item = bench.add(engine_request(400))
    while not bench.reuse.parked_cells:
        bench.step()
    assert item.slot is None
    counted = bench.engine.status.totals.step_seconds
    bench.runner.copy_seconds = 1.0
    bench.finish()
    assert bench.engine.status.totals.step_seconds == counted


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
    bench = FakeBench(FaultyRunner(lambda prompt: (FAULT,) if prompt[0] == 50 else say("fine")))
    faulty = bench.add(replace(engine_request(first_token=50), seed=seed))
    other = bench.add(engine_request())
    outputs = bench.finish()
    failure = of(outputs, faulty)[-1]
    assert isinstance(failure, RequestFailed)
    assert isinstance(failure.__cause__, ValueError if seed == 13 else KeyError)
    assert text(of(outputs, other)) == "fine"
    assert bench.empty()


def test_passes_that_do_nothing_but_fail_end_the_engine():
    bench = FakeBench(FakeRunner(fail_after_passes=0), slots=1)
    first, second = bench.add(engine_request()), bench.add(engine_request())
    outputs = bench.step() + bench.step()
    assert isinstance(of(outputs, first)[-1], EngineUnavailable)
    assert isinstance(of(outputs, second)[-1], EngineUnavailable)
    bench.add(engine_request())
    with pytest.raises(EngineFailed, match="3 forward passes in a row failed: scripted failure"):
        bench.step()


def test_a_pass_that_works_makes_earlier_failures_forgotten():
    bench = FakeBench(FakeRunner(lambda prompt: say("fine")), slots=1)
    for _ in range(4):
        bench.runner.fail_after_passes = len(bench.runner.passes)
        bench.add(engine_request())
        assert isinstance(bench.step()[-1][1], EngineUnavailable)
        bench.runner.fail_after_passes = None
        assert text(bench.answer(engine_request())) == "fine"
