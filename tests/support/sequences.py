"""Requests and sequences for engine tests."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

from inference_service.core.sequence import EngineRequest, Sequence
from inference_service.core.stopping import TextAssembler
from inference_service.core.types import FittedPrompt, Sampling

NEVER = 1e12


def engine_request(
    prompt_tokens: int | SequenceOf[int] = 4,
    *,
    max_tokens: int = 16,
    first_token: int = 1,
    deadline: float = NEVER,
    stop: tuple[str, ...] = (),
    limited_by_context: bool = False,
    ignore_eos: bool = False,
    sampling: Sampling | None = None,
    seed: int = 7,
    logprobs: int | None = None,
    salt: str = "",
    caller: str = "",
    speculation: bool = True,
) -> EngineRequest:
    """A request whose prompt is these tokens, or so many: first_token, first_token + 1, …"""
    if isinstance(prompt_tokens, int):
        prompt_tokens = range(first_token, first_token + prompt_tokens)
    return EngineRequest(
        prompt=FittedPrompt(tuple(prompt_tokens), max_tokens, max_tokens_limited_by_context=limited_by_context),
        sampling=sampling or Sampling(),
        seed=seed,
        arrived=0.0,
        deadline=deadline,
        stop=stop,
        ignore_eos=ignore_eos,
        logprobs=logprobs,
        caller=caller,
        cache_salt=salt,
        speculation=speculation,
    )


def sequence(request: EngineRequest) -> Sequence:
    """A sequence as the worker makes it."""
    return Sequence(request, TextAssembler(request.stop))
