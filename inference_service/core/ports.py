"""What the core needs from the outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from inference_service.core.errors import InferenceError
from inference_service.core.sequence import EngineRequest, KvSegment
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
    """The sequence's next token is to be sampled behind the last of these, or behind the first wrong draft."""
    drafted: int = 0
    """How many of the tokens, at their end, are a draft: each holds only if the model samples it in its place."""


@dataclass(frozen=True, slots=True)
class SampledToken:
    """A token that the model chose."""

    token_id: int
    logprobs: PositionLogprobs | None = None


Sampled = list[SampledToken | InferenceError]
"""What became of a chunk that wanted a token: the tokens of its draft that the model chose too, and the next one.

An error concerns the sequence alone (its grammar cannot be followed further, or its sampler failed), and is last."""


class ModelRunner(Protocol):
    """The loaded model and its KV cache. Only the engine's thread may call it.

    A slot is a sequence in the KV cache. Slots may share cells; a shared cell is free when its last slot is closed.
    """

    @property
    def forward_seconds(self) -> float:
        """Seconds spent in forward passes so far, without sampling."""

    def open(self, slot: int, spec: SamplerSpec) -> None:
        """Make a sampler for the sequence in this slot."""

    def retire(self, slot: int, length: int) -> None:
        """Give back the slot's sampler and keep its first `length` KV cells."""

    def close(self, slot: int) -> None:
        """Give back the slot's KV cells and its sampler. An unopened slot is fine."""

    def run(self, chunks: Sequence[Chunk]) -> list[Sampled]:
        """One forward pass over all chunks; what was sampled for each chunk that wants a token, in order.

        Behind each chunk one token is sampled at a time, as long as the draft is right: as many random draws are spent
        as tokens come back. The cells of wrong drafts are given back.
        Raises EngineUnavailable; then no slot's state is known and `reset` must follow.
        """

    def share(self, source: int, slot: int, length: int) -> None:
        """Let an empty slot begin with the first `length` cells of another, without a copy."""

    def save(self, slot: int, start: int, end: int) -> KvSegment | None:
        """Copy the cells of positions `start` up to `end` to host memory. None: they cannot be copied."""

    def restore(self, slot: int, segment: KvSegment, start: int, end: int) -> bool:
        """Put cells of positions `start` up to `end` behind the slot's own. False: there is no room just now."""

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

    def reserve(self, caller: str, *, timeout_seconds: float, max_tokens: int) -> EnginePlace:
        """A place in the engine, running or waiting, for a request that has so long.

        Raises Overloaded at once where there is none, or where the answer would come too late.
        """

    @property
    def status(self) -> EngineStatus:
        """How busy it is, as of the last step."""


class EnginePlace(Protocol):
    """A place that a request holds in the engine until it is released."""

    def run(self, request: EngineRequest) -> AsyncIterator[Event]:
        """Run the request here: Started, Progress*, Delta*, Finished. Raises InferenceError."""

    def release(self) -> None:
        """Stop what still runs before the next step and give the place back. May be called twice."""
