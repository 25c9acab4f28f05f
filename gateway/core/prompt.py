"""What the model is asked.

The gateway sends the conversation, the question and the documents, and no system message. The inference service
renders the documents, and where there are documents and no system message it uses the grounding instructions of the
model that it runs. Those instructions belong to the model (its manifest pins them; a model that was trained on other
words brings its own), and only the inference service knows which model that is. Were they here, changing the model
would mean changing the gateway.
"""

from __future__ import annotations

from typing import Final

from gateway.core.types import Prompt, PromptMessage, Question, Role, Source

NOT_IN_SOURCES_SENTENCE: Final = "The sources do not answer this question."
"""What the grounding instructions tell a model to reply where the sources hold no answer."""

_AROUND: Final = " \t\r\n\"'“”‘’«»„`*_"
"""White space, quotation marks and emphasis that a model may put around its reply."""


def build_prompt(question: Question, sources: tuple[Source, ...]) -> Prompt:
    """The history, the question as its last message, and the sources to answer it from."""
    earlier = tuple(PromptMessage(turn.role, turn.content) for turn in question.history)
    return Prompt(
        messages=(*earlier, PromptMessage(Role.USER, question.text)),
        documents=sources,
        options=question.generation,
        documents_given=bool(question.given_sources),
    )


def says_not_in_sources(text: str) -> bool:
    """Whether the text is the agreed sentence and nothing more.

    Case, quotation marks and emphasis around it, and the final period do not matter.
    """
    return _bare(text) == _bare(NOT_IN_SOURCES_SENTENCE)


def _bare(text: str) -> str:
    return text.strip(_AROUND).removesuffix(".").strip(_AROUND).casefold()
