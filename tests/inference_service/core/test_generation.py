import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from inference_service.core.errors import DeadlinePassed
from inference_service.core.generation import COUNTS_AT_ONCE, Generation, LoadedModel
from inference_service.core.ports import EnginePlace
from inference_service.core.sequence import EngineRequest
from inference_service.core.types import (
    Chat,
    EngineStatus,
    EngineTotals,
    Event,
    FittedPrompt,
    GenerateRequest,
    ModelInfo,
    ResponseFormat,
    Sampling,
)

INFO = ModelInfo("m", "phi3", "phi3", 1, 1, 100, 100, 100, "F16")
LONG_SECONDS = 5.0


class SlowPrompts:
    """Takes until it is told to go on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.working = 0

    def build(self, request: GenerateRequest) -> FittedPrompt:
        self.working += 1
        self.go_on.wait(LONG_SECONDS)
        return FittedPrompt((1,), 1)

    def count(self, input: Chat | str) -> int:  # noqa: A002 - the port's own word
        self.working += 1
        self.go_on.wait(LONG_SECONDS)
        return 7


class NoGrammars:
    async def check(self, response_format: ResponseFormat) -> str:
        raise AssertionError("no request here has a format")

    async def close(self) -> None:
        """It holds nothing."""


class CountedPlaces:
    """An engine whose places are counted and never run."""

    status = EngineStatus(1, 0, 1, 0, 100, 0, 0, 0, 0, EngineTotals())

    def __init__(self) -> None:
        self.taken = 0

    def reserve(self, caller: str, *, timeout_seconds: float, max_tokens: int) -> EnginePlace:
        self.taken += 1
        return self

    def run(self, request: object) -> EnginePlace:
        raise AssertionError("its prompt was never ready")

    def release(self) -> None:
        self.taken -= 1


@pytest.fixture
def prompts() -> Iterator[SlowPrompts]:
    made = SlowPrompts()
    yield made
    made.go_on.set()


def generation_on(prompts: SlowPrompts, engine: CountedPlaces) -> Generation:
    generation = Generation(clock=time.monotonic)
    generation.attach(LoadedModel(INFO, prompts, NoGrammars(), engine))
    return generation


class RecordingPlaces(CountedPlaces):
    """An engine that notes what it is given to run, and ends at once."""

    async def run(self, request: EngineRequest) -> AsyncIterator[Event]:
        self.request = request
        for event in ():
            yield event


async def test_what_the_caller_asks_for_reaches_the_engine(prompts: SlowPrompts):
    prompts.go_on.set()
    asked = GenerateRequest(
        "x",
        sampling=Sampling(temperature=0.5, seed=3),
        stop=("END",),
        ignore_eos=True,
        logprobs=2,
        cache_salt="tenant",
        speculation=False,
    )
    engine = RecordingPlaces()
    before = time.monotonic()
    assert [event async for event in generation_on(prompts, engine).generate(asked, timeout_seconds=9)] == []
    given = engine.request
    assert (given.sampling, given.seed, given.stop, given.ignore_eos) == (asked.sampling, 3, ("END",), True)
    assert (given.logprobs, given.cache_salt, given.speculation) == (2, "tenant", False)
    assert given.prompt == FittedPrompt((1,), 1)
    assert given.deadline - given.arrived == pytest.approx(9)
    assert before <= given.arrived <= time.monotonic()
    assert engine.taken == 0


async def test_the_deadline_holds_while_the_prompt_is_built(prompts: SlowPrompts):
    engine = CountedPlaces()
    events = generation_on(prompts, engine).generate(GenerateRequest("x"), timeout_seconds=0.05)
    with pytest.raises(DeadlinePassed):
        await asyncio.wait_for(anext(events), LONG_SECONDS / 2)
    assert engine.taken == 0


async def test_a_caller_who_leaves_while_the_prompt_is_built_gives_the_place_back(prompts: SlowPrompts):
    engine = CountedPlaces()
    waiting = asyncio.ensure_future(
        anext(generation_on(prompts, engine).generate(GenerateRequest("x"), timeout_seconds=9))
    )
    while not prompts.working:
        await asyncio.sleep(0.001)
    assert engine.taken == 1
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert engine.taken == 0


async def test_counts_wait_for_one_another_within_their_deadlines(prompts: SlowPrompts):
    generation = generation_on(prompts, CountedPlaces())
    counts = [generation.count_tokens("x", timeout_seconds=0.1) for _ in range(50)]
    results = await asyncio.gather(*counts, return_exceptions=True)
    assert all(isinstance(result, DeadlinePassed) for result in results)
    assert prompts.working == COUNTS_AT_ONCE
    prompts.go_on.set()
    assert await generation.count_tokens("x", timeout_seconds=LONG_SECONDS) == 7
