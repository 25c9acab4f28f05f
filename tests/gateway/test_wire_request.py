from __future__ import annotations

import math
from datetime import date

import pytest

from gateway.core.types import (
    DateRange,
    FreshnessPreset,
    GenerationOptions,
    GivenSource,
    GrammarKind,
    Provider,
    Question,
    ResponseFormat,
    Role,
    SafeSearch,
    Sampling,
    SearchOptions,
    Turn,
    Vertical,
)
from gateway.wire_request import decode_answer_request, decode_question
from groundwire.gateway.v1 import gateway_pb2 as pb
from groundwire_rpc.validation import InvalidFields

LARGE = 1 << 23
USER, ASSISTANT = pb.ROLE_USER, pb.ROLE_ASSISTANT


def turn(role: pb.Role = USER, content: str = "x") -> pb.Turn:
    return pb.Turn(role=role, content=content)


def given(title: str = "T", text: str = "Text.", url: str = "") -> pb.GivenSource:
    return pb.GivenSource(title=title, text=text, url=url)


def offending(request: pb.AskRequest, max_request_bytes: int = LARGE) -> list[str]:
    with pytest.raises(InvalidFields) as caught:
        decode_question(request, max_request_bytes=max_request_bytes)
    return [violation.field for violation in caught.value.violations]


def test_a_bare_question_has_every_default() -> None:
    assert decode_question(pb.AskRequest(question="Why?"), max_request_bytes=LARGE) == Question("Why?")


def test_everything_that_is_given_is_kept() -> None:
    request = pb.AskRequest(
        question="Why?",
        history=[turn(USER, "a"), turn(ASSISTANT, "b")],
        max_sources=10,
        provider=pb.PROVIDER_BRAVE,
        country="all",
        search_language="jp",
        safe_search=pb.SAFE_SEARCH_OFF,
        freshness=pb.Freshness(range=pb.DateRange(start="2024-02-29", end="2024-02-29")),
        verticals=[pb.VERTICAL_NEWS, pb.VERTICAL_WEB],
        goggles=["$boost=2"],
        bypass_cache=True,
        max_tokens=4096,
        stop=["END"],
        temperature=2,
        top_p=1,
        top_k=0,
        min_p=0,
        repeat_penalty=0.5,
        seed=0,
        response_format=pb.ResponseFormat(json_schema="{}"),
    )
    assert decode_question(request, max_request_bytes=LARGE) == Question(
        text="Why?",
        history=(Turn(Role.USER, "a"), Turn(Role.ASSISTANT, "b")),
        max_sources=10,
        search=SearchOptions(
            provider=Provider.BRAVE,
            country="all",
            search_language="jp",
            safe_search=SafeSearch.OFF,
            freshness=DateRange(date(2024, 2, 29), date(2024, 2, 29)),
            verticals=(Vertical.NEWS, Vertical.WEB),
            goggles=("$boost=2",),
            bypass_cache=True,
        ),
        generation=GenerationOptions(
            max_tokens=4096,
            stop=("END",),
            sampling=Sampling(temperature=2, top_p=1, top_k=0, min_p=0, repeat_penalty=0.5, seed=0),
            response_format=ResponseFormat(GrammarKind.JSON_SCHEMA, "{}"),
        ),
    )


def test_given_sources_and_a_preset_are_kept() -> None:
    request = pb.AskRequest(question="Why?", sources=[given(url="https://example.org/ä?b=[1]"), given()])
    question = decode_question(request, max_request_bytes=LARGE)
    assert question.given_sources == (
        GivenSource("T", "Text.", "https://example.org/ä?b=[1]"),
        GivenSource("T", "Text."),
    )
    request = pb.AskRequest(question="Why?", freshness=pb.Freshness(preset=pb.FRESHNESS_PRESET_PAST_WEEK))
    assert decode_question(request, max_request_bytes=LARGE).search.freshness is FreshnessPreset.PAST_WEEK


