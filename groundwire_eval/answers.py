"""What came back for an item, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What kind of answer it is; the gateway's outcomes, and `failed` where there was none."""

    ANSWERED = "answered"
    NOT_IN_SOURCES = "not_in_sources"
    UNCITED = "uncited"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Citation:
    """A cited number. Offsets are UTF-8 bytes in the answer, ends exclusive."""

    source: int
    resolved: bool
    marker: tuple[int, int]
    claim: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, whole; or why there is none."""

    outcome: Outcome
    text: str = ""
    citations: tuple[Citation, ...] = ()
    uncited_sentences: int = 0
    """As the gateway counts them."""
    source_texts: tuple[str, ...] = ()
    """The sources' texts as the model was offered them, in order of their numbers."""
    in_context: frozenset[int] = frozenset()
    """Numbers of the sources that the model saw."""
    completion_tokens: int = 0
    first_token_seconds: float = 0.0
    """From the question's arrival at the gateway."""
    total_seconds: float = 0.0
    fault: str = ""
    """Why there is no answer."""

    def bytes_at(self, span: tuple[int, int]) -> str | None:
        """The answer's text there; None where the span parts a character or lies outside."""
        encoded = self.text.encode()
        start, end = span
        if not 0 <= start <= end <= len(encoded):
            return None
        try:
            encoded[:start].decode()
            return encoded[start:end].decode()
        except UnicodeDecodeError:
            return None
