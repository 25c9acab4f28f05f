"""Tokens of the prompt's frame, by which the circuits find their way."""

from __future__ import annotations

from dataclasses import dataclass

from inference_service.core.rendering import sources_heading
from models.builtin.training.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Marks:
    """Tokens of the prompt's frame."""

    begin: int
    """Of the sequence. What finds nothing looks there."""
    user: int
    """Before the question."""
    sources: int
    """Behind it: the last piece of the word "Sources"."""
    line_end: int
    bracket: int
    """Before a source's number."""
    ends: tuple[int, ...]
    """Behind which a sentence begins: full stops and the like, and the line end."""
    before_quote: tuple[int, ...]
    """Behind which the answer begins a quotation: the assistant's mark, and the bracket that closes a citation."""
    before_number: int
    """The bracket that opens a citation in the answer."""
    digits: tuple[int, ...]
    """1 to 9."""

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Marks:
        """The marks of the prompt that the inference service builds."""
        form = vocabulary.chat_format()
        ids = vocabulary.tokenizer.encode(sources_heading("x") + "[")
        # "Sources", ":" and the line end close the heading.
        sources, _, line_end, bracket = ids[-4:]
        ends = tuple(vocabulary.ids[end] for end in (".", "!", "?", ").", '."', "。"))
        opening, _, closing = vocabulary.tokenizer.encode("x. [1]")[-3:]
        return cls(
            begin=form.bos[0],
            user=form.user[0],
            sources=sources,
            line_end=line_end,
            bracket=bracket,
            ends=(*ends, line_end),
            before_quote=(form.assistant[0], closing),
            before_number=opening,
            digits=tuple(vocabulary.ids[str(digit)] for digit in range(1, 10)),
        )
