"""The values that the gateway works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum

DEFAULT_MAX_SOURCES = 5
"""Sources offered to the model where a question names no number."""

RESULTS_FETCHED = 10
"""Results asked of the search service; the most that max_sources may be."""


class Role(Enum):
    """Who speaks in a turn of the history."""

    USER = "user"
    ASSISTANT = "assistant"


class Provider(Enum):
    """Where sources come from."""

    BRAVE = "brave"
    LOCAL = "local"


class Vertical(Enum):
    """A kind of result."""

    WEB = "web"
    NEWS = "news"


class SafeSearch(Enum):
    """How strictly adult content is filtered."""

    OFF = "off"
    MODERATE = "moderate"
    STRICT = "strict"


class FreshnessPreset(Enum):
    """A period that ends now."""

    PAST_DAY = "day"
    PAST_WEEK = "week"
    PAST_MONTH = "month"
    PAST_YEAR = "year"


@dataclass(frozen=True, slots=True)
class DateRange:
    """A span of calendar days, both ends included."""

    start: date
    end: date
    """Not before start."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier turn of the conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class GivenSource:
    """A source that the caller brings along."""

    title: str
    text: str
    url: str = ""
    """http or https, or empty."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search. What is None or empty is left to the search service."""

    provider: Provider | None = None
    country: str = ""
    search_language: str = ""
    safe_search: SafeSearch | None = None
    freshness: FreshnessPreset | DateRange | None = None
    verticals: tuple[Vertical, ...] = ()
    goggles: tuple[str, ...] = ()
    bypass_cache: bool = False


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. None leaves it to the inference service."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    seed: int | None = None


class GrammarKind(Enum):
    """How a response format is given."""

    JSON_SCHEMA = "json_schema"
    GBNF = "gbnf"


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """A constraint on the answer's form, as the caller wrote it."""

    kind: GrammarKind
    source: str


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """How to generate. What is None or empty is left to the inference service."""

    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    response_format: ResponseFormat | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question with all that came along with it, checked against the contract's limits."""

    text: str
    history: tuple[Turn, ...] = ()
    """User and assistant alternating, a user's first and an assistant's last."""
    given_sources: tuple[GivenSource, ...] = ()
    """Where there are any, nothing is searched."""
    max_sources: int = DEFAULT_MAX_SOURCES
    """1 to RESULTS_FETCHED."""
    search: SearchOptions = field(default_factory=SearchOptions)
    generation: GenerationOptions = field(default_factory=GenerationOptions)


@dataclass(frozen=True, slots=True)
class Call:
    """What travels with one question to the services behind."""

    deadline: float
    """When to give up, in seconds of the monotonic clock that the answerer was given."""
    metadata: tuple[tuple[str, str], ...] = ()
    """Passed on as it is: the request id, the trace context and the caller's name."""
    cache_salt: str = ""
    """What keeps this caller's kept prompts apart from those of others. Empty where they are shared."""


@dataclass(frozen=True, slots=True)
class SourceQuery:
    """One search."""

    text: str
    """1 to 400 characters, at most 50 words."""
    page_size: int
    options: SearchOptions


@dataclass(frozen=True, slots=True)
class Location:
    """Where in a local index a passage stands."""

    path: str
    heading: str
    """Headings above the passage, joined by " > "; may be empty."""


@dataclass(frozen=True, slots=True)
class FoundResult:
    """One result of a search, as the search service tells it."""

    title: str
    host: str
    description: str = ""
    extra_snippets: tuple[str, ...] = ()
    url: str | None = None
    location: Location | None = None
    published_time: datetime | None = None
    """Timezone-aware."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a search found, best first."""

    results: tuple[FoundResult, ...]
    provider: Provider | None
    altered_query: str | None = None
    from_cache: bool = False
    stale_age_seconds: float | None = None
    """How long ago this was found, where the search service is down and the gateway had kept it. None otherwise."""


@dataclass(frozen=True, slots=True)
class Source:
    """One numbered source as it is offered to the model."""

    index: int
    """From 1: what [n] in the answer means."""
    title: str
    """One line, 1 to 1,024 bytes."""
    host: str
    """The url's host name, or "local"; at most 255 bytes."""
    text: str
    """One line, 1 to 65,536 bytes: exactly what the model is offered."""
    url: str | None = None
    location: Location | None = None
    published_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One turn of the chat that the model is given."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the inference service is asked."""

    messages: tuple[PromptMessage, ...]
    """The last one is the question."""
    documents: tuple[Source, ...]
    """Rendered by the inference service and numbered from 1 in order."""
    options: GenerationOptions
    documents_given: bool = False
    """The caller brought the documents along, so that a refusal can name the caller's own field."""
    cache_salt: str = ""
    """As in Call."""


class BackendState(Enum):
    """How a service behind the gateway is."""

    SERVING = "serving"
    NOT_SERVING = "not_serving"
    """It answered that it is not ready."""
    UNREACHABLE = "unreachable"
    """It did not answer."""


class CircuitState(Enum):
    """Whether calls are let through to a service behind the gateway."""

    CLOSED = "closed"
    """All are."""
    OPEN = "open"
    """None is."""
    HALF_OPEN = "half_open"
    """One at a time is, to find out whether the service is well again."""


@dataclass(frozen=True, slots=True)
class CircuitStatus:
    """The circuit of a service behind the gateway."""

    state: CircuitState = CircuitState.CLOSED
    failures_in_row: int = 0
    retry_after_seconds: float | None = None
    """Until one call may try again, above 0. None unless open."""


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """One service behind the gateway."""

    name: str
    target: str
    state: BackendState
    detail: str = ""
    """A sentence that says what is wrong and what to do. Empty where it serves."""
    circuit: CircuitStatus = CircuitStatus()
