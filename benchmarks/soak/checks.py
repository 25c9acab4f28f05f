"""What must hold of every call: its status, and of a finished answer that it agrees with itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from grpc import StatusCode

from benchmarks.soak.outcome import Outcome, Received
from benchmarks.soak.plan import Ending, PlannedCall
from groundwire.inference.v1 import inference_pb2 as pb

_ANY_TIME = frozenset({StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED})
"""A caller may always get its answer before it leaves, or be refused."""

_LEFT = _ANY_TIME | {StatusCode.CANCELLED}

ALLOWED: Mapping[Ending, frozenset[StatusCode]] = {
    Ending.READ: _ANY_TIME,
    Ending.SLOW: _ANY_TIME,
    Ending.CANCEL_EARLY: _LEFT,
    Ending.CANCEL_TIMED: _LEFT,
    Ending.CANCEL_MESSAGES: _LEFT,
    Ending.STALL: _LEFT,
    Ending.DEADLINE: _ANY_TIME | {StatusCode.DEADLINE_EXCEEDED},
    Ending.CLOSE: _LEFT,
}
"""How a valid call may end, by what its caller does."""

INVALID_ALLOWED = frozenset({StatusCode.INVALID_ARGUMENT, StatusCode.RESOURCE_EXHAUSTED})
"""How an invalid one may end: what needs the tokenizer is checked only once there is a place."""


def problems(planned: PlannedCall, outcome: Outcome) -> list[str]:
    """Everything that is wrong with a call's end; empty where nothing is."""
    found = list(_status_problems(planned, outcome))
    if outcome.code is StatusCode.OK and not found:
        found += _order_problems(outcome.received)
        if not found:
            found += _answer_problems(planned, outcome.received)
    return found


def _status_problems(planned: PlannedCall, outcome: Outcome) -> Iterator[str]:
    allowed = INVALID_ALLOWED if planned.invalid else ALLOWED[planned.end.ending]
    if outcome.code not in allowed:
        names = ", ".join(sorted(code.name for code in allowed))
        yield f"ended {outcome.code_name} ({outcome.status.message}); allowed: {names}"
    elif outcome.code is StatusCode.RESOURCE_EXHAUSTED:
        if "RetryInfo" not in outcome.status.details:
            yield f"RESOURCE_EXHAUSTED without RetryInfo: {outcome.status.message}"
        if not outcome.status.pushback_ms:
            yield f"RESOURCE_EXHAUSTED without grpc-retry-pushback-ms: {outcome.status.message}"
        if outcome.received.events:
            yield f"RESOURCE_EXHAUSTED behind messages: {outcome.received.events}"
    elif outcome.code is StatusCode.INVALID_ARGUMENT and "BadRequest" not in outcome.status.details:
        yield f"INVALID_ARGUMENT without BadRequest: {outcome.status.message}"
    if outcome.code is not StatusCode.OK and outcome.code is not StatusCode.CANCELLED and outcome.received.finished:
        yield f"{outcome.code_name} behind `finished`"


def _order_problems(received: Received) -> Iterator[str]:
    """started, progress*, delta*, finished: each of the outer two once."""
    middle = received.events[1:-1]
    deltas = middle.index("delta") if "delta" in middle else len(middle)
    in_order = (
        received.events[:1] == ["started"]
        and received.events[-1:] == ["finished"]
        and set(middle[:deltas]) <= {"progress"}
        and set(middle[deltas:]) == {"delta"}
    )
    if not in_order:
        yield f"events in no valid order: {received.events}"


def _answer_problems(planned: PlannedCall, received: Received) -> Iterator[str]:
    started, finished = received.started, received.finished
    assert started is not None and finished is not None, "the order has been checked"  # noqa: S101, PT018
    yield from _usage_problems(planned.request, received, started, finished)
    yield from _reason_problems(planned, received, finished)
    yield from _logprob_problems(planned.request, received)
    yield from _text_problems(planned, received, finished)
    sampling = planned.request.sampling
    if sampling.HasField("seed") and finished.seed != sampling.seed:
        yield f"seed {finished.seed} instead of {sampling.seed}"


