from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise

import pytest

from benchmarks.soak.invalid import INVALID
from benchmarks.soak.plan import CONVERSATIONS, SALTS, Ending, PlannedCall, Shape, plan
from benchmarks.soak.probes import PROBES
from groundwire_rpc.validation import InvalidFields
from inference_service.wire import generate_request

SHAPE = Shape(context_tokens=512, vocabulary_size=32_064, places=24)
FOUND_WITH_THE_MODEL = {
    "max_tokens above the context",
    "one token too many",
    "text too long",
    "unknown token",
    "unknown biased token",
    "chat too long",
    "broken GBNF",
    "broken schema",
}


def calls(count: int, *, seed: int = 1) -> list[PlannedCall]:
    return list(islice(plan(seed, SHAPE), count))


@pytest.fixture(scope="module")
def many() -> list[PlannedCall]:
    return calls(4000)


def test_the_same_seed_gives_the_same_calls() -> None:
    assert calls(300) == calls(300)


def test_another_seed_gives_other_calls() -> None:
    first, second = calls(50), calls(50, seed=2)

    assert [call.request for call in first] != [call.request for call in second]
    assert [call.at_seconds for call in first] != [call.at_seconds for call in second]


def test_calls_are_numbered_and_arrive_in_order(many: list[PlannedCall]) -> None:
    assert [call.index for call in many] == list(range(len(many)))
    assert all(before.at_seconds < after.at_seconds for before, after in pairwise(many))


def test_it_begins_with_a_burst_beyond_all_places_and_leaves_time_to_fall_idle(many: list[PlannedCall]) -> None:
    assert many[SHAPE.places].at_seconds < 1.0
    assert max(after.at_seconds - before.at_seconds for before, after in pairwise(many)) > 1.0


def test_every_way_to_end_a_call_occurs_for_every_kind_of_call(many: list[PlannedCall]) -> None:
    streams = Counter(call.end.ending for call in many if not call.gathered)
    gathered = Counter(call.end.ending for call in many if call.gathered)

    assert set(streams) == set(Ending)
    assert set(gathered) == set(Ending) - {Ending.SLOW, Ending.CANCEL_MESSAGES, Ending.STALL}


def test_every_special_call_occurs(many: list[PlannedCall]) -> None:
    assert {call.invalid for call in many} == {None, *INVALID}
    assert {call.probe for call in many} == {None, *range(len(PROBES))}
    assert {call.conversation for call in many} == {None, *range(CONVERSATIONS)}
    assert {call.request.cache_salt for call in many} >= set(SALTS)
    assert any(call.form is not None and call.form.gbnf for call in many)
    assert any(call.form is not None and call.form.json_schema for call in many)


@pytest.mark.parametrize(
    "field", ["chat", "text", "token_ids", "max_tokens", "logprobs", "speculation", "sampling", "response_format"]
)
def test_fields_are_set_now_and_then(many: list[PlannedCall], field: str) -> None:
    share = sum(call.request.HasField(field) for call in many if call.invalid is None) / len(many)  # type: ignore[arg-type]

    assert 0.01 < share < 0.99


def test_stop_strings_greedy_and_sampled_requests_occur(many: list[PlannedCall]) -> None:
    assert any(call.request.stop for call in many)
    assert any(call.request.ignore_eos for call in many)
    assert any(call.request.sampling.logit_bias for call in many)
    assert any(call.request.sampling.temperature > 0 for call in many)
    assert any(not call.request.HasField("sampling") for call in many)


def test_prompts_are_of_all_lengths_and_fit_the_context(many: list[PlannedCall]) -> None:
    exact = [call.request for call in many if call.invalid is None and call.request.HasField("token_ids")]
    lengths = {len(request.token_ids.ids) for request in exact}

    assert min(lengths) == 1
    assert max(lengths) == SHAPE.context_tokens - 1
    assert len(lengths) > 100
    assert all(len(request.token_ids.ids) + request.max_tokens <= SHAPE.context_tokens for request in exact)


def test_prompts_share_beginnings(many: list[PlannedCall]) -> None:
    beginnings = Counter(
        tuple(call.request.token_ids.ids[:8])
        for call in many
        if call.probe is None and len(call.request.token_ids.ids) >= 8
    )

    assert beginnings.most_common(1)[0][1] > 10


def test_valid_requests_pass_the_services_own_checks(many: list[PlannedCall]) -> None:
    for call in many:
        if call.invalid is None:
            generate_request(call.request)


@pytest.mark.parametrize("name", sorted(set(INVALID) - FOUND_WITH_THE_MODEL))
def test_invalid_requests_do_not(many: list[PlannedCall], name: str) -> None:
    call = next(call for call in many if call.invalid == name)

    with pytest.raises(InvalidFields):
        generate_request(call.request)


def test_requests_that_only_the_model_shows_to_be_invalid_pass_the_first_checks(many: list[PlannedCall]) -> None:
    for call in many:
        if call.invalid in FOUND_WITH_THE_MODEL:
            generate_request(call.request)
