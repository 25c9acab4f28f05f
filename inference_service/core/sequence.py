"""One request's state while the engine has it."""

from __future__ import annotations

from dataclasses import dataclass, field

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


@dataclass(slots=True, eq=False)
class Sequence:
    """A request on its way through the engine. Only the engine's thread changes it, but for `departed`."""

    request: EngineRequest
    assembler: TextAssembler
    departed: bool = False
    """Set from any thread when the caller has left; the engine lets go before its next step."""
    slot: int | None = None
    """Its place in the batch, and its sequence id in the KV cache."""
    processed: int = 0
    """Prompt tokens that are in the KV cache."""
    generated: int = 0
    """Tokens sampled."""
    last_token: int = -1
    """The last sampled token, which the next pass puts into the KV cache."""
    admitted_at: float = field(default=0.0)
    first_token_at: float = field(default=0.0)

    @property
    def prompt_length(self) -> int:
        """Tokens in the prompt."""
        return len(self.request.prompt.token_ids)

    @property
    def prompt_left(self) -> int:
        """Prompt tokens still to run."""
        return self.prompt_length - self.processed

    @property
    def reserved_cells(self) -> int:
        """KV cells that it may come to need: never more, so that no running sequence can run out of them."""
        return self.prompt_length + self.request.prompt.max_tokens