def _usage_problems(
    request: pb.GenerateRequest, received: Received, started: pb.Started, finished: pb.Finished
) -> Iterator[str]:
    usage = finished.usage
    if usage.completion_tokens != len(received.token_ids):
        yield f"completion_tokens is {usage.completion_tokens}, but {len(received.token_ids)} tokens came"
    if request.HasField("max_tokens") and usage.completion_tokens > request.max_tokens:
        yield f"completion_tokens is {usage.completion_tokens}, above max_tokens {request.max_tokens}"
    if request.HasField("token_ids") and usage.prompt_tokens != len(request.token_ids.ids):
        yield f"prompt_tokens is {usage.prompt_tokens}, not {len(request.token_ids.ids)}"
    if (started.prompt_tokens, started.cached_tokens) != (usage.prompt_tokens, usage.cached_tokens):
        yield "started and usage differ in prompt_tokens or cached_tokens"
    if usage.cached_tokens > usage.prompt_tokens:
        yield f"cached_tokens is {usage.cached_tokens}, above prompt_tokens {usage.prompt_tokens}"
    if usage.accepted_tokens > usage.drafted_tokens:
        yield f"accepted_tokens is {usage.accepted_tokens}, above drafted_tokens {usage.drafted_tokens}"
    if request.HasField("speculation") and not request.speculation and usage.drafted_tokens:
        yield f"{usage.drafted_tokens} tokens were drafted although speculation was off"


def _reason_problems(planned: PlannedCall, received: Received, finished: pb.Finished) -> Iterator[str]:
    request, reason = planned.request, pb.FinishReason.Name(finished.reason)
    if finished.HasField("matched_stop") != (finished.reason == pb.FINISH_REASON_STOP_SEQUENCE):
        yield f"matched_stop {finished.matched_stop!r} with {reason}"
    elif finished.HasField("matched_stop") and finished.matched_stop not in request.stop:
        yield f"matched_stop {finished.matched_stop!r} was not asked for"
    contained = [stop for stop in request.stop if stop in received.text]
    if contained:
        yield f"the text has the stop strings {contained} in it"
    match finished.reason:
        case pb.FINISH_REASON_MAX_TOKENS:
            most = request.max_tokens if request.HasField("max_tokens") else len(received.token_ids)
            if len(received.token_ids) != most:
                yield f"{reason} behind {len(received.token_ids)} of {most} tokens"
        case pb.FINISH_REASON_CONTEXT_FULL:
            if request.HasField("max_tokens"):
                yield f"{reason} although max_tokens was set"
        case pb.FINISH_REASON_STOP:
            if request.ignore_eos:
                yield f"{reason} although the end of turn was to be ignored"
            if planned.form is not None and not planned.form.fits(received.text):
                yield f"the answer has not the form that was asked for: {received.text!r}"
        case pb.FINISH_REASON_STOP_SEQUENCE:
            pass
        case _:
            yield f"finished with {reason}"


def _logprob_problems(request: pb.GenerateRequest, received: Received) -> Iterator[str]:
    expected = len(received.token_ids) if request.HasField("logprobs") else 0
    if len(received.logprobs) != expected:
        yield f"{len(received.logprobs)} logprobs for {len(received.token_ids)} tokens"
        return
    for token_id, position in zip(received.token_ids, received.logprobs, strict=False):
        values = [entry.logprob for entry in position.top]
        if position.chosen.token_id != token_id or len(values) != request.logprobs:
            yield f"logprobs of other tokens, or not {request.logprobs} of them, at a token {token_id}"
        elif values != sorted(values, reverse=True) or max([position.chosen.logprob, *values]) > 0:
            yield f"logprobs out of order or above 0 at a token {token_id}"
        else:
            continue
        return


def _text_problems(planned: PlannedCall, received: Received, finished: pb.Finished) -> Iterator[str]:
    """Where the tokens' bytes are known, the text must be what they spell, up to the stop string."""
    request = planned.request
    if not request.HasField("logprobs"):
        return
    spoken = received.logprobs
    if finished.reason == pb.FINISH_REASON_STOP:
        spoken = spoken[:-1]
    spelled = b"".join(position.chosen.token for position in spoken).decode(errors="replace")
    candidates = {spelled}
    if request.HasField("chat") and planned.form is None:
        candidates = {spelled.removeprefix(" "), spelled}  # the vocabulary's own space is no part of an answer
    whole = received.text + finished.matched_stop
    if finished.reason == pb.FINISH_REASON_STOP_SEQUENCE:
        fits = any(candidate.startswith(whole) for candidate in candidates)
    else:
        fits = whole in candidates
    if not fits:
        yield f"the text is {received.text!r}, its tokens spell {spelled!r}"
