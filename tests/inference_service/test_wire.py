import pytest
from google.protobuf import json_format

from groundwire.inference.v1 import inference_pb2 as pb
from groundwire_rpc.validation import InvalidFields
from inference_service import wire
from inference_service.core.types import (
    Chat,
    ContextPolicy,
    Delta,
    Document,
    DocumentUse,
    EngineStatus,
    EngineTotals,
    Finished,
    FinishReason,
    FittedPrompt,
    GenerateRequest,
    GrammarKind,
    Message,
    PositionLogprobs,
    Progress,
    ResponseFormat,
    Role,
    Sampling,
    Started,
    Timings,
    TokenLogprob,
    Usage,
)


def parse(fields: dict[str, object]) -> pb.GenerateRequest:
    return json_format.ParseDict(fields, pb.GenerateRequest())


def offending(fields: dict[str, object]) -> set[str]:
    with pytest.raises(InvalidFields) as invalid:
        wire.generate_request(parse(fields))
    return {violation.field for violation in invalid.value.violations}


USER = {"role": "ROLE_USER", "content": "Why?"}
ASSISTANT = {"role": "ROLE_ASSISTANT", "content": "Because."}
SYSTEM = {"role": "ROLE_SYSTEM", "content": "Be brief."}
LONG_USER = {"role": "ROLE_USER", "content": "x" * 262_144}
LONG_ASSISTANT = {"role": "ROLE_ASSISTANT", "content": "x" * 262_144}


def test_only_an_input_is_needed_and_the_rest_has_its_documented_defaults():
    assert wire.generate_request(parse({"text": "Once"})) == GenerateRequest(input="Once")
    assert Sampling() == Sampling(temperature=0, top_p=0.95, top_k=40, min_p=0, repeat_penalty=1)


@pytest.mark.parametrize(
    ("said", "speculation"), [({}, True), ({"speculation": True}, True), ({"speculation": False}, False)]
)
def test_drafts_are_allowed_unless_they_are_refused(said, speculation):
    assert wire.generate_request(parse({"text": "Once", **said})).speculation is speculation


