"""The llama.cpp adapter on real weights."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import numpy as np
import pytest

from inference_service.adapters.llama import LlamaRunner
from inference_service.core.ports import Chunk, SamplerSpec
from inference_service.core.types import Sampling
from tests.support.builtin_model import assert_same_but_for_ties, greedy_alone, loaded_runner

pytestmark = pytest.mark.model

ANSWER_TOKENS = 24


@pytest.fixture(scope="module")
def runner() -> Iterator[LlamaRunner]:
    with loaded_runner(slots=4, kv_cells=1024) as made:
        yield made


@pytest.fixture(autouse=True)
def _empty(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "runner" in request.fixturenames:
        request.getfixturevalue("runner").reset()


def prompts(count: int) -> list[tuple[int, ...]]:
    random_source = random.Random(11)
    return [
        tuple(random_source.randrange(300, 31_000) for _ in range(length)) for length in range(20, 20 + 9 * count, 9)
    ]


def spec(**fields: object) -> SamplerSpec:
    sampling = fields.pop("sampling", Sampling())
    return SamplerSpec(sampling, fields.pop("seed", 5), (), **fields)


def generate(
    runner: LlamaRunner, prompt: tuple[int, ...], given: SamplerSpec, *, tokens: int = ANSWER_TOKENS
) -> list[int]:
    runner.open(0, given)
    said = [runner.run([Chunk(0, prompt, 0, wants_token=True)])[0][0].token_id]
    while len(said) < tokens:
        position = len(prompt) + len(said) - 1
        said.append(runner.run([Chunk(0, (said[-1],), position, wants_token=True)])[0][0].token_id)
    runner.close(0)
    return said


def alone(runner: LlamaRunner, prompt: tuple[int, ...]) -> tuple[list[int], list[float]]:
    return greedy_alone(runner, prompt, ANSWER_TOKENS)


def test_a_batch_answers_as_each_sequence_does_alone(runner):
    given = prompts(4)
    expected = [alone(runner, prompt) for prompt in given]
    for slot in range(4):
        runner.open(slot, spec())
    said = [
        [sampled[0].token_id]
        for sampled in runner.run([Chunk(slot, prompt, 0, wants_token=True) for slot, prompt in enumerate(given)])
    ]
    for step in range(ANSWER_TOKENS - 1):
        chunks = [
            Chunk(slot, (said[slot][-1],), len(given[slot]) + step, wants_token=True)
            for slot in random.Random(step).sample(range(4), 4)
        ]
        for chunk, sampled in zip(chunks, runner.run(chunks), strict=True):
            said[chunk.slot].append(sampled[0].token_id)
    for got, (wanted, margins) in zip(said, expected, strict=True):
        assert_same_but_for_ties(got, wanted, margins)


def test_a_prompt_in_chunks_beside_another_stream_answers_as_in_one(runner):
    prompt, other = prompts(4)[3], prompts(1)[0]
    wanted, margins = alone(runner, prompt)
    runner.open(0, spec())
    runner.open(1, spec())
    streamed = [runner.run([Chunk(1, other, 0, wants_token=True)])[0][0].token_id]
    said: list[int] = []
    for start in range(0, len(prompt), 7):
        part = prompt[start : start + 7]
        last = start + 7 >= len(prompt)
        stream = Chunk(1, (streamed[-1],), len(other) + len(streamed) - 1, wants_token=True)
        sampled = runner.run([stream, Chunk(0, part, start, wants_token=last)])
        streamed.append(sampled[0][0].token_id)
        if last:
            said.append(sampled[1][0].token_id)
    while len(said) < ANSWER_TOKENS:
        chunk = Chunk(0, (said[-1],), len(prompt) + len(said) - 1, wants_token=True)
        said.append(runner.run([chunk])[0][0].token_id)
    assert_same_but_for_ties(said, wanted, margins)


def test_a_closed_slot_leaves_no_cells_behind(runner):
    prompt = prompts(4)[3]
    for _ in range(3 * 1024 // len(prompt)):  # three times what the cache holds
        generate(runner, prompt, spec(), tokens=2)


def test_a_seed_repeats_and_another_differs(runner):
    warm = Sampling(temperature=1.5, top_k=0, top_p=1.0)
    prompt = prompts(1)[0]
    first = generate(runner, prompt, spec(sampling=warm, seed=1))
    assert generate(runner, prompt, spec(sampling=warm, seed=1)) == first
    assert generate(runner, prompt, spec(sampling=warm, seed=2)) != first


def test_top_k_of_one_is_greedy(runner):
    prompt = prompts(1)[0]
    narrow = Sampling(temperature=1.0, top_k=1)
    assert generate(runner, prompt, spec(sampling=narrow)) == generate(runner, prompt, spec())


def test_a_banned_token_never_comes(runner):
    prompt = prompts(1)[0]
    wanted = generate(runner, prompt, spec())
    banned = Sampling(logit_bias=((wanted[0], -100.0),))
    assert wanted[0] not in generate(runner, prompt, spec(sampling=banned))


def test_a_raised_token_comes(runner):
    raised = Sampling(logit_bias=((1234, 100.0),))
    assert generate(runner, prompts(1)[0], spec(sampling=raised), tokens=3) == [1234] * 3


def test_a_presence_penalty_looks_back_on_the_prompt_too(runner):
    prompt = prompts(1)[0]
    runner.open(0, spec())
    runner.run([Chunk(0, prompt, 0, wants_token=True)])
    logits = runner.logits(0).copy()
    runner.close(0)
    first, second = 1234, 4321
    # After the bias, `first` leads `second` by exactly one; the penalty of two turns that round.
    biases = ((first, float(60 - logits[first])), (second, float(59 - logits[second])))

    def answer(prompt_tail: tuple[int, ...]) -> int:
        runner.open(0, SamplerSpec(Sampling(logit_bias=biases, presence_penalty=2.0), 1, prompt_tail))
        token = runner.run([Chunk(0, prompt, 0, wants_token=True)])[0][0].token_id
        runner.close(0)
        return token

    assert answer(()) == first
    assert answer((first,)) == second


def test_repetition_is_penalised(runner):
    prompt = prompts(1)[0]
    plain = generate(runner, prompt, spec(), tokens=40)
    penalised = generate(runner, prompt, spec(sampling=Sampling(repeat_penalty=2.0, frequency_penalty=2.0)), tokens=40)
    assert len(set(penalised)) > len(set(plain))


def test_ignoring_the_end_goes_on(runner):
    end = next(token for token in range(32_064) if runner.is_end_of_generation(token))
    eager = Sampling(logit_bias=((end, 100.0),))
    assert generate(runner, prompts(1)[0], spec(sampling=eager), tokens=1) == [end]
    said = generate(runner, prompts(1)[0], spec(sampling=eager, ignore_eos=True))
    assert not any(runner.is_end_of_generation(token) for token in said)


def test_log_probabilities_are_those_of_the_whole_vocabulary(runner):
    prompt = prompts(1)[0]
    runner.open(0, spec(logprobs=5))
    sampled = runner.run([Chunk(0, prompt, 0, wants_token=True)])[0][0]
    reported = sampled.logprobs
    assert reported is not None
    logits = runner.logits(0).astype(np.float64)
    softmax = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert [entry.token_id for entry in reported.top] == list(np.argsort(-softmax)[:5])
    assert reported.chosen == reported.top[0]
    assert math.isclose(math.exp(reported.chosen.logprob), softmax.max(), rel_tol=1e-6)
    assert reported.chosen.token == runner.token_bytes(sampled.token_id)


def test_no_alternatives_reports_the_chosen_token_alone(runner):
    runner.open(0, spec(logprobs=0))
    reported = runner.run([Chunk(0, prompts(1)[0], 0, wants_token=True)])[0][0].logprobs
    assert reported is not None
    assert reported.top == ()


def test_the_phi3_vocabulary_is_read(runner):
    assert runner.is_end_of_generation(32_007)
    assert runner.token_bytes(32_007) == b"", "control tokens have no text"
    assert runner.token_bytes(3) == b"\x00", "byte tokens are their byte"
    assert runner.token_bytes(15_043) == b" Hello"
