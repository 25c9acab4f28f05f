from __future__ import annotations

import pytest

from gateway.core.prompt import NOT_IN_SOURCES_SENTENCE, build_prompt, says_not_in_sources
from gateway.core.types import GivenSource, PromptMessage, Question, Role, Source, Turn
from inference_service.core.rendering import GROUNDING_INSTRUCTIONS


def test_the_question_comes_last_and_there_is_no_system_message() -> None:
    source = Source(1, "T", "local", "Text.")
    history = (Turn(Role.USER, "a [1]"), Turn(Role.ASSISTANT, "b [1]"))
    prompt = build_prompt(Question("Why?", history, (GivenSource("T", "Text."),)), (source,))
    assert prompt.messages == (
        PromptMessage(Role.USER, "a [1]"),
        PromptMessage(Role.ASSISTANT, "b [1]"),
        PromptMessage(Role.USER, "Why?"),
    )
    assert prompt.documents == (source,)
    assert prompt.documents_given


def test_the_sentence_is_the_one_that_models_are_told_to_reply() -> None:
    assert GROUNDING_INSTRUCTIONS.endswith(f"reply exactly: {NOT_IN_SOURCES_SENTENCE}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (NOT_IN_SOURCES_SENTENCE, True),
        ("\n the sources do NOT answer this question ", True),
        ("“The sources do not answer this question.”", True),
        ("**The sources do not answer this question**.", True),
        ("The sources do not answer this question. Sorry.", False),
        ("The sources do not answer this question. [1]", False),
        ("The sources answer this question.", False),
        ("", False),
    ],
)
def test_what_counts_as_saying_so(text: str, says: bool) -> None:
    assert says_not_in_sources(text) is says
