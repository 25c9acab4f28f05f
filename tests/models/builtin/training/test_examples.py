"""Examples in token ids: the prompt is the service's own, the answer quotes, and each step is told where to look."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

import pytest

from inference_service.core.prompt import PromptBuilder
from inference_service.core.types import Chat, ContextPolicy, Document, GenerateRequest, Message, Role
from models.builtin.training.cases import Case, Mixture, Page
from models.builtin.training.examples import NO_ANSWER, Encoder, Example
from models.builtin.training.vocabulary import Vocabulary
from tests.support.real_tokenizer import BUILTIN_MODEL

PLAIN = Mixture(relabelled=0.0, bare=0.0)
CASE = Case(
    "Where does Roquefort mature, and how high is 한라산?",
    [
        Page("Nothing of it", "a.example.org", ["Zebras are striped.", "They live in herds."]),
        Page("Cheeses [2]", "", ["Roquefort matures in the caves of Combalou.", "Eat it with walnuts."], 0),
        Page("Berge", "www.example.com", ["Er ist „hoch“.", "Die Höhe von 한라산 beträgt 1,947 m."], 1),
    ],
    [2, 1],
)


@cache
def vocabulary() -> Vocabulary:
    return Vocabulary.load(BUILTIN_MODEL)


def encoded(case: Case = CASE, mixture: Mixture = PLAIN, seed: int = 0) -> Example:
    example = Encoder(vocabulary(), random.Random(seed)).encode(case, mixture)
    assert example is not None
    return example


def text_of(token_ids: Sequence[int]) -> str:
    return b"".join(vocabulary().texts[token_id] for token_id in token_ids).decode()


def at(example: Example, position: int) -> str:
    return text_of([example.ids[position]]).strip()


def test_the_prompt_is_the_services_own() -> None:
    example = encoded()
    builder = PromptBuilder(vocabulary().tokenizer, vocabulary().chat_format(), context_length=2048)
    documents = tuple(Document(page.title, " ".join(page.sentences), page.host) for page in CASE.pages)
    chat = Chat((Message(Role.USER, CASE.question),), documents)

    built = builder.build(GenerateRequest(input=chat, max_tokens=1, context_policy=ContextPolicy.ERROR))

    assert tuple(example.ids[: example.prompt]) == built.token_ids


def test_the_answer_quotes_and_cites_in_its_order() -> None:
    example = encoded()
    answer = example.ids[example.prompt :]

    assert text_of(answer[:-1]) == (
        " Die Höhe von 한라산 beträgt 1,947 m. [3] Roquefort matures in the caves of Combalou. [2]"
    )
    assert answer[-1] == vocabulary().chat_format().end_of_turn
    assert len(example.weights) == len(answer)


def test_copies_look_at_the_token_that_comes_next() -> None:
    example = encoded()

    assert example.copies
    for position, place in example.copies:
        assert place < example.prompt - 1 <= position
        assert at(example, position + 1) == at(example, place)


def test_choices_look_at_the_end_of_the_quoted_sentence() -> None:
    example = encoded()
    first = min(example.choices)
    second = next(pair for pair in sorted(example.choices) if at(example, pair[0]) == "]")

    assert first[0] == example.prompt - 1
    assert text_of(example.ids[first[1] - 2 : first[1] + 1]) == "7 m."
    assert text_of(example.ids[second[1] - 1 : second[1] + 1]) == "ou."


def test_numbers_look_at_the_headings_digit() -> None:
    example = encoded()

    found = [(position, place) for position, place in example.numbers if place]
    for position, place in found:
        assert at(example, position) == "["
        assert example.ids[position + 1] == example.ids[place]
    assert [at(example, place) for _, place in found] == ["3", "2"]


def test_quotations_begin_at_the_chosen_sentences_first_token() -> None:
    example = encoded()
    found = [(at(example, position), at(example, place)) for position, place in example.begins if place]

    assert found == [("", "Die"), ("]", "Ro")]


def test_each_token_of_a_sentence_looks_at_its_first_and_at_its_sources_number() -> None:
    example = encoded()
    starts = {at(example, place) for _, place in example.starts if place}

    assert starts == {"Z", "They", "Ro", "E", "Er", "Die"}
    assert {at(example, place) for _, place in example.numbers_of_sources} == {"1", "2", "3"}


def test_words_of_the_question_look_there() -> None:
    example = encoded()
    found = [(position, place) for position, place in example.same_words if place]

    assert found
    for position, place in found:
        assert place < position
        assert at(example, position).lower() == at(example, place).lower()


def test_no_source_answers() -> None:
    case = Case("Why?", [Page("A", "", ["One."]), Page("B", "", ["Two."])])
    example = encoded(case)

    assert text_of(example.ids[example.prompt : -1]) == f" {NO_ANSWER}"
    assert example.choices == [(example.prompt - 1, 0)]
    assert not example.copies


@pytest.mark.parametrize("seed", range(8))
def test_relabelling_keeps_what_is_the_same_the_same(seed: int) -> None:
    example = encoded(mixture=Mixture(relabelled=1.0), seed=seed)
    plain = encoded()

    assert len(example.ids) == len(plain.ids)
    assert example.ids != plain.ids
    frame = example.ids.index(vocabulary().chat_format().user[0])
    assert example.ids[: frame + 1] == plain.ids[: frame + 1]
    for position, place in example.copies[1:]:
        if plain.ids[position + 1] == plain.ids[place]:
            assert example.ids[position + 1] == example.ids[place]


def test_a_bare_example_has_no_system_message() -> None:
    example = encoded(mixture=Mixture(relabelled=0.0, bare=1.0))

    assert len(example.ids) < len(encoded().ids)
    assert example.ids[1] == vocabulary().chat_format().user[0]
    assert [at(example, place) for _, place in example.numbers if place] == ["3", "2"]


def test_a_token_with_a_space_before_it() -> None:
    ids = vocabulary().ids

    assert vocabulary().spaced(ids["The"]) == [ids["▁The"]]
    assert vocabulary().spaced(ids["▁The"]) == [ids["▁The"]]
    assert vocabulary().spaced(ids["<0xEA>"]) == [ids["▁"], ids["<0xEA>"]]