def test_limits_are_inclusive() -> None:
    request = pb.AskRequest(
        question="é" * 4000,
        history=[turn((USER, ASSISTANT)[n % 2], "é" * 32_768) for n in range(64)],
        sources=[given("t" * 1024, "x" * 65_536, "https://example.org/" + "u" * 8_172)] * 32,
        stop=["é" * 32] * 8,
        max_tokens=1,
        response_format=pb.ResponseFormat(gbnf="g" * 16_384),
    )
    question = decode_question(request, max_request_bytes=LARGE)
    assert (len(question.history), len(question.given_sources)) == (64, 32)
    decode_question(pb.AskRequest(question="q", goggles=["g" * 2048] * 3, max_sources=1), max_request_bytes=LARGE)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["question"]),
        ({"question": " \n\u3000"}, ["question"]),
        ({"question": "x" * 4001}, ["question"]),
        ({"max_sources": 0}, ["max_sources"]),
        ({"max_sources": 11}, ["max_sources"]),
        ({"history": [turn()]}, ["history"]),
        ({"history": [turn(ASSISTANT), turn(USER)]}, ["history[0].role", "history[1].role"]),
        ({"history": [turn(), turn(), turn(), turn(ASSISTANT)]}, ["history[1].role"]),
        ({"history": [turn(0), turn(7)]}, ["history[0].role", "history[1].role"]),
        ({"history": [turn(content=""), turn(ASSISTANT, "x" * 65_537)]}, ["history[0].content", "history[1].content"]),
        ({"history": [turn((USER, ASSISTANT)[n % 2]) for n in range(66)]}, ["history"]),
        ({"sources": [given()] * 33}, ["sources"]),
        ({"sources": [given("", "")]}, ["sources[0].title", "sources[0].text"]),
        ({"sources": [given(" ", "\n")]}, ["sources[0].title", "sources[0].text"]),
        ({"sources": [given("\0", "\x01\n")]}, ["sources[0].title", "sources[0].text"]),
        ({"sources": [given("t" * 1025, "x" * 65_537)]}, ["sources[0].title", "sources[0].text"]),
        ({"sources": [given(url="https://example.org/" + "u" * 8_173)]}, ["sources[0].url"]),
        ({"sources": [given(url="ftp://example.org")]}, ["sources[0].url"]),
        ({"sources": [given(url="javascript:alert(1)")]}, ["sources[0].url"]),
        ({"sources": [given(url="https://")]}, ["sources[0].url"]),
        ({"sources": [given(url="https://a b")]}, ["sources[0].url"]),
        ({"sources": [given(url="https://[x")]}, ["sources[0].url"]),
        ({"sources": [given(), given(url="example.org")]}, ["sources[1].url"]),
        ({"provider": 9}, ["provider"]),
        ({"safe_search": 9}, ["safe_search"]),
        ({"country": "AUT"}, ["country"]),
        ({"country": "1A"}, ["country"]),
        ({"verticals": [0]}, ["verticals[0]"]),
        ({"verticals": [1, 2, 1]}, ["verticals[2]"]),
        ({"verticals": [9]}, ["verticals[0]"]),
        ({"goggles": ["g"] * 4}, ["goggles"]),
        ({"goggles": ["", "g" * 2049]}, ["goggles[0]", "goggles[1]"]),
        ({"freshness": pb.Freshness()}, ["freshness.period"]),
        ({"freshness": pb.Freshness(preset=0)}, ["freshness.preset"]),
        ({"freshness": pb.Freshness(preset=9)}, ["freshness.preset"]),
        ({"freshness": pb.Freshness(range=pb.DateRange())}, ["freshness.range.start", "freshness.range.end"]),
        (
            {"freshness": pb.Freshness(range=pb.DateRange(start="2023-02-29", end="20240101"))},
            ["freshness.range.start", "freshness.range.end"],
        ),
        (
            {"freshness": pb.Freshness(range=pb.DateRange(start="2024-01-02", end="2024-01-01"))},
            ["freshness.range.end"],
        ),
        ({"max_tokens": 0}, ["max_tokens"]),
        ({"max_tokens": 4097}, ["max_tokens"]),
        ({"stop": ["x"] * 9}, ["stop"]),
        ({"stop": ["", "x" * 65]}, ["stop[0]", "stop[1]"]),
        ({"temperature": -0.1}, ["temperature"]),
        ({"temperature": 2.1}, ["temperature"]),
        ({"temperature": math.nan}, ["temperature"]),
        ({"top_p": 0}, ["top_p"]),
        ({"top_p": 1.1}, ["top_p"]),
        ({"top_k": 1001}, ["top_k"]),
        ({"min_p": 1.5}, ["min_p"]),
        ({"repeat_penalty": 0.4}, ["repeat_penalty"]),
        ({"repeat_penalty": math.inf}, ["repeat_penalty"]),
        ({"response_format": pb.ResponseFormat()}, ["response_format.format"]),
        ({"response_format": pb.ResponseFormat(gbnf="")}, ["response_format.gbnf"]),
        ({"response_format": pb.ResponseFormat(json_schema="s" * 16_385)}, ["response_format.json_schema"]),
    ],
)
def test_an_offending_field_is_named(fields: dict[str, object], expected: list[str]) -> None:
    request = pb.AskRequest(**{"question": "Why?", **fields} if fields else {})
    assert offending(request) == expected


def test_all_offending_fields_are_named_at_once() -> None:
    request = pb.AskRequest(question="", max_sources=99, provider=7, stop=[""], top_p=0, history=[turn(content="")])
    assert set(offending(request)) == {
        *["question", "max_sources", "provider", "stop[0]", "top_p", "history", "history[0].content"],
    }


def test_search_options_beside_given_sources_are_each_refused() -> None:
    request = pb.AskRequest(
        question="Why?",
        sources=[given()],
        max_sources=5,
        provider=pb.PROVIDER_LOCAL,
        country="AT",
        search_language="de",
        safe_search=pb.SAFE_SEARCH_MODERATE,
        freshness=pb.Freshness(preset=pb.FRESHNESS_PRESET_PAST_DAY),
        verticals=[pb.VERTICAL_WEB],
        goggles=["g"],
        bypass_cache=True,
        temperature=0,
    )
    assert set(offending(request)) == {
        *["max_sources", "provider", "country", "search_language", "safe_search", "freshness", "verticals"],
        *["goggles", "bypass_cache"],
    }


def test_a_request_too_large_for_this_gateway_names_what_makes_it_so() -> None:
    history = [turn(content="x" * 2000), turn(ASSISTANT)]
    assert offending(pb.AskRequest(question="Why?", history=history), 1024) == ["history"]
    assert offending(pb.AskRequest(question="Why?", sources=[given(text="x" * 2000)]), 1024) == ["sources"]


def test_an_answer_request_names_fields_inside_ask() -> None:
    with pytest.raises(InvalidFields) as caught:
        decode_answer_request(pb.AnswerRequest(ask=pb.AskRequest(max_tokens=0)), max_request_bytes=LARGE)
    assert [violation.field for violation in caught.value.violations] == ["ask.question", "ask.max_tokens"]
    with pytest.raises(InvalidFields, match="ask: is required"):
        decode_answer_request(pb.AnswerRequest(), max_request_bytes=LARGE)
