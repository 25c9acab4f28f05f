"""Prompts over the built-in model's real tokenizer, for tests of how they are built."""

from __future__ import annotations

from inference_service.core.prompt import PromptBuilder
from inference_service.core.rendering import GROUNDING_INSTRUCTIONS
from inference_service.core.types import Chat, Document, FittedPrompt, Message, Role
from tests.support.real_tokenizer import builtin_chat_format, builtin_tokenizer

SYSTEM, USER, ASSISTANT = Role.SYSTEM, Role.USER, Role.ASSISTANT
BOS, SYSTEM_ID, USER_ID, ASSISTANT_ID, END = 1, 32_006, 32_010, 32_001, 32_007


def builder(context_length: int = 2_048, system_text: str = GROUNDING_INSTRUCTIONS) -> PromptBuilder:
    return PromptBuilder(
        builtin_tokenizer(), builtin_chat_format(), context_length=context_length, system_text=system_text
    )


def encode(text: str) -> list[int]:
    return builtin_tokenizer().encode(text)


def chat(*messages: tuple[Role, str], documents: tuple[Document, ...] = ()) -> Chat:
    return Chat(tuple(Message(role, content) for role, content in messages), documents)


def sections(prompt: FittedPrompt) -> list[tuple[int, list[int]]]:
    """(opening id, content ids) of each turn, the generation prompt left out."""
    ids = list(prompt.token_ids)
    assert ids[0] == BOS
    assert ids[-1] == ASSISTANT_ID
    turns = []
    at = 1
    while at < len(ids) - 1:
        end = ids.index(END, at)
        turns.append((ids[at], ids[at + 1 : end]))
        at = end + 1
    return turns


def sentence_text(sentences: int, words: int = 12, word: str = "alpha") -> str:
    return " ".join(f"Sentence {n} {' '.join([word] * words)}." for n in range(sentences))
