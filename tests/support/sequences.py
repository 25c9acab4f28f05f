"""Requests and sequences for engine tests."""

from __future__ import annotations

from inference_service.core.sequence import EngineRequest, Sequence
from inference_service.core.stopping import TextAssembler
from inference_service.core.types import FittedPrompt, Sampling

NEVER = 1e12


def engine_request(
    prompt_tokens: int = 4,
    *,
    max_tokens: int = 16,
    first_token: int = 1,
    deadline: float = NEVER,
    stop: tuple[str, ...] = (),
    limited_by_context: bool = False,
    ignore_eos: bool = False,
) -> EngineRequest:
    """A request whose prompt is first_token, first_token + 1, …"""
    token_ids = tuple(range(first_token, first_token + prompt_tokens))
    return EngineRequest(
        prompt=FittedPrompt(token_ids, max_tokens, max_tokens_limited_by_context=limited_by_context),
        sampling=Sampling(),
        seed=7,
        arrived=0.0,
        deadline=deadline,
        stop=stop,
        ignore_eos=ignore_eos,
    )


def sequence(request: EngineRequest) -> Sequence:
    """A sequence as the worker makes it."""
    return Sequence(request, TextAssembler(request.stop))
