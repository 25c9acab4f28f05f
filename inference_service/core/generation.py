"""The service's one way to an answer: check, reserve a place, build the prompt, run."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from inference_service.core.errors import DeadlinePassed, EngineUnavailable, InvalidRequest
from inference_service.core.ports import GenerationEngine, GrammarChecker, PromptSource
from inference_service.core.sequence import EngineRequest
from inference_service.core.types import (
    DEFAULT_MAX_TOKENS,
    Chat,
    EngineStatus,
    Event,
    FittedPrompt,
    GenerateRequest,
    ModelInfo,
)

_SEED_LIMIT = 2**32

COUNTS_AT_ONCE = 2
"""Inputs whose tokens are counted at once; further ones wait."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready, and what it takes to use it."""

    info: ModelInfo
    prompts: PromptSource
    grammars: GrammarChecker
    engine: GenerationEngine
    adds_space_prefix: bool = False
    """The vocabulary puts a space before a turn's first word. The same space before the first word of text that is
    merely continued is part of the answer, and so is one that a grammar asks for."""


class Generation:
    """Generates text from the loaded model. Until one is attached, every call raises EngineUnavailable."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        """`clock` gives monotonic seconds."""
        self._clock = clock
        self._loaded: LoadedModel | None = None
        # Nothing limits how many ask for a count, and no prompt of a running request may wait behind them.
        self._count_threads = ThreadPoolExecutor(COUNTS_AT_ONCE, thread_name_prefix="count")

    def attach(self, loaded: LoadedModel) -> None:
        """Serve this model from now on."""
        self._loaded = loaded

    def detach(self) -> None:
        """Serve no model any more."""
        self._loaded = None

    @property
    def is_loaded(self) -> bool:
        """Whether a model is attached."""
        return self._loaded is not None

    @property
    def _model(self) -> LoadedModel:
        if self._loaded is None:
            raise EngineUnavailable("The model is still being loaded, or its engine has stopped. Try again shortly.")
        return self._loaded

    @property
    def info(self) -> ModelInfo:
        """What is known of the model."""
        return self._model.info

    @property
    def status(self) -> EngineStatus:
        """How busy the engine is."""
        return self._model.engine.status

    async def generate(
        self, request: GenerateRequest, *, timeout_seconds: float, caller: str = ""
    ) -> AsyncGenerator[Event]:
        """Started, Progress*, Delta*, Finished. Raises InferenceError; a caller who leaves frees the place at once.

        Callers take turns in the queue; `caller` is an opaque name.
        """
        arrived = self._clock()
        model = self._model
        _check_token_ids(request, model.info.vocabulary_size)
        # The place comes first: a full engine refuses before any work is spent on the prompt.
        place = model.engine.reserve(
            caller, timeout_seconds=timeout_seconds, max_tokens=request.max_tokens or DEFAULT_MAX_TOKENS
        )
        try:
            grammar, prompt = await _within(timeout_seconds, _prepare(model, request))
            seed = request.sampling.seed
            prepared = EngineRequest(
                prompt=prompt,
                sampling=request.sampling,
                seed=secrets.randbelow(_SEED_LIMIT) if seed is None else seed,
                arrived=arrived,
                deadline=arrived + timeout_seconds,
                stop=request.stop,
                ignore_eos=request.ignore_eos,
                grammar=grammar,
                logprobs=request.logprobs,
                caller=caller,
                cache_salt=request.cache_salt,
                speculation=request.speculation,
                strip_leading_space=model.adds_space_prefix and grammar is None and isinstance(request.input, Chat),
            )
            async for event in place.run(prepared):
                yield event
        finally:
            place.release()

    async def count_tokens(self, input: Chat | str, *, timeout_seconds: float) -> int:  # noqa: A002 - the contract's
        """Prompt tokens of the whole input, uncut. Raises InferenceError."""
        loop = asyncio.get_running_loop()
        return await _within(
            timeout_seconds, loop.run_in_executor(self._count_threads, self._model.prompts.count, input)
        )


async def _prepare(model: LoadedModel, request: GenerateRequest) -> tuple[str | None, FittedPrompt]:
    """The grammar to run, and the prompt."""
    grammar = None
    if request.response_format is not None:
        grammar = await model.grammars.check(request.response_format)
    # Tokenizing a long prompt takes milliseconds that the event loop has not got.
    return grammar, await asyncio.to_thread(model.prompts.build, request)


async def _within(timeout_seconds: float, work: Awaitable[_Result]) -> _Result:
    """Wait for the work. Raises DeadlinePassed where it takes longer."""
    try:
        async with asyncio.timeout(timeout_seconds) as limit:
            return await work
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlinePassed("The request's deadline passed before it could be started.") from None


def _check_token_ids(request: GenerateRequest, vocabulary_size: int) -> None:
    violations = [
        (f"sampling.logit_bias[{index}].token_id", f"is {token}; the model's vocabulary has {vocabulary_size:,} tokens")
        for index, (token, _) in enumerate(request.sampling.logit_bias)
        if token >= vocabulary_size
    ]
    if violations:
        raise InvalidRequest(violations)
