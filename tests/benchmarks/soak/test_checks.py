from __future__ import annotations

from collections.abc import Callable

import pytest
from grpc import StatusCode

from benchmarks.soak.checks import problems
from benchmarks.soak.forms import Form
from benchmarks.soak.outcome import Outcome, Received, Status
from benchmarks.soak.plan import End, Ending, PlannedCall
from groundwire.inference.v1 import inference_pb2 as pb

OK, CANCELLED, EXHAUSTED = StatusCode.OK, StatusCode.CANCELLED, StatusCode.RESOURCE_EXHAUSTED
LATE, INVALID = StatusCode.DEADLINE_EXCEEDED, StatusCode.INVALID_ARGUMENT


def request() -> pb.GenerateRequest:
    return pb.GenerateRequest(token_ids=pb.TokenIds(ids=[5, 6, 7]), max_tokens=3, stop=["!"], speculation=True)


def planned(ending: Ending = Ending.READ, *, invalid: str | None = None, form: Form | None = None) -> PlannedCall:
    return PlannedCall(0, 0.0, request(), End(ending), invalid=invalid, form=form)


def answer() -> Received:
    """A sound answer to `request()`."""
    usage = pb.Usage(prompt_tokens=3, cached_tokens=2, completion_tokens=3, drafted_tokens=4, accepted_tokens=1)
    return Received(
        events=["started", "progress", "progress", "delta", "delta", "finished"],
        text="one two",
        token_ids=[11, 12, 13],
        started=pb.Started(prompt_tokens=3, cached_tokens=2),
        finished=pb.Finished(reason=pb.FINISH_REASON_MAX_TOKENS, usage=usage),
    )


def ended(code: StatusCode | None, *, details: str = "", pushback_ms: int | None = None) -> Outcome:
    received = answer() if code is OK else Received()
    return Outcome(Status(code, "because", frozenset(details.split()), pushback_ms), received, 1.0)


@pytest.mark.parametrize(
    ("ending", "allowed"),
    [
        (Ending.READ, {OK, EXHAUSTED}),
        (Ending.SLOW, {OK, EXHAUSTED}),
        (Ending.CANCEL_EARLY, {OK, EXHAUSTED, CANCELLED}),
        (Ending.CANCEL_TIMED, {OK, EXHAUSTED, CANCELLED}),
        (Ending.CANCEL_MESSAGES, {OK, EXHAUSTED, CANCELLED}),
        (Ending.STALL, {OK, EXHAUSTED, CANCELLED}),
        (Ending.CLOSE, {OK, EXHAUSTED, CANCELLED}),
        (Ending.DEADLINE, {OK, EXHAUSTED, LATE}),
    ],
)
def test_how_a_valid_call_may_end(ending: Ending, allowed: set[StatusCode]) -> None:
    sound = {
        code
        for code in StatusCode
        if not problems(planned(ending), ended(code, details="RetryInfo ErrorInfo", pushback_ms=500))
    }

    assert sound == allowed


def test_how_an_invalid_call_may_end() -> None:
    call = planned(invalid="no input")
    sound = {
        code
        for code in StatusCode
        if not problems(call, ended(code, details="RetryInfo BadRequest ErrorInfo", pushback_ms=500))
    }

    assert sound == {INVALID, EXHAUSTED}


def test_a_call_without_an_end_is_named() -> None:
    assert problems(planned(), ended(None)) == ["ended NONE (because); allowed: OK, RESOURCE_EXHAUSTED"]


@pytest.mark.parametrize(
    ("details", "pushback_ms", "missing"),
    [
        ("ErrorInfo RetryInfo", None, "grpc-retry-pushback-ms"),
        ("ErrorInfo RetryInfo", 0, "grpc-retry-pushback-ms"),
        ("ErrorInfo", 500, "RetryInfo"),
    ],
)
def test_a_refusal_says_when_to_come_back(details: str, pushback_ms: int | None, missing: str) -> None:
    found = problems(planned(), ended(EXHAUSTED, details=details, pushback_ms=pushback_ms))

    assert found == [f"RESOURCE_EXHAUSTED without {missing}: because"]


def test_a_refusal_comes_before_any_message() -> None:
    received = Received(events=["started"])
    status = Status(EXHAUSTED, details=frozenset({"RetryInfo"}), pushback_ms=500)

    assert problems(planned(), Outcome(status, received, 1.0)) == ["RESOURCE_EXHAUSTED behind messages: ['started']"]


def test_invalid_argument_names_the_fields() -> None:
    found = problems(planned(invalid="no input"), ended(INVALID, details="ErrorInfo"))

    assert found == ["INVALID_ARGUMENT without BadRequest: because"]


