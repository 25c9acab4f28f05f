"""What happens to a question while it is answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from gateway.core.types import Provider, Source


class FinishReason(Enum):
    """Why generation ended."""

    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"
    MAX_TOKENS = "max_tokens"
    CONTEXT_FULL = "context_full"


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0


@dataclass(frozen=True, slots=True)
class GenerationTimings:
    """Seconds in the inference service's clock."""

    queue_seconds: float
    prompt_seconds: float
    generation_seconds: float


@dataclass(frozen=True, slots=True)
class GenerationFinished:
    """The model's answer is whole."""

    reason: FinishReason
    usage: Usage
    timings: GenerationTimings
    seed: int
    matched_stop: str | None = None


class Stage(Enum):
    """What an answer is waiting for."""

    SEARCHING = "searching"
    READING = "reading"


@dataclass(frozen=True, slots=True)
class Progress:
    """The answer is waiting for something."""

    stage: Stage
    prompt_tokens_processed: int = 0
    """Only while reading."""
    prompt_tokens_total: int = 0
    """Only while reading."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources found for the question."""

    sources: tuple[Source, ...]
    query: str = ""
    """Empty where the caller gave the sources."""
    altered_query: str | None = None
    provider: Provider | None = None
    """None where the caller gave the sources."""
    from_cache: bool = False
    stale_age_seconds: float | None = None
    """As in Findings."""


@dataclass(frozen=True, slots=True)
class Context:
    """Which sources the model really sees."""

    used: tuple[int, ...]
    cut: tuple[int, ...]
    """Those of `used` shown only in part."""
    dropped: tuple[int, ...]
    history_turns_dropped: int
    prompt_tokens: int
    model: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer, as the model made it; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Citation:
    """One cited number. Offsets are UTF-8 bytes in the whole answer, start inclusive, end exclusive."""

    source_index: int
    resolved: bool
    """This source was in the context. It does not say that the claim is true."""
    marker_start: int
    marker_end: int
    claim_start: int
    claim_end: int
    """Equal to claim_start where no text stands before the marker."""


class Outcome(Enum):
    """What kind of answer it is."""

    ANSWERED = "answered"
    NOT_IN_SOURCES = "not_in_sources"
    UNCITED = "uncited"
    NO_RESULTS = "no_results"


@dataclass(frozen=True, slots=True)
class CitationCounts:
    """The answer's citations, summed up."""

    resolved: int = 0
    unresolved: int = 0
    uncited_sentences: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is whole."""

    outcome: Outcome
    provider: Provider | None
    total_seconds: float
    search_seconds: float | None = None
    """None where nothing was searched."""
    time_to_first_token_seconds: float | None = None
    """None where no delta came."""
    model: str = ""
    generation: GenerationFinished | None = None
    """None where the model was not asked."""
    citations: CitationCounts = field(default_factory=CitationCounts)


GenerationEvent = Context | Progress | TextDelta | GenerationFinished
"""What the model does, in order: Context, Progress*, TextDelta*, GenerationFinished."""

AnswerEvent = Progress | Sources | Context | TextDelta | Citation | Finished
"""What happens to a question; the order is in `gateway.core.answer`."""
