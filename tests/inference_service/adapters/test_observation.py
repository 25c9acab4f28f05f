"""How generations are told of: whole, cancelled, failed, and before there is a model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from inference_service.adapters.metrics import GenerationMetrics, StatusCollector
from inference_service.adapters.observation import ObservedGeneration
from inference_service.core.errors import DeadlinePassed, EngineUnavailable, QueueFull
from inference_service.core.generation import LoadedModel
from inference_service.core.ports import EnginePlace
from inference_service.core.sequence import EngineRequest
from inference_service.core.types import (
    Chat,
    Delta,
    EngineStatus,
    EngineTotals,
    Event,
    Finished,
    FinishReason,
    FittedPrompt,
    GenerateRequest,
    Message,
    ModelInfo,
    ResponseFormat,
    Role,
    Started,
    Timings,
    Usage,
)

INFO = ModelInfo("tiny", "phi3", "phi3", 1, 1, 100, 100, 100, "F16")
STATUS = EngineStatus(
    slots=4,
    slots_used=2,
    queue_capacity=8,
    queue_length=3,
    kv_cells=1000,
    kv_cells_reserved=700,
    kv_cells_cached=50,
    prefix_cache_bytes=5,
    prefix_cache_limit_bytes=6,
    totals=EngineTotals(11, 12, 13, 14, 15, 1.5, 1.25),
)
WHOLE: list[Event] = [
    Started(FittedPrompt((1,), 1), 0, 0.5),
    Delta("x", (1,)),
    Finished(FinishReason.MAX_TOKENS, Usage(10, 4, 5, 3, 2), Timings(0.5, 1.0, 1.5, 2.0), seed=1),
]
CHAT = GenerateRequest(Chat((Message(Role.USER, "Hello?"),)))


class Prompts:
    def build(self, request: GenerateRequest) -> FittedPrompt:
        return FittedPrompt((1,), 1)

    def count(self, input: Chat | str) -> int:  # noqa: A002 - the port's own word
        return 1


class Grammars:
    async def check(self, response_format: ResponseFormat) -> str:
        raise AssertionError("no request here has a format")

    async def close(self) -> None:
        """It holds nothing."""


class ScriptedEngine:
    """Plays its script for every request; an error in it is raised, and None waits."""

    status = STATUS

    def __init__(self, script: list[Event | Exception | None], refusal: Exception | None = None) -> None:
        self.script = script
        self.refusal = refusal

    def reserve(self, caller: str, *, timeout_seconds: float, max_tokens: int) -> EnginePlace:
        if self.refusal is not None:
            raise self.refusal
        return self

    async def run(self, request: EngineRequest) -> AsyncIterator[Event]:
        for step in self.script:
            if isinstance(step, Exception):
                raise step
            if step is None:
                await asyncio.sleep(60)
            else:
                yield step

    def release(self) -> None:
        """It holds nothing."""


class Observed:
    """A generation on a scripted engine, and its metrics."""

    def __init__(self, script: list[Event | Exception | None], refusal: Exception | None = None) -> None:
        self.registry = CollectorRegistry()
        self.generation = ObservedGeneration(clock=time.monotonic)
        self.generation.counts = GenerationMetrics(self.registry)
        self.generation.attach(LoadedModel(INFO, Prompts(), Grammars(), ScriptedEngine(script, refusal)))

    async def run(self, request: GenerateRequest = CHAT) -> list[Event]:
        return [event async for event in self.generation.generate(request, timeout_seconds=30)]

    def value(self, name: str, *, operation: str = "chat", **labels: str) -> float | None:
        gen_ai = {
            "gen_ai_operation_name": operation,
            "gen_ai_provider_name": "groundwire",
            "gen_ai_request_model": "tiny",
        }
        return self.registry.get_sample_value(name, {**gen_ai, **labels})


async def test_a_whole_answer() -> None:
    observed = Observed([*WHOLE])
    assert await observed.run() == WHOLE
    assert observed.value("gen_ai_server_time_to_first_token_seconds_sum") == 1.5
    assert observed.value("gen_ai_server_time_per_output_token_seconds_sum") == 0.5  # 2 s, four tokens after the first
    assert observed.value("gen_ai_server_request_duration_seconds_count", error_type="") == 1
    assert observed.registry.get_sample_value("groundwire_inference_queue_seconds_sum") == 0.5
    assert observed.registry.get_sample_value("groundwire_inference_prompt_seconds_sum") == 1.0
    assert observed.registry.get_sample_value("groundwire_inference_finished_total", {"reason": "max_tokens"}) == 1


async def test_text_that_is_continued_is_another_operation() -> None:
    observed = Observed([*WHOLE])
    await observed.run(GenerateRequest("Once upon"))
    name = "gen_ai_server_request_duration_seconds_count"
    assert observed.value(name, operation="text_completion", error_type="") == 1


@pytest.mark.parametrize(
    ("error", "error_type"),
    [
        (DeadlinePassed("Late."), "deadline_passed"),
        (EngineUnavailable("Gone."), "engine_unavailable"),
        (ZeroDivisionError(), "internal"),
    ],
)
async def test_a_failure_has_a_type_and_no_first_token(error: Exception, error_type: str) -> None:
    observed = Observed([WHOLE[0], error])
    with pytest.raises(type(error)):
        await observed.run()
    assert observed.value("gen_ai_server_request_duration_seconds_count", error_type=error_type) == 1
    assert observed.value("gen_ai_server_time_to_first_token_seconds_count") is None


async def test_a_refusal_is_told_too() -> None:
    observed = Observed([], QueueFull("Full.", limit=8, retry_after_seconds=1.0))
    with pytest.raises(QueueFull):
        await observed.run()
    assert observed.value("gen_ai_server_request_duration_seconds_count", error_type="queue_full") == 1


@pytest.mark.parametrize("closes", [False, True])
async def test_a_caller_who_leaves_is_an_outcome(closes: bool) -> None:
    observed = Observed([*WHOLE[:2], None])
    events = observed.generation.generate(CHAT, timeout_seconds=30)
    assert [await anext(events), await anext(events)] == WHOLE[:2]
    if closes:
        await events.aclose()
    else:
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert observed.value("gen_ai_server_request_duration_seconds_count", error_type="cancelled") == 1


async def test_one_who_takes_the_last_event_and_leaves_had_a_whole_answer() -> None:
    observed = Observed([*WHOLE, None])
    events = observed.generation.generate(CHAT, timeout_seconds=30)
    for expected in WHOLE:
        assert await anext(events) == expected
    await events.aclose()
    assert observed.value("gen_ai_server_request_duration_seconds_count", error_type="") == 1


def test_the_engine_tells_of_itself_once_there_is_one() -> None:
    registry = CollectorRegistry()
    status: list[EngineStatus | None] = [None]
    registry.register(StatusCollector(lambda: status[0]))
    assert registry.get_sample_value("groundwire_inference_model_loaded") == 0
    assert registry.get_sample_value("groundwire_inference_slots") is None
    status[0] = STATUS
    told = {
        "model_loaded": 1,
        "slots": 4,
        "slots_used": 2,
        "queue_capacity": 8,
        "queue_length": 3,
        "kv_cells": 1000,
        "kv_cells_reserved": 700,
        "kv_cells_cached": 50,
        "prefix_cache_bytes": 5,
        "prefix_cache_limit_bytes": 6,
        "step_seconds_total": 1.5,
        "forward_seconds_total": 1.25,
    }
    assert {name: registry.get_sample_value(f"groundwire_inference_{name}") for name in told} == told
    tokens = {"prompt": 11, "cached": 12, "completion": 13, "drafted": 14, "accepted": 15}
    for kind, count in tokens.items():
        assert registry.get_sample_value("groundwire_inference_tokens_total", {"kind": kind}) == count
