from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_service.core.errors import PromptTooLong
from inference_service.core.rendering import GROUNDING_INSTRUCTIONS, one_line
from inference_service.core.types import (
    Chat,
    ContextPolicy,
    Document,
    GenerateRequest,
    Message,
    Role,
)
from tests.support.mixed_texts import PROSE, mixed_texts
from tests.support.prompts import (
    ASSISTANT,
    SYSTEM,
    USER,
    builder,
    chat,
    encode,
    sections,
    sentence_text,
)

# The room to generate in


@pytest.mark.parametrize(("context_length", "prompt_length"), [(2_048, 1_000), (2_048, 1_537), (600, 599), (100, 1)])
def test_without_a_limit_the_room_is_the_default_or_what_is_left(context_length: int, prompt_length: int) -> None:
    prompt = builder(context_length).build(GenerateRequest((5,) * prompt_length))
    assert prompt.max_tokens == min(512, context_length - prompt_length)
    assert prompt.max_tokens_limited_by_context is (prompt.max_tokens < 512)


def test_a_limit_of_the_request_is_no_limit_of_the_context() -> None:
    prompt = builder(100).build(GenerateRequest((5,) * 50, max_tokens=50))
    assert (prompt.max_tokens, prompt.max_tokens_limited_by_context) == (50, False)


@pytest.mark.parametrize(
    ("input_", "field"),
    [("word " * 200, "text"), ((5,) * 201, "token_ids"), (chat((USER, "word " * 200)), "chat")],
)
@pytest.mark.parametrize("policy", ContextPolicy)
def test_what_cannot_be_cut_is_refused_with_the_counts(
    input_: Chat | str | tuple[int, ...], field: str, policy: ContextPolicy
) -> None:
    with pytest.raises(PromptTooLong, match=r"20\d tokens; with 50 to generate .* context of 250") as caught:
        builder(250).build(GenerateRequest(input_, max_tokens=50, context_policy=policy))
    assert caught.value.violations[0][0] == field
    assert (caught.value.max_tokens, caught.value.context_length) == (50, 250)
    assert builder(caught.value.prompt_tokens + 50).build(GenerateRequest(input_, max_tokens=50, context_policy=policy))


def test_a_question_may_take_the_room_that_cutting_would_leave() -> None:
    prompt = builder(250).build(GenerateRequest(chat((USER, "a"), (ASSISTANT, "b"), (USER, "word " * 230))))
    assert prompt.messages_dropped == 2
    assert prompt.max_tokens == 250 - len(prompt.token_ids) < 250 // 8
    assert prompt.max_tokens_limited_by_context