def test_every_field_arrives():
    request = wire.generate_request(
        parse(
            {
                "chat": {
                    "messages": [SYSTEM, USER, ASSISTANT, USER],
                    "documents": [
                        {"title": "T", "url": "https://example.org/", "host": "example.org", "text": "Text."}
                    ],
                },
                "sampling": {
                    "temperature": 0.5,
                    "topP": 1,
                    "topK": 0,
                    "minP": 0.25,
                    "repeatPenalty": 1.5,
                    "presencePenalty": -2,
                    "frequencyPenalty": 2,
                    "logitBias": [{"tokenId": 7, "bias": -100}],
                    "seed": 0,
                },
                "maxTokens": 9,
                "stop": ["a", "b"],
                "logprobs": 0,
                "responseFormat": {"gbnf": "root ::= [a]"},
                "contextPolicy": "CONTEXT_POLICY_ERROR",
                "cacheSalt": "tenant",
                "speculation": False,
            }
        )
    )
    assert request == GenerateRequest(
        input=Chat(
            (
                Message(Role.SYSTEM, "Be brief."),
                Message(Role.USER, "Why?"),
                Message(Role.ASSISTANT, "Because."),
                Message(Role.USER, "Why?"),
            ),
            (Document(title="T", host="example.org", text="Text."),),
        ),
        sampling=Sampling(0.5, 1, 0, 0.25, 1.5, -2, 2, ((7, -100.0),), 0),
        max_tokens=9,
        stop=("a", "b"),
        logprobs=0,
        response_format=ResponseFormat(GrammarKind.GBNF, "root ::= [a]"),
        context_policy=ContextPolicy.ERROR,
        cache_salt="tenant",
        speculation=False,
    )


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, {"input"}),
        ({"text": ""}, {"text"}),
        ({"text": "x" * (wire.MAX_TEXT_BYTES + 1)}, {"text"}),
        ({"tokenIds": {}}, {"token_ids.ids"}),
        ({"text": "x", "maxTokens": 0}, {"max_tokens"}),
        ({"text": "x", "stop": ["a"] * 9}, {"stop"}),
        ({"text": "x", "stop": ["", "é" * 33]}, {"stop[0]", "stop[1]"}),
        ({"text": "x", "logprobs": 21}, {"logprobs"}),
        ({"text": "x", "sampling": {"temperature": 2.01, "topP": 0}}, {"sampling.temperature", "sampling.top_p"}),
        ({"text": "x", "sampling": {"temperature": "NaN"}}, {"sampling.temperature"}),
        ({"text": "x", "sampling": {"topP": 1.01, "topK": 1001}}, {"sampling.top_p", "sampling.top_k"}),
        (
            {"text": "x", "sampling": {"minP": -0.1, "repeatPenalty": 0.4}},
            {"sampling.min_p", "sampling.repeat_penalty"},
        ),
        (
            {"text": "x", "sampling": {"presencePenalty": 2.1, "frequencyPenalty": -2.1}},
            {"sampling.presence_penalty", "sampling.frequency_penalty"},
        ),
        (
            {"text": "x", "sampling": {"logitBias": [{"tokenId": 1, "bias": 101}, {"tokenId": 1, "bias": 1}]}},
            {"sampling.logit_bias[0].bias", "sampling.logit_bias[1].token_id"},
        ),
        ({"text": "x", "responseFormat": {}}, {"response_format.format"}),
        ({"text": "x", "ignoreEos": True, "responseFormat": {"gbnf": "x"}}, {"ignore_eos"}),
        ({"text": "x", "responseFormat": {"gbnf": "x" * 16_385}}, {"response_format.gbnf"}),
        ({"text": "x", "cacheSalt": "x" * 257}, {"cache_salt"}),
        ({"text": "x", "contextPolicy": 9}, {"context_policy"}),
        ({"chat": {}}, {"chat.messages"}),
        ({"chat": {"messages": [USER] * 129}}, {"chat.messages"}),
        ({"chat": {"messages": [USER, ASSISTANT]}}, {"chat.messages"}),
        ({"chat": {"messages": [SYSTEM]}}, {"chat.messages"}),
        ({"chat": {"messages": [USER, USER]}}, {"chat.messages[1].role"}),
        ({"chat": {"messages": [USER, SYSTEM, USER]}}, {"chat.messages[1].role"}),
        ({"chat": {"messages": [{"role": "ROLE_USER"}]}}, {"chat.messages[0].content"}),
        ({"chat": {"messages": [{"content": "x"}]}}, {"chat.messages[0].role"}),
        (
            {"chat": {"messages": [USER], "documents": [{"url": "x" * 8193, "host": "h" * 256}]}},
            {f"chat.documents[0].{name}" for name in ("title", "url", "host", "text")},
        ),
        ({"chat": {"messages": [USER], "documents": [{"title": "t", "text": "t"}] * 33}}, {"chat.documents"}),
        (
            {"chat": {"messages": [USER], "documents": [{"title": "t" * 1025, "text": "é" * 32_769}]}},
            {"chat.documents[0].title", "chat.documents[0].text"},
        ),
        ({"chat": {"messages": [{"role": "ROLE_USER", "content": "x" * 262_145}]}}, {"chat.messages[0].content"}),
        ({"chat": {"messages": [LONG_USER, LONG_ASSISTANT] * 16 + [LONG_USER]}}, {"chat"}),
        ({"tokenIds": {"ids": [1] * (wire.MAX_TOKEN_IDS + 1)}}, {"token_ids.ids"}),
        ({"text": "x", "responseFormat": {"jsonSchema": "x" * 16_385}}, {"response_format.json_schema"}),
        ({"text": "x", "sampling": {"logitBias": [{"tokenId": n} for n in range(257)]}}, {"sampling.logit_bias"}),
    ],
)
def test_every_limit_names_its_field(fields, names):
    assert offending(fields) == names


def test_all_offending_fields_are_named_at_once():
    fields = {"maxTokens": 0, "sampling": {"temperature": 3}, "stop": [""], "cacheSalt": "x" * 300}
    assert offending(fields) == {"input", "max_tokens", "sampling.temperature", "stop[0]", "cache_salt"}


