from __future__ import annotations

import pytest

from gateway.adapters.inference_client import GRPC_SERVICE, encode_prompt, question_field
from gateway.core.prompt import build_prompt
from gateway.core.types import (
    GenerationOptions,
    GivenSource,
    GrammarKind,
    Prompt,
    Question,
    ResponseFormat,
    Role,
    Sampling,
    Source,
    Turn,
)
from groundwire.inference.v1 import inference_pb2 as pb

SOURCE = Source(1, "T", "example.org", "Text.", "https://example.org")
HISTORY = (Turn(Role.USER, "a"), Turn(Role.ASSISTANT, "b"))


def prompt(*, given: bool = False, generation: GenerationOptions | None = None, source: Source = SOURCE) -> Prompt:
    sources = (GivenSource("T", "Text."),) if given else ()
    return build_prompt(Question("Why?", HISTORY, sources, generation=generation or GenerationOptions()), (source,))


def test_what_the_caller_left_open_stays_open() -> None:
    assert encode_prompt(prompt()) == pb.GenerateRequest(
        chat=pb.Chat(
            messages=[
                pb.Message(role=pb.ROLE_USER, content="a"),
                pb.Message(role=pb.ROLE_ASSISTANT, content="b"),
                pb.Message(role=pb.ROLE_USER, content="Why?"),
            ],
            documents=[pb.Document(title="T", url="https://example.org", host="example.org", text="Text.")],
        ),
        sampling=pb.Sampling(),
        context_policy=pb.CONTEXT_POLICY_FIT,
    )


def test_every_option_is_passed_on() -> None:
    options = GenerationOptions(
        max_tokens=7,
        stop=("END",),
        sampling=Sampling(temperature=0, top_p=0.5, top_k=0, min_p=0, repeat_penalty=1, seed=0),
        response_format=ResponseFormat(GrammarKind.GBNF, "root"),
    )
    request = encode_prompt(prompt(generation=options))
    assert (request.max_tokens, list(request.stop), request.response_format.gbnf) == (7, ["END"], "root")
    assert request.sampling == pb.Sampling(temperature=0, top_p=0.5, top_k=0, min_p=0, repeat_penalty=1, seed=0)
    assert request.sampling.HasField("seed")
    schema = GenerationOptions(response_format=ResponseFormat(GrammarKind.JSON_SCHEMA, "{}"))
    assert encode_prompt(prompt(generation=schema)).response_format.json_schema == "{}"


def test_an_address_that_is_too_long_for_a_document_is_left_out() -> None:
    source = Source(1, "T", "example.org", "Text.", "https://example.org/" + "x" * 9_000)
    assert encode_prompt(prompt(source=source)).chat.documents[0].url == ""


@pytest.mark.parametrize(
    ("field", "searched", "brought"),
    [
        ("chat", "question", "question"),
        ("chat.messages", "history", "history"),
        ("chat.messages[0].content", "history[0].content", "history[0].content"),
        ("chat.messages[2].content", "question", "question"),
        ("chat.documents", "max_sources", "sources"),
        ("chat.documents[3].title", "max_sources", "sources[3].title"),
        ("sampling.temperature", "temperature", "temperature"),
        ("response_format.gbnf", "response_format.gbnf", "response_format.gbnf"),
        ("max_tokens", "max_tokens", "max_tokens"),
        ("stop[1]", "stop[1]", "stop[1]"),
    ],
)
def test_fields_are_named_as_the_caller_knows_them(field: str, searched: str, brought: str) -> None:
    assert question_field(field, prompt()) == searched
    assert question_field(field, prompt(given=True)) == brought


def test_the_service_has_its_full_name() -> None:
    assert GRPC_SERVICE == "groundwire.inference.v1.InferenceService"
