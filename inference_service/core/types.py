"""The values that the inference service works with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

DEFAULT_MAX_TOKENS = 512
"""Tokens to generate where a request names no limit."""


class Role(Enum):
    """Who speaks in a turn of a chat."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class ContextPolicy(Enum):
    """What to do with a chat that is longer than the context allows."""

    FIT = "fit"
    ERROR = "error"


class FinishReason(Enum):
    """Why generation ended."""

    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"
    MAX_TOKENS = "max_tokens"
    CONTEXT_FULL = "context_full"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Document:
    """One source for a grounded answer."""

    title: str
    text: str
    host: str = ""
    """Empty: not rendered."""


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation, its last message the user's, and the documents to answer it from, best first."""

    messages: tuple[Message, ...]
    documents: tuple[Document, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Ranges are in the contract; wire.py checks them."""

    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 0.95
    top_k: int = 40
    """0 keeps all tokens."""
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    """None: a random one is drawn."""


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
class GenerateRequest:
    """One answer to generate."""

    input: Chat | str | tuple[int, ...]
    """A chat to render, a text to continue, or exact token ids."""
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    """None: DEFAULT_MAX_TOKENS, or the room left behind the prompt where that is less."""
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    """Alternatives to report a token; None: no log probabilities at all."""
    response_format: ResponseFormat | None = None
    context_policy: ContextPolicy = ContextPolicy.FIT
    cache_salt: str = ""
    speculation: bool = True


@dataclass(frozen=True, slots=True)
class DocumentUse:
    """What became of one document that is in the prompt."""

    index: int
    """From 1."""
    cut: bool
    text_bytes: int
    """UTF-8 bytes of its rendered text that are in the prompt."""


@dataclass(frozen=True, slots=True)
class FittedPrompt:
    """A prompt that fits the context, and what it cost."""

    token_ids: tuple[int, ...]
    max_tokens: int
    """Tokens that may be generated behind it; prompt and max_tokens fit the context."""
    max_tokens_limited_by_context: bool = False
    """The request named no limit and the room was less than the default: reaching it is CONTEXT_FULL."""
    documents_used: tuple[DocumentUse, ...] = ()
    documents_dropped: tuple[int, ...] = ()
    """Numbers from 1."""
    messages_dropped: int = 0


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token and its natural log probability."""

    token_id: int
    token: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class PositionLogprobs:
    """The probabilities at one position."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...]


@dataclass(frozen=True, slots=True)
class Started:
    """The request has left the queue."""

    prompt: FittedPrompt
    cached_tokens: int
    queue_seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """The prompt is being read."""

    processed: int
    total: int


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer. Text may lag behind the token ids."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[PositionLogprobs, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    drafted_tokens: int = 0
    accepted_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds in this process's monotonic clock."""

    queue_seconds: float
    prompt_seconds: float
    time_to_first_token_seconds: float
    generation_seconds: float


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is whole."""

    reason: FinishReason
    usage: Usage
    timings: Timings
    seed: int
    matched_stop: str | None = None


Event = Started | Progress | Delta | Finished
"""What happens to a request, in order: Started, Progress*, Delta*, Finished."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of the loaded model."""

    name: str
    architecture: str
    chat_family: str
    parameter_count: int
    file_bytes: int
    context_length: int
    """Tokens a sequence may have here, prompt and answer together."""
    training_context_length: int
    vocabulary_size: int
    quantization: str


@dataclass(slots=True)
class EngineTotals:
    """What the engine has done since it started."""

    prompt_tokens: int = 0
    """Prompt tokens read, without cached ones."""
    cached_tokens: int = 0
    """Prompt tokens that were taken from earlier requests."""
    completion_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    step_seconds: float = 0.0
    """Time with a sequence running."""
    forward_seconds: float = 0.0
    """Of it, the time inside the model's forward passes."""

    def snapshot(self) -> EngineTotals:
        """What they are now."""
        return replace(self)


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """How busy the engine is."""

    slots: int
    slots_used: int
    queue_capacity: int
    queue_length: int
    kv_cells: int
    kv_cells_reserved: int
    """Promised to running sequences."""
    kv_cells_cached: int
    """Taken by finished sequences, until they are needed."""
    prefix_cache_bytes: int
    """Host memory that kept prefixes take."""
    prefix_cache_limit_bytes: int
    totals: EngineTotals