def test_no_error_comes_behind_finished() -> None:
    outcome = Outcome(Status(LATE), answer(), 1.0)

    assert problems(planned(Ending.DEADLINE), outcome) == ["DEADLINE_EXCEEDED behind `finished`"]


@pytest.mark.parametrize(
    "events",
    [
        [],
        ["started"],
        ["started", "delta"],
        ["delta", "finished"],
        ["started", "finished", "finished"],
        ["started", "delta", "finished", "delta", "finished"],
        ["started", "delta", "progress", "finished"],
        ["started", "started", "delta", "finished"],
        ["started", "delta", "none", "finished"],
    ],
)
def test_events_in_no_valid_order(events: list[str]) -> None:
    received = answer()
    received.events = events

    assert problems(planned(), Outcome(Status(OK), received, 1.0)) == [f"events in no valid order: {events}"]


def fewer_tokens(received: Received, _request: pb.GenerateRequest) -> None:
    received.token_ids.pop()


def more_than_max_tokens(_received: Received, request: pb.GenerateRequest) -> None:
    request.max_tokens = 2


def another_prompt(_received: Received, request: pb.GenerateRequest) -> None:
    request.token_ids.ids.append(8)


def another_beginning(received: Received, _request: pb.GenerateRequest) -> None:
    assert received.started is not None
    received.started.cached_tokens = 1


def too_much_cached(received: Received, _request: pb.GenerateRequest) -> None:
    assert received.started is not None
    assert received.finished is not None
    received.started.cached_tokens = received.finished.usage.cached_tokens = 4


def too_many_accepted(received: Received, _request: pb.GenerateRequest) -> None:
    assert received.finished is not None
    received.finished.usage.accepted_tokens = 5


def unwanted_drafts(_received: Received, request: pb.GenerateRequest) -> None:
    request.speculation = False


def stop_in_the_text(received: Received, _request: pb.GenerateRequest) -> None:
    received.text = "one! two"


def stop_without_one(received: Received, _request: pb.GenerateRequest) -> None:
    assert received.finished is not None
    received.finished.reason = pb.FINISH_REASON_STOP_SEQUENCE


def unknown_stop(received: Received, _request: pb.GenerateRequest) -> None:
    assert received.finished is not None
    received.finished.reason = pb.FINISH_REASON_STOP_SEQUENCE
    received.finished.matched_stop = "?"


def ended_early(_received: Received, request: pb.GenerateRequest) -> None:
    request.max_tokens = 4


def full_context(received: Received, _request: pb.GenerateRequest) -> None:
    assert received.finished is not None
    received.finished.reason = pb.FINISH_REASON_CONTEXT_FULL


def no_reason(received: Received, _request: pb.GenerateRequest) -> None:
    assert received.finished is not None
    received.finished.reason = pb.FINISH_REASON_UNSPECIFIED


def ended_its_turn_all_the_same(received: Received, request: pb.GenerateRequest) -> None:
    assert received.finished is not None
    received.finished.reason = pb.FINISH_REASON_STOP
    request.ignore_eos = True


def another_seed(received: Received, request: pb.GenerateRequest) -> None:
    request.sampling.seed = 9


def missing_logprobs(_received: Received, request: pb.GenerateRequest) -> None:
    request.logprobs = 1


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (fewer_tokens, "completion_tokens is 3, but 2 tokens came"),
        (more_than_max_tokens, "completion_tokens is 3, above max_tokens 2"),
        (another_prompt, "prompt_tokens is 3, not 4"),
        (another_beginning, "started and usage differ"),
        (too_much_cached, "cached_tokens is 4, above prompt_tokens 3"),
        (too_many_accepted, "accepted_tokens is 5, above drafted_tokens 4"),
        (unwanted_drafts, "4 tokens were drafted although speculation was off"),
        (stop_in_the_text, "the text has the stop strings ['!'] in it"),
        (stop_without_one, "matched_stop '' with FINISH_REASON_STOP_SEQUENCE"),
        (unknown_stop, "matched_stop '?' was not asked for"),
        (ended_early, "FINISH_REASON_MAX_TOKENS behind 3 of 4 tokens"),
        (full_context, "FINISH_REASON_CONTEXT_FULL although max_tokens was set"),
        (no_reason, "finished with FINISH_REASON_UNSPECIFIED"),
        (ended_its_turn_all_the_same, "although the end of turn was to be ignored"),
        (another_seed, "seed 0 instead of 9"),
        (missing_logprobs, "0 logprobs for 3 tokens"),
    ],
)
def test_answers_that_contradict_themselves(
    spoil: Callable[[Received, pb.GenerateRequest], None], problem: str
) -> None:
    received, call = answer(), planned()
    assert problems(call, Outcome(Status(OK), received, 1.0)) == []

    spoil(received, call.request)

    found = problems(call, Outcome(Status(OK), received, 1.0))
    assert any(problem in one for one in found), found