def test_a_prefix_stands_before_the_names():
    with pytest.raises(InvalidFields) as invalid:
        wire.generate_request(pb.GenerateRequest(), "generate.")
    assert [violation.field for violation in invalid.value.violations] == ["generate.input"]


def test_events_are_encoded_whole_and_gathered_into_one_answer():
    prompt = FittedPrompt(
        (1, 2, 3),
        10,
        documents_used=(DocumentUse(1, cut=False, text_bytes=5), DocumentUse(3, cut=True, text_bytes=2)),
        documents_dropped=(2,),
        messages_dropped=4,
    )
    chosen = TokenLogprob(8, b"\xe2", -0.5)
    events = [
        Started(prompt, cached_tokens=1, queue_seconds=0.25),
        Progress(2, 3),
        Delta("", (8,), (PositionLogprobs(chosen, (chosen,)),)),
        Delta("€!", (9, 10)),
        Finished(
            FinishReason.STOP_SEQUENCE, Usage(3, 1, 4, 2, 1), Timings(0.25, 0.5, 0.75, 1.5), seed=5, matched_stop="END"
        ),
    ]
    messages = [wire.event(event, "builtin") for event in events]
    assert json_format.MessageToDict(messages[0], preserving_proto_field_name=True)["started"] == {
        "model": "builtin",
        "prompt_tokens": 3,
        "cached_tokens": 1,
        "documents_used": [{"index": 1, "text_bytes": 5}, {"index": 3, "cut": True, "text_bytes": 2}],
        "documents_dropped": [2],
        "messages_dropped": 4,
        "queue_time": "0.250s",
    }
    response = pb.CompleteResponse()
    for message in messages:
        wire.gather(response, message)
    assert response.started == messages[0].started
    assert (response.text, list(response.token_ids)) == ("€!", [8, 9, 10])
    assert response.logprobs[0].chosen.token == b"\xe2"
    assert response.finished.reason == pb.FINISH_REASON_STOP_SEQUENCE
    assert response.finished.matched_stop == "END"
    assert json_format.MessageToDict(response.finished.usage, preserving_proto_field_name=True) == {
        "prompt_tokens": 3,
        "cached_tokens": 1,
        "completion_tokens": 4,
        "drafted_tokens": 2,
        "accepted_tokens": 1,
    }
    assert response.finished.timings.generation.ToMilliseconds() == 1500


def test_a_reason_other_than_a_stop_string_leaves_matched_stop_absent():
    event = Finished(FinishReason.MAX_TOKENS, Usage(1, 0, 1), Timings(0, 0, 0, 0), seed=1)
    assert not wire.event(event, "m").finished.HasField("matched_stop")


def test_the_engine_s_status_arrives_whole():
    totals = EngineTotals(
        prompt_tokens=1,
        cached_tokens=2,
        completion_tokens=3,
        drafted_tokens=4,
        accepted_tokens=5,
        step_seconds=6.5,
        forward_seconds=7.5,
    )
    status = EngineStatus(
        slots=8,
        slots_used=9,
        queue_capacity=10,
        queue_length=11,
        kv_cells=12,
        kv_cells_reserved=13,
        kv_cells_cached=14,
        prefix_cache_bytes=15 * 2**20 + 1,
        prefix_cache_limit_bytes=17 * 2**20,
        totals=totals,
    )
    message = wire.status_response(status, model="m", version="v")
    assert {field.name: value for field, value in message.ListFields()} == {
        "version": "v",
        "model": "m",
        "slots": 8,
        "slots_used": 9,
        "queue_capacity": 10,
        "queue_length": 11,
        "kv_cells": 12,
        "kv_cells_reserved": 13,
        "kv_cells_cached": 14,
        "prefix_cache_mib": 16,
        "prefix_cache_limit_mib": 17,
        "prompt_tokens_total": 1,
        "cached_tokens_total": 2,
        "completion_tokens_total": 3,
        "drafted_tokens_total": 4,
        "accepted_tokens_total": 5,
        "step_seconds_total": 6.5,
        "forward_seconds_total": 7.5,
    }