@pytest.mark.parametrize("context_length", [500, 2_048, 8_192])
def test_a_chat_that_is_cut_leaves_a_sensible_room(context_length: int) -> None:
    request = GenerateRequest(chat((USER, "Q"), documents=(Document("T", sentence_text(2_000)),)))
    prompt = builder(context_length).build(request)
    least = min(512, context_length // 8)
    assert least <= context_length - len(prompt.token_ids) < least + 40
    assert prompt.max_tokens == min(512, context_length - len(prompt.token_ids))


# What goes, and in which order


def conversation(exchanges: int, words: int = 20) -> list[tuple[Role, str]]:
    turns: list[tuple[Role, str]] = []
    for number in range(exchanges):
        turns += [(USER, f"Question {number} " + "word " * words), (ASSISTANT, f"Answer {number} " + "word " * words)]
    return turns


def test_the_oldest_exchanges_go_first() -> None:
    history = conversation(10)
    prompt = builder(300).build(GenerateRequest(chat((SYSTEM, "Sys."), *history, (USER, "Now?")), max_tokens=50))
    kept = [turn for role, turn in history[prompt.messages_dropped :]]
    assert 0 < prompt.messages_dropped < 20
    assert prompt.messages_dropped % 2 == 0
    assert [content for _, content in sections(prompt)] == [encode(text) for text in ("Sys.", *kept, "Now?")]
    one_more = builder(300).count(chat((SYSTEM, "Sys."), *history[prompt.messages_dropped - 2 :], (USER, "Now?")))
    assert one_more + 50 > 300


def test_an_exchange_that_does_not_fit_ends_the_history() -> None:
    history = [(USER, "short"), (ASSISTANT, "short"), (USER, "word " * 500), (ASSISTANT, "x"), *conversation(1)]
    prompt = builder(300).build(GenerateRequest(chat(*history, (USER, "Now?")), max_tokens=50))
    assert prompt.messages_dropped == 4
    assert len(sections(prompt)) == 3


def test_a_history_that_begins_with_the_assistant() -> None:
    history = [(ASSISTANT, "Welcome! " * 50), *conversation(2)]
    assert builder().build(GenerateRequest(chat(*history, (USER, "Q")), max_tokens=50)).messages_dropped == 0
    assert builder(250).build(GenerateRequest(chat(*history, (USER, "Q")), max_tokens=50)).messages_dropped == 1


def test_history_goes_before_documents_are_cut() -> None:
    documents = tuple(Document(f"T{n}", sentence_text(6)) for n in range(4))
    whole = builder(100_000).count(chat((USER, "Q"), documents=documents))
    history = conversation(3)
    for context_length in (whole + 50, whole + 50 + 60, whole + 50 + 110):
        prompt = builder(context_length).build(
            GenerateRequest(chat(*history, (USER, "Q"), documents=documents), max_tokens=50)
        )
        assert not any(use.cut for use in prompt.documents_used)
        assert len(prompt.documents_used) == 4
        assert prompt.messages_dropped > 0
    prompt = builder(whole + 49).build(GenerateRequest(chat(*history, (USER, "Q"), documents=documents), max_tokens=50))
    assert prompt.messages_dropped == 6
    assert any(use.cut for use in prompt.documents_used)


def test_documents_are_cut_at_sentences_before_any_is_dropped() -> None:
    documents = tuple(Document(f"T{n}", sentence_text(40), "example.org") for n in range(5))
    prompt = builder(1_000).build(GenerateRequest(chat((USER, "Q"), documents=documents), max_tokens=100))
    assert prompt.documents_dropped == ()
    assert [use.index for use in prompt.documents_used] == [1, 2, 3, 4, 5]
    sizes = [use.text_bytes for use in prompt.documents_used]
    assert all(use.cut for use in prompt.documents_used)
    assert max(sizes) - min(sizes) < 100
    for use, document in zip(prompt.documents_used, documents, strict=True):
        assert document.text.encode()[: use.text_bytes].endswith(b".")
    assert 1_000 - 100 - len(prompt.token_ids) < 60


def test_long_words_that_are_one_token_each_are_not_taken_for_too_much() -> None:
    text = " административ" * 300
    request = chat((USER, text), (ASSISTANT, text), (USER, "Q"), documents=(Document("T", text),))
    whole = builder().count(request)
    assert whole < 1_100
    prompt = builder(whole + 9).build(GenerateRequest(request, max_tokens=9))
    assert len(prompt.token_ids) == whole


def test_the_last_documents_are_dropped_and_numbers_stay() -> None:
    documents = tuple(Document(f"Title {n}", sentence_text(40), "example.org") for n in range(10))
    prompt = builder(400).build(GenerateRequest(chat((USER, "Q"), documents=documents), max_tokens=100))
    used = [use.index for use in prompt.documents_used]
    assert 1 < len(used) < 10
    assert used == list(range(1, len(used) + 1))
    assert prompt.documents_dropped == tuple(range(len(used) + 1, 11))


def test_the_question_and_the_first_document_stay_to_the_last() -> None:
    request = chat(*conversation(2), (USER, "What is alpha?"), documents=(Document("T", sentence_text(9, 60)),) * 3)
    head = [encode(GROUNDING_INSTRUCTIONS)]
    smallest = None
    for context_length in range(400, 90, -1):
        try:
            prompt = builder(context_length).build(GenerateRequest(request, max_tokens=20))
        except PromptTooLong as error:
            smallest = error.prompt_tokens
            assert smallest + 20 > context_length
            break
        turns = [content for _, content in sections(prompt)]
        shown = sentence_text(9, 60).encode()[: prompt.documents_used[0].text_bytes].decode()
        assert turns[0] == head[0]
        assert prompt.documents_used[0].index == 1
        assert shown
        if len(prompt.documents_used) == 1:
            assert turns[-1] == encode(f"Question: What is alpha?\n\nSources:\n[1] T\n{shown}")
    assert smallest is not None
    assert smallest + 20 == context_length + 1
    assert len(shown) <= 16


def test_the_error_policy_cuts_nothing() -> None:
    request = chat(*conversation(5), (USER, "Q"), documents=(Document("T", sentence_text(40)),))
    whole = builder().count(request)
    asked = GenerateRequest(request, max_tokens=10, context_policy=ContextPolicy.ERROR)
    assert len(builder(whole + 10).build(asked).token_ids) == whole
    with pytest.raises(PromptTooLong) as caught:
        builder(whole + 9).build(asked)
    assert caught.value.prompt_tokens == whole
    unlimited = GenerateRequest(request, context_policy=ContextPolicy.ERROR)
    assert builder(whole + 1).build(unlimited).max_tokens == 1


# Promises


REPEATED = st.sampled_from([*PROSE, "<|end|>", "word ", "👍🏽", ". ", "字", " "])
TEXTS = st.one_of(
    st.text(min_size=1, max_size=300),
    st.sampled_from(PROSE),
    st.builds(lambda text, times: text * times, REPEATED, st.integers(1, 60)),
)
DOCUMENTS = st.builds(Document, st.text(min_size=1, max_size=20), TEXTS, st.text(max_size=12))


@st.composite
def requests(draw: st.DrawFn) -> tuple[GenerateRequest, int]:
    context_length = draw(st.integers(60, 1_500))
    turns = draw(st.integers(0, 6))
    messages = [Message(USER if place % 2 == turns % 2 else ASSISTANT, draw(TEXTS)) for place in range(turns)]
    if draw(st.booleans()):
        messages.insert(0, Message(SYSTEM, draw(st.text(min_size=1, max_size=60))))
    messages.append(Message(USER, draw(st.one_of(st.text(min_size=1, max_size=60), TEXTS))))
    documents = draw(st.lists(DOCUMENTS, max_size=8))
    request = GenerateRequest(
        Chat(tuple(messages), tuple(documents)),
        max_tokens=draw(st.one_of(st.none(), st.integers(1, context_length))),
        context_policy=draw(st.sampled_from(ContextPolicy)),
    )
    return request, context_length


@settings(max_examples=400, deadline=None)
@given(requests())
def test_never_more_than_the_context_and_always_the_truth(drawn: tuple[GenerateRequest, int]) -> None:
    request, context_length = drawn
    asked = request.input
    assert isinstance(asked, Chat)
    whole = builder(context_length).count(asked)
    try:
        prompt = builder(context_length).build(request)
    except PromptTooLong as error:
        too_long = error
    else:
        too_long = None
    if too_long is not None:
        assert too_long.prompt_tokens + (request.max_tokens or 1) > context_length
        assert too_long.prompt_tokens <= whole
        return
    assert len(prompt.token_ids) + prompt.max_tokens <= context_length
    assert request.max_tokens in (None, prompt.max_tokens)
    assert prompt.max_tokens_limited_by_context is (request.max_tokens is None and prompt.max_tokens < 512)

    # What is reported is what is in the prompt, to the token.
    system = [message for message in asked.messages if message.role is SYSTEM]
    history = asked.messages[len(system) : -1][prompt.messages_dropped :]
    shown = tuple(
        Document(document.title, one_line(document.text).encode()[: use.text_bytes].decode(), document.host)
        for use, document in zip(prompt.documents_used, asked.documents, strict=False)
    )
    reduced = Chat((*system, *history, asked.messages[-1]), shown)
    again = builder(100_000).build(GenerateRequest(reduced, max_tokens=1))
    assert again.token_ids == prompt.token_ids
    numbers = [use.index for use in prompt.documents_used] + list(prompt.documents_dropped)
    assert numbers == list(range(1, len(asked.documents) + 1))
    assert not asked.documents or prompt.documents_used
    for use, document in zip(prompt.documents_used, asked.documents, strict=False):
        assert use.cut is (use.text_bytes < len(one_line(document.text).encode()))
        assert use.text_bytes > 0

    # Nothing is cut without need, and in order.
    if whole + prompt.max_tokens <= context_length:
        assert len(prompt.token_ids) == whole
    touched = prompt.documents_dropped or any(use.cut for use in prompt.documents_used)
    if touched:
        assert prompt.messages_dropped == len(asked.messages) - len(system) - 1


def test_many_threads_build_the_same_prompts() -> None:
    shared = builder(1_000)
    texts = [text for text in mixed_texts() if text][:60]

    def request(number: int) -> GenerateRequest:
        documents = tuple(Document(f"T{number}", text * 5) for text in texts[number : number + 5])
        return GenerateRequest(chat((USER, f"Q{number}"), documents=documents), max_tokens=50)

    asked = [request(number) for number in range(50)]
    alone = [shared.build(one) for one in asked]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(shared.build, asked)) == alone


@pytest.mark.parametrize("unit", ["word ", "A whole sentence stands here. ", "字", "a", "👍", ". "])
def test_the_largest_request_is_fitted_in_reasonable_time(unit: str) -> None:
    text = (unit * 65_536).encode()[:65_536].decode(errors="ignore")
    documents = tuple(Document(f"T{n}", text, "example.org") for n in range(32))
    history = [(role, text * 4) for role in (USER, ASSISTANT)] * 20
    began = time.perf_counter()
    prompt = builder(4_096).build(GenerateRequest(chat(*history, (USER, "Q"), documents=documents)))
    assert time.perf_counter() - began < 30  # some 0.2 s; encoding all of it would take more than a minute
    assert len(prompt.token_ids) + prompt.max_tokens <= 4_096
    assert prompt.messages_dropped == 40
    assert len(prompt.documents_used) > 4
