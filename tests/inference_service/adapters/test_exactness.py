"""The engine says what the model alone would: batched, with drafts, and with prompts that are kept and come back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from inference_service.adapters.llama import LlamaRunner
from inference_service.core.options import KvType
from inference_service.core.sequence import EngineRequest
from tests.inference_service.engine_bench import EngineBench, finished, of, tokens
from tests.support.builtin_model import (
    QUESTIONS,
    assert_same_but_for_ties,
    greedy_alone,
    grounded_prompt,
    loaded_runner,
)
from tests.support.sequences import engine_request

pytestmark = pytest.mark.model

ANSWER_TOKENS = 30
SLOTS = 4
PARKING_SLOTS = 4
KV_CELLS = 2048
PLENTY = 2**30

COMMON_TOKENS = 50
"""All prompts have more than this in common."""

Alone = tuple[list[int], list[float]]


class Ticks:
    """A clock that goes on by a millisecond whenever it is looked at: a pass takes as long whatever its size, so that
    what the engine does is the same on every machine, and a draft is always worth a try.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class RealBench(EngineBench):
    """An engine on the real model, driven step by step."""

    def __init__(
        self, runner: LlamaRunner, *, draft_tokens: int = 0, cache_bytes: int = 0, step_tokens: int = 512
    ) -> None:
        runner.reset()
        self.runner = runner
        super().__init__(
            runner,
            Ticks(),
            slots=SLOTS,
            kv_cells=KV_CELLS,
            parking_slots=PARKING_SLOTS,
            draft_tokens=draft_tokens,
            cache_bytes=cache_bytes,
            step_tokens=step_tokens,
        )

    def empty_the_kv_cache(self) -> None:
        """What is kept stays in host memory only."""
        while self.reuse.unpark_one(hurry=False):
            pass
        assert self.engine.status.kv_cells_cached == 0


@pytest.fixture(scope="module")
def runner() -> Iterator[LlamaRunner]:
    with loaded_runner(slots=SLOTS + PARKING_SLOTS, kv_cells=KV_CELLS) as made:
        yield made


@pytest.fixture(scope="module")
def q8_0_runner() -> Iterator[LlamaRunner]:
    with loaded_runner(slots=SLOTS + PARKING_SLOTS, kv_cells=KV_CELLS, kv_type=KvType.Q8_0) as made:
        yield made


@pytest.fixture(scope="module")
def alone(runner: LlamaRunner) -> list[Alone]:
    """The model's own answer to each question, and how far its two best tokens were apart."""
    return [greedy_alone(runner, grounded_prompt(question), ANSWER_TOKENS) for question in QUESTIONS]


def asking(question: str, *, more: tuple[int, ...] = (), **fields: object) -> EngineRequest:
    """A request for a greedy answer to a question, or to a conversation that goes on with more."""
    return engine_request((*grounded_prompt(question), *more), **{"max_tokens": ANSWER_TOKENS, **fields})


def assert_as_alone(outputs: list[object], expected: Alone) -> None:
    said, margins = expected
    got = tokens(outputs)
    assert 5 < len(got) <= ANSWER_TOKENS
    assert_same_but_for_ties(got, said[: len(got)], margins)


@pytest.mark.parametrize("step_tokens", [512, 24])
def test_batched_as_alone(runner, alone, step_tokens):
    bench = RealBench(runner, step_tokens=step_tokens)
    items = [bench.add(asking(question)) for question in QUESTIONS]
    outputs = bench.finish()
    for item, expected in zip(items, alone, strict=True):
        assert_as_alone(of(outputs, item), expected)


def test_with_drafts_as_without(runner, alone):
    bench = RealBench(runner, draft_tokens=15)
    accepted = 0
    for question, expected in zip(QUESTIONS, alone, strict=True):
        outputs = bench.answer(asking(question))
        assert_as_alone(outputs, expected)
        accepted += finished(outputs).usage.accepted_tokens
    assert accepted > 10, "the model copies from its sources"


def test_with_drafts_batched_as_without_alone(runner, alone):
    bench = RealBench(runner, draft_tokens=15)
    items = [bench.add(asking(question)) for question in QUESTIONS]
    outputs = bench.finish()
    for item, expected in zip(items, alone, strict=True):
        assert_as_alone(of(outputs, item), expected)
    assert bench.engine.status.totals.accepted_tokens > 10