def spelled(*tokens: bytes, reason: pb.FinishReason, text: str, stop: str | None = None) -> tuple[PlannedCall, Outcome]:
    """An answer with logprobs whose tokens are these bytes."""
    call, received = planned(), answer()
    call.request.logprobs = 0
    call.request.max_tokens = len(tokens) + (reason != pb.FINISH_REASON_MAX_TOKENS)
    received.token_ids = list(range(len(tokens)))
    received.logprobs = [
        pb.PositionLogprobs(chosen=pb.TokenLogprob(token_id=index, token=token, logprob=-1.0))
        for index, token in enumerate(tokens)
    ]
    received.text = text
    assert received.finished is not None
    received.finished.reason = reason
    if stop is not None:
        received.finished.matched_stop = stop
    received.finished.usage.completion_tokens = len(tokens)
    return call, Outcome(Status(OK), received, 1.0)


@pytest.mark.parametrize(
    ("tokens", "reason", "text", "stop", "sound"),
    [
        ((b" a", b" b"), pb.FINISH_REASON_MAX_TOKENS, " a b", None, True),
        ((b" a", b" b"), pb.FINISH_REASON_MAX_TOKENS, " a", None, False),
        ((b" a", b" b"), pb.FINISH_REASON_MAX_TOKENS, "a b", None, False),
        ((b"\xc3", b"\xa9"), pb.FINISH_REASON_MAX_TOKENS, "é", None, True),
        ((b"a", b"\xc3"), pb.FINISH_REASON_MAX_TOKENS, "a\N{REPLACEMENT CHARACTER}", None, True),
        ((b"a", b"<end>"), pb.FINISH_REASON_STOP, "a", None, True),
        ((b"a", b"<end>"), pb.FINISH_REASON_STOP, "a<end>", None, False),
        ((b"a", b"b!c"), pb.FINISH_REASON_STOP_SEQUENCE, "ab", "!", True),
        ((b"a", b"b!c"), pb.FINISH_REASON_STOP_SEQUENCE, "a", "!", False),
    ],
)
def test_the_text_is_what_the_tokens_spell(
    tokens: tuple[bytes, ...], reason: pb.FinishReason, text: str, stop: str | None, sound: bool
) -> None:
    call, outcome = spelled(*tokens, reason=reason, text=text, stop=stop)

    assert (problems(call, outcome) == []) is sound, problems(call, outcome)


def test_a_chat_answer_leaves_out_the_vocabularys_own_space() -> None:
    call, outcome = spelled(b" a", reason=pb.FINISH_REASON_MAX_TOKENS, text="a")
    call.request.chat.messages.add(role=pb.ROLE_USER, content="Where?")

    assert problems(call, outcome) == []


@pytest.mark.parametrize(
    "top",
    [
        [(2, -0.5)],
        [(2, -2.0), (3, -1.0)],
        [(2, 0.5), (3, -1.0)],
    ],
)
def test_wrong_logprobs(top: list[tuple[int, float]]) -> None:
    call, outcome = spelled(b" a", reason=pb.FINISH_REASON_MAX_TOKENS, text=" a")
    call.request.logprobs = 2
    for token_id, logprob in top:
        outcome.received.logprobs[0].top.add(token_id=token_id, logprob=logprob)

    assert len(problems(call, outcome)) == 1


@pytest.mark.parametrize(
    ("form", "text", "sound"),
    [
        (Form(gbnf='root ::= "yes"', pattern="yes"), "yes", True),
        (Form(gbnf='root ::= "yes"', pattern="yes"), "yes.", False),
        (Form(json_schema='{"enum": ["yes"]}'), '"yes"', True),
        (Form(json_schema='{"enum": ["yes"]}'), '"no"', False),
        (Form(json_schema='{"enum": ["yes"]}'), "yes", False),
    ],
)
def test_a_whole_answer_has_the_form_that_was_asked_for(form: Form, text: str, sound: bool) -> None:
    received = answer()
    received.text = text
    assert received.finished is not None
    received.finished.reason = pb.FINISH_REASON_STOP

    assert (problems(planned(form=form), Outcome(Status(OK), received, 1.0)) == []) is sound
