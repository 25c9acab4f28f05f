"""One request's state while the engine has it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from inference_service.core.drafting import Drafter
from inference_service.core.stopping import TextAssembler
from inference_service.core.types import FittedPrompt, Sampling


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """A request that is ready to run: checked, fitted, in token ids."""

    prompt: FittedPrompt
    sampling: Sampling
    seed: int
    arrived: float
    """When the request reached the service, in monotonic seconds."""
    deadline: float
    """When its caller stops waiting, in monotonic seconds."""
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    grammar: str | None = None
    logprobs: int | None = None
    strip_leading_space: bool = False
    """The first token's leading space is the vocabulary's own, not the answer's."""
    caller: str = ""
    """Who asks: an opaque name. Callers take turns in the queue."""
    cache_salt: str = ""
    """KV cells are shared between requests of the same salt only."""
    speculation: bool = True
    """Drafts may be tried."""


class KvSegment(Protocol):
    """KV cells copied to host memory. Only the runner that made it can read it."""

    @property
    def size_bytes(self) -> int:
        """Host memory that it takes."""


@dataclass(frozen=True, slots=True)
class Restoration:
    """Kept cells that are to be copied back for a sequence."""

    segment: KvSegment
    start: int
    """The first position wanted of it."""
    end: int
    """One behind the last."""


@dataclass(slots=True, eq=False)
class Sequence:
    """A request on its way through the engine. Only the engine's thread changes it, but for `departed`."""

    request: EngineRequest
    assembler: TextAssembler
    departed: bool = False
    """Set from any thread when the caller has left; the engine lets go before its next step."""
    slot: int | None = None
    """Its sequence id in the KV cache."""
    started: bool = False
    """Its prompt is being read, or has been: what is cached of it is in place."""
    processed: int = 0
    """Prompt tokens that are in the KV cache, cached ones included."""
    restorations: list[Restoration] = field(default_factory=list)
    """What is still to be copied back before its prompt can go on, in order."""
    cached: int = 0
    """Prompt tokens that were there already, from another request."""
    passed_over: int = 0
    """Prompt tokens of others that were read while this prompt waited."""
    answer: list[int] = field(default_factory=list)
    """The tokens sampled. All but the last are in the KV cache, behind the prompt."""
    drafter: Drafter | None = None
    """Proposes what may come next, once the prompt has been read; None where drafts are off."""
    drafted: int = 0
    """Tokens that drafts proposed."""
    accepted: int = 0
    """Of those, the tokens that the model chose too."""
    admitted_at: float = 0.0
    first_token_at: float = 0.0

    @property
    def running_slot(self) -> int:
        """The slot of a sequence that has one."""
        assert self.slot is not None, "the sequence is still waiting"  # noqa: S101 - a fault of the engine's own
        return self.slot

    @property
    def prompt_length(self) -> int:
        """Tokens in the prompt."""
        return len(self.request.prompt.token_ids)

    @property
    def prompt_left(self) -> int:
        """Prompt tokens still to run."""
        return self.prompt_length - self.processed

    @property
    def generated(self) -> int:
        """Tokens sampled."""
        return len(self.answer)

    @property
    def tokens_left(self) -> int:
        """Tokens that may still be sampled."""
        return self.request.prompt.max_tokens - len(self.answer)

    @property
    def reserved_cells(self) -> int:
        """KV cells that it may come to need: never more, so that no running sequence can run out of them."""
        return self.prompt_length + self.request.prompt.max_tokens

    @property
    def cached_prefix(self) -> tuple[int, ...]:
        """The tokens whose KV cells are filled, from position 0."""
        if self.processed < self.prompt_length:
            return self.request.prompt.token_ids[: self.processed]
        return self.request.prompt.token_ids + tuple(self.answer[:-1])