@pytest.mark.parametrize("draft_tokens", [0, 15])
def test_with_cells_that_are_shared_as_without(runner, alone, draft_tokens):
    bench = RealBench(runner, cache_bytes=PLENTY, draft_tokens=draft_tokens)
    for question, expected in zip(QUESTIONS, alone, strict=True):
        length = len(grounded_prompt(question))
        assert_as_alone(bench.answer(asking(question)), expected)
        assert bench.engine.status.kv_cells_cached >= length, "it is still in the KV cache"
        outputs = bench.answer(asking(question))
        assert finished(outputs).usage.cached_tokens == length - 1
        assert_as_alone(outputs, expected)


def test_side_by_side_with_shared_cells_as_alone(runner, alone):
    bench = RealBench(runner, cache_bytes=PLENTY)
    first = bench.add(asking(QUESTIONS[0]))
    outputs = []
    while not first.answer:
        outputs += bench.step()
    others = [bench.add(asking(question)) for question in QUESTIONS[1:]]
    outputs += bench.finish()
    for item, expected in zip([first, *others], alone, strict=True):
        assert (item.cached > COMMON_TOKENS) == (item is not first)
        assert_as_alone(of(outputs, item), expected)


def test_with_cells_from_host_memory_as_without(runner, alone):
    bench = RealBench(runner, cache_bytes=PLENTY)
    bench.answer(asking(QUESTIONS[0]))
    bench.empty_the_kv_cache()
    other = bench.answer(asking(QUESTIONS[1], salt="other"))
    assert finished(other).usage.cached_tokens == 0
    bench.empty_the_kv_cache()
    again = bench.answer(asking(QUESTIONS[0]))
    assert finished(again).usage.cached_tokens == len(grounded_prompt(QUESTIONS[0])) - 1, "all but one came back"
    assert_as_alone(again, alone[0])
    sibling = bench.answer(asking(QUESTIONS[3]))
    assert COMMON_TOKENS < finished(sibling).usage.cached_tokens < len(grounded_prompt(QUESTIONS[3])) - 1
    assert_as_alone(sibling, alone[3])


def test_cells_that_come_back_beside_a_running_stream(runner, alone):
    bench = RealBench(runner, cache_bytes=PLENTY)
    for question in QUESTIONS[:2]:
        bench.answer(asking(question))
    bench.empty_the_kv_cache()
    stream = bench.add(asking(QUESTIONS[4], salt="other"))
    while not stream.answer:
        bench.step()
    items = [bench.add(asking(question)) for question in QUESTIONS[:2]]
    outputs = bench.finish()
    for item, expected in zip(items, alone[:2], strict=True):
        assert item.cached == item.prompt_length - 1
        assert_as_alone(of(outputs, item), expected)


def test_a_conversation_goes_on_from_the_answer_s_own_cells(runner, alone):
    """The answer's cells were made by generating, some of them in drafts."""
    said, _ = alone[0]
    answer = tuple(said[:12])
    more = (*answer, *grounded_prompt(QUESTIONS[1])[-20:])
    expected = greedy_alone(runner, (*grounded_prompt(QUESTIONS[0]), *more), ANSWER_TOKENS)
    bench = RealBench(runner, cache_bytes=PLENTY, draft_tokens=15)
    for comes_back in (False, True):
        first = bench.answer(asking(QUESTIONS[0], max_tokens=14))
        assert tokens(first)[:12] == list(answer)
        assert comes_back or finished(first).usage.accepted_tokens > 0
        if comes_back:
            bench.empty_the_kv_cache()
        outputs = bench.answer(asking(QUESTIONS[0], more=more))
        assert finished(outputs).usage.cached_tokens >= len(grounded_prompt(QUESTIONS[0])) + len(answer)
        got = tokens(outputs)
        assert_same_but_for_ties(got, expected[0][: len(got)], expected[1])


def test_q8_0_cells_are_shared_drafted_and_come_back_as_they_were(q8_0_runner):
    alone = [greedy_alone(q8_0_runner, grounded_prompt(question), ANSWER_TOKENS) for question in QUESTIONS[:2]]
    bench = RealBench(q8_0_runner, cache_bytes=PLENTY, draft_tokens=15)
    for comes_back in (False, True):
        for question, expected in zip(QUESTIONS[:2], alone, strict=True):
            outputs = bench.answer(asking(question))
            assert_as_alone(outputs, expected)
            if comes_back:
                assert finished(outputs).usage.cached_tokens == len(grounded_prompt(question)) - 1
                bench.empty_the_kv_cache()
    assert bench.engine.status.totals.accepted_tokens > 0
