"""Drafts in the engine: they change how many passes an answer takes, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.errors import InvalidRequest
from inference_service.core.ports import Chunk
from inference_service.core.sequence import EngineRequest
from inference_service.core.types import Delta, FinishReason
from tests.inference_service.engine_bench import FakeBench, finished, of, text, tokens
from tests.support.fake_runner import END, FAIL, FakeRunner, say
from tests.support.sequences import engine_request

DRAFT_TOKENS = 8
SOURCE = "The port is 50051. It listens on all of its addresses."


def bench(answer: tuple[int, ...], *, draft_tokens: int = DRAFT_TOKENS, **parts: int) -> FakeBench:
    """Passes that cost the same whatever their size: a draft is always worth a try."""
    runner = FakeRunner(lambda prompt: answer, pass_seconds=lambda tokens: 0.01)
    return FakeBench(runner, draft_tokens=draft_tokens, **parts)


def asking(**fields: object) -> EngineRequest:
    """A request whose prompt is the source."""
    return engine_request(say(SOURCE)[:-1], **{"max_tokens": 100, **fields})


def drafted(made: FakeBench) -> list[Chunk]:
    return [chunk for chunks in made.runner.passes for chunk in chunks if chunk.drafted]


def test_an_answer_that_copies_takes_fewer_passes():
    copy = "It listens on all of its addresses."
    plain, made = bench(say(copy), draft_tokens=0), bench(say(copy))
    expected, outputs = plain.answer(asking()), made.answer(asking())
    assert text(outputs) == text(expected) == copy
    assert tokens(outputs) == tokens(expected)
    assert finished(outputs).reason is finished(expected).reason
    assert len(made.runner.passes) < len(plain.runner.passes) / 2
    assert made.empty()


def test_usage_counts_what_was_drafted_and_what_was_right():
    made = bench(say("The port is 50051. No."))
    outputs = made.answer(asking())
    usage = finished(outputs).usage
    assert usage.drafted_tokens == sum(chunk.drafted for chunk in drafted(made)) > 0
    accepted = sum(len(output.token_ids) - 1 for output in outputs if isinstance(output, Delta))
    assert usage.accepted_tokens == accepted > 0
    assert usage.completion_tokens == len(tokens(outputs)) == len("The port is 50051. No.") + 1
    totals = made.engine.status.totals
    assert (totals.drafted_tokens, totals.accepted_tokens) == (usage.drafted_tokens, usage.accepted_tokens)
    assert totals.completion_tokens == usage.completion_tokens


@pytest.mark.parametrize(
    ("draft_tokens", "fields"), [(0, {}), (DRAFT_TOKENS, {"speculation": False})], ids=["none here", "unwanted"]
)
def test_drafts_can_be_turned_off(draft_tokens, fields):
    made = bench(say("The port is 50051."), draft_tokens=draft_tokens)
    usage = finished(made.answer(asking(**fields))).usage
    assert (usage.drafted_tokens, usage.accepted_tokens, drafted(made)) == (0, 0, [])


@pytest.mark.parametrize("most", [1, 3, 8])
def test_no_draft_is_longer_than_the_limit(most):
    made = bench(say("It listens on all of its addresses."), draft_tokens=most)
    made.answer(asking())
    assert max(chunk.drafted for chunk in drafted(made)) == most


@pytest.mark.parametrize("max_tokens", range(1, 14))
def test_no_draft_passes_max_tokens(max_tokens):
    made = bench(say("It listens on all of its addresses."))
    outputs = made.answer(asking(max_tokens=max_tokens))
    assert text(outputs) == "It listens on all"[:max_tokens]
    assert finished(outputs).reason is FinishReason.MAX_TOKENS
    assert finished(outputs).usage.completion_tokens == max_tokens
    ends = [chunk.position + len(chunk.tokens) for chunk in drafted(made)]
    assert max(ends, default=0) < len(SOURCE) + max_tokens, "nor is a token drafted that would be one too many"
    assert made.empty()


@pytest.mark.parametrize("limited", [True, False])
def test_a_draft_that_ends_at_the_last_token_gives_the_right_reason(limited):
    made = bench(say("It listens on all of its addresses."))
    outputs = made.answer(asking(max_tokens=12, limited_by_context=limited))
    assert drafted(made)
    assert finished(outputs).reason is (FinishReason.CONTEXT_FULL if limited else FinishReason.MAX_TOKENS)


@pytest.mark.parametrize("stop", ["list", "ten", "s on all of ", "n"])
def test_a_stop_string_inside_a_draft_ends_the_text_where_it_begins(stop):
    copy = "It listens on all of its addresses."
    made = bench(say(copy))
    outputs = made.answer(asking(stop=(stop,)))
    assert text(outputs) == copy[: copy.index(stop)]
    end = finished(outputs)
    assert (end.reason, end.matched_stop) == (FinishReason.STOP_SEQUENCE, stop)
    complete = copy.index(stop) + len(stop)
    assert tokens(outputs) == list(say(copy)[:complete]), "what was drafted behind it is not reported"
    assert end.usage.completion_tokens == complete
    assert made.empty()


def test_an_end_token_inside_a_draft_ends_the_answer():
    """A prompt of earlier turns holds end tokens, and what stands behind them."""
    turns = (*say("It is so, as everybody knows."), *say("And then?"), *say("No."))
    made = bench((*say("It is so, as everybody knows."), *say("And then?")))
    outputs = made.answer(engine_request(turns, max_tokens=100))
    assert any(END in chunk.tokens[-chunk.drafted : -1] for chunk in drafted(made)), (
        "it was drafted with more behind it"
    )
    assert text(outputs) == "It is so, as everybody knows."
    assert finished(outputs).reason is FinishReason.STOP
    assert tokens(outputs) == list(say("It is so, as everybody knows."))
    assert made.empty()


@pytest.mark.parametrize("stop", [(), ("so.",)], ids=["end token", "stop string"])
def test_no_more_tokens_are_counted_as_right_than_were_taken(stop):
    turns = (*say("It is so."), *say("And then?"), *say("No."))
    made = bench((*say("It is so."), *say("And then?")))
    usage = finished(made.answer(engine_request(turns, max_tokens=100, stop=stop))).usage
    assert usage.accepted_tokens < usage.completion_tokens, "the first one is never drafted"
    assert made.engine.status.totals.accepted_tokens == usage.accepted_tokens


@pytest.mark.parametrize("fields", [{}, {"max_tokens": 9}, {"stop": ("all",)}], ids=["end", "max_tokens", "stop"])
def test_log_probabilities_are_those_of_the_tokens_that_were_taken(fields):
    made = bench(say("It listens on all of its addresses."))
    outputs = made.answer(asking(logprobs=0, **fields))
    assert drafted(made)
    for output in outputs:
        if isinstance(output, Delta):
            assert tuple(position.chosen.token_id for position in output.logprobs) == output.token_ids


def test_an_ignored_end_token_is_drafted_like_any_other():
    turns = (*say("It is so."), *say("And then?"), *say("No."))
    made = bench((*say("It is so."), *say("And then?")))
    outputs = made.answer(engine_request(turns, max_tokens=20, ignore_eos=True))
    assert text(outputs) == "It is so.And then?"
    assert finished(outputs).usage.completion_tokens == 20


def test_a_sequence_that_fails_inside_a_draft_reports_what_came_before():
    made = bench((*say("It listens o")[:-1], FAIL))
    outputs = made.answer(asking())
    assert drafted(made)
    assert text(outputs) == "It listens o"
    assert isinstance(outputs[-1], InvalidRequest)
    assert made.empty()


def test_drafts_wait_while_a_prompt_is_read():
    made = bench(say("It listens on all of its addresses."), kv_cells=5000)
    reading = made.add(engine_request(900, first_token=500, max_tokens=100))
    made.step()
    copying = made.add(asking())
    outputs = made.finish()
    for chunks in made.runner.passes:
        if any(len(chunk.tokens) - chunk.drafted > 1 for chunk in chunks):
            assert not any(chunk.drafted for chunk in chunks)
    assert drafted(made)
    assert text(of(outputs, copying)) == text(of(outputs, reading)) == "It listens on all of its addresses."


def test_drafts_of_many_streams_fit_into_a_pass():
    made = bench(say("It listens on all of its addresses."), step_tokens=16, slots=8, kv_cells=5000)
    items = [made.add(asking()) for _ in range(8)]
    outputs = made.finish()
    assert all(text(of(outputs, item)) == "It listens on all of its addresses." for item in items)
    assert max(sum(len(chunk.tokens) for chunk in chunks) for chunks in made.runner.passes) == 16
    assert drafted(made)


def test_drafts_that_are_never_right_cease_where_they_cost():
    runner = FakeRunner(lambda prompt: (*say("abXabYabZab" * 30)[:-1],), pass_seconds=lambda tokens: 0.01 * tokens)
    made = FakeBench(runner, draft_tokens=DRAFT_TOKENS)
    wrong = finished(made.answer(engine_request(say("no ab! and ab?")[:-1], max_tokens=200))).usage
    assert wrong.drafted_tokens < 20


letters = st.sampled_from("ab.")


@given(
    answers=st.lists(st.text(letters, max_size=30), min_size=1, max_size=3),
    source=st.text(letters, min_size=1, max_size=30),
    draft_tokens=st.integers(1, 12),
    max_tokens=st.integers(1, 40),
    stop=st.lists(st.text(letters, min_size=1, max_size=4), max_size=2),
)
def test_answers_are_the_same_with_drafts_and_without(answers, source, draft_tokens, max_tokens, stop):
    def outcome(most: int) -> list[tuple[object, ...]]:
        runner = FakeRunner(lambda prompt: say(answers[prompt[0] - 1]), pass_seconds=lambda tokens: 0.01)
        made = FakeBench(runner, draft_tokens=most)
        items = [
            made.add(engine_request((index + 1, *say(source)), max_tokens=max_tokens, stop=tuple(stop)))
            for index in range(len(answers))
        ]
        outputs = made.finish()
        assert made.empty()
        ends = [finished(of(outputs, item)) for item in items]
        return [
            (text(of(outputs, item)), tokens(of(outputs, item)), end.reason, end.matched_stop)
            for item, end in zip(items, ends, strict=True)
        ]

    assert outcome(draft_tokens) == outcome(0)
