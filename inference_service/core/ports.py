"""What the core needs from the outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from inference_service.core.errors import InferenceError
from inference_service.core.sequence import EngineRequest
from inference_service.core.types import (
    Chat,
    EngineStatus,
    Event,
    FittedPrompt,
    GenerateRequest,
    PositionLogprobs,
    ResponseFormat,
    Sampling,
)


@dataclass(frozen=True, slots=True)
class SamplerSpec:
    """How to choose the tokens of one sequence."""

    sampling: Sampling
    seed: int
    prompt_tail: tuple[int, ...]
    """The prompt's last tokens, oldest first: what penalties look back on."""
    ignore_eos: bool = False
    grammar: str | None = None
    """GBNF that has passed the grammar check."""
    logprobs: int | None = None
    """Alternatives to report a token; None: none at all."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens of one sequence to run in the next forward pass."""

    slot: int
    tokens: Sequence[int]
    position: int
    """Of the first token in its sequence, from 0."""
    wants_token: bool
    """The sequence's next token is to be sampled behind the last of these."""


@dataclass(frozen=True, slots=True)
class SampledToken:
    """A token that the model chose."""

    token_id: int
    logprobs: PositionLogprobs | None = None


class ModelRunner(Protocol):
    """The loaded model. Only the engine's thread may call it."""

    def open(self, slot: int, spec: SamplerSpec) -> None:
        """Make a sampler for the sequence in this slot."""

    def close(self, slot: int) -> None:
        """Give back the slot's KV cells and its sampler. An unopened slot is fine."""

    def run(self, chunks: Sequence[Chunk]) -> list[SampledToken | InferenceError]:
        """One forward pass over all chunks; a token for each chunk that wants one, in order.

        An error in the place of a token concerns that sequence alone (its grammar cannot be followed any further, or
        its sampler failed).
        Raises EngineUnavailable; then no slot's state is known and `reset` must follow.
        """

    def reset(self) -> None:
        """Empty the KV cache and close every slot."""

    def token_bytes(self, token_id: int) -> bytes:
        """The token's text as bytes, which need not be whole UTF-8; empty for control tokens."""

    def is_end_of_generation(self, token_id: int) -> bool:
        """Whether the model ends its turn with this token."""


class PromptSource(Protocol):
    """Turns requests into token ids. May be called from several threads."""

    def build(self, request: GenerateRequest) -> FittedPrompt:
        """The prompt that fits. Raises InvalidRequest."""

    def count(self, input: Chat | str) -> int:  # noqa: A002 - the contract's own word
        """Tokens of the whole input, uncut."""


class GrammarChecker(Protocol):
    """Decides which grammars may come near the model."""

    async def check(self, response_format: ResponseFormat) -> str:
        """The GBNF text that is safe to run. Raises InvalidRequest or EngineUnavailable."""

    async def close(self) -> None:
        """Give back what it holds."""


class GenerationEngine(Protocol):
    """Runs prepared requests, many at once."""

    def reserve(self) -> EnginePlace:
        """A place in the engine, running or waiting. Raises QueueFull at once where there is none."""

    @property
    def status(self) -> EngineStatus:
        """How busy it is, as of the last step."""


class EnginePlace(Protocol):
    """A place that a request holds in the engine until it is released."""

    def run(self, request: EngineRequest) -> AsyncIterator[Event]:
        """Run the request here: Started, Progress*, Delta*, Finished. Raises InferenceError."""

    def release(self) -> None:
        """Stop what still runs before the next step and give the place back. May be called twice."""
