"""Drafts under sampling: each token is drawn as it would be without them."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from inference_service.adapters.llama import LlamaRunner
from inference_service.core.ports import Chunk, SampledToken, SamplerSpec
from inference_service.core.types import Sampling
from tests.inference_service.engine_bench import EngineBench, finished, tokens
from tests.support.builtin_model import QUESTIONS, grounded_prompt, loaded_runner
from tests.support.sequences import engine_request

pytestmark = pytest.mark.model

PROMPT = tuple(random.Random(41).randrange(300, 31_000) for _ in range(30))
"""What may follow it, and what may follow that, is far from certain."""
TOP_K = 8
SAMPLING = Sampling(temperature=1.0, top_k=TOP_K, top_p=1.0)
SEEDS = 960
AT_ONCE = 16
"""Sequences in one pass."""
KEPT = AT_ONCE
"""The slot that holds the prompt, which all of them share."""


@pytest.fixture(scope="module")
def runner() -> Iterator[LlamaRunner]:
    with loaded_runner(slots=AT_ONCE + 1, kv_cells=1024) as made:
        yield made


@pytest.fixture(autouse=True)
def _empty(runner: LlamaRunner) -> Iterator[None]:
    yield
    runner.reset()


def probabilities(runner: LlamaRunner, tokens: tuple[int, ...]) -> dict[int, float]:
    """Of the tokens that may follow a text: the exact chances at temperature 1, among the most probable ones."""
    runner.open(0, SamplerSpec(Sampling(), 5, ()))
    runner.run([Chunk(0, tokens, 0, wants_token=True)])
    logits = runner.logits(0).astype(np.float64)
    runner.close(0)
    best = np.argsort(-logits)[:TOP_K]
    weights = np.exp(logits[best] - logits[best].max())
    return dict(zip(map(int, best), map(float, weights / weights.sum()), strict=True))


def draw(runner: LlamaRunner, draft: tuple[int, ...]) -> list[list[int]]:
    """For each of many seeds, what is sampled behind the prompt where this draft is verified."""
    runner.open(KEPT, SamplerSpec(Sampling(), 5, ()))
    runner.run([Chunk(KEPT, PROMPT, 0, wants_token=False)])
    source = random.Random(20)
    drawn: list[list[int]] = []
    while len(drawn) < SEEDS:
        chunks = []
        for slot in range(AT_ONCE):
            runner.open(slot, SamplerSpec(SAMPLING, source.randrange(2**32 - 1), ()))
            runner.share(KEPT, slot, len(PROMPT) - 1)
            certain = len(PROMPT) - 1
            chunks.append(Chunk(slot, (PROMPT[-1], *draft), certain, wants_token=True, drafted=len(draft)))
        for sampled in runner.run(chunks):
            assert all(isinstance(item, SampledToken) for item in sampled)
            drawn.append([item.token_id for item in sampled])
        for slot in range(AT_ONCE):
            runner.close(slot)
    return drawn


def assert_drawn_from(drawn: list[int], chances: dict[int, float]) -> None:
    """A chi-square test. A right sampler fails it once in ten thousand times, and these seeds are always the same."""
    assert set(drawn) <= set(chances)
    counts = Counter(drawn)
    common = [token for token, chance in chances.items() if chance * len(drawn) >= 5]
    cells = [(counts[token], chances[token] * len(drawn)) for token in common]
    rest = 1 - sum(chances[token] for token in common)
    if rest * len(drawn) >= 5:
        cells.append((len(drawn) - sum(count for count, _ in cells), rest * len(drawn)))
    assert len(cells) >= 3, "nothing is tested where one token has all the chances"
    statistic = sum((count - expected) ** 2 / expected for count, expected in cells)
    freedom = len(cells) - 1
    # Wilson and Hilferty's approximation of the quantile; 3.719 is the normal distribution's for 1e-4.
    limit = freedom * (1 - 2 / (9 * freedom) + 3.719 * math.sqrt(2 / (9 * freedom))) ** 3
    assert statistic < limit, f"{statistic:.1f} on {freedom} degrees of freedom"


@pytest.mark.parametrize("rank", [1, None], ids=["second", "impossible"])
def test_a_drafted_position_is_drawn_from_the_model_s_own_chances(runner, rank):
    chances = probabilities(runner, PROMPT)
    first = list(chances)[rank] if rank is not None else next(t for t in range(1000, 2000) if t not in chances)
    drawn = draw(runner, (first, 450))
    assert_drawn_from([tokens[0] for tokens in drawn], chances)
    assert all((len(tokens) > 1) == (tokens[0] == first) for tokens in drawn)


def test_the_position_behind_an_accepted_draft_is_drawn_from_its_own_chances(runner):
    first = list(probabilities(runner, PROMPT))[1]
    chances = probabilities(runner, (*PROMPT, first))
    second = list(chances)[1]
    drawn = draw(runner, (first, second))
    followers = [tokens[1] for tokens in drawn if len(tokens) > 1]
    assert len(followers) > SEEDS / 8
    assert_drawn_from(followers, chances)
    assert {len(tokens) for tokens in drawn} == {1, 2, 3}


def answer(runner: LlamaRunner, seed: int, *, draft_tokens: int) -> tuple[list[int], int]:
    """A warm answer through the whole engine, and how many drafted tokens were right."""
    runner.reset()
    ticks = itertools.count()
    bench = EngineBench(
        runner,
        lambda: next(ticks) * 0.001,  # a pass takes as long whatever its size: a draft is always worth a try
        slots=1,
        kv_cells=1024,
        draft_tokens=draft_tokens,
        step_tokens=512,
    )
    sampling = Sampling(temperature=1.5, top_k=TOP_K, top_p=0.95)
    outputs = bench.answer(
        engine_request(grounded_prompt(QUESTIONS[0]), max_tokens=24, sampling=sampling, seed=seed, ignore_eos=True)
    )
    return tokens(outputs), finished(outputs).usage.accepted_tokens


def test_the_same_seed_gives_the_same_text_with_drafts_and_without(runner):
    plain = [answer(runner, seed, draft_tokens=0)[0] for seed in range(8)]
    drafted = [answer(runner, seed, draft_tokens=15) for seed in range(8)]
    assert len({tuple(said) for said in plain}) > 4, "seeds make a difference"
    assert sum(accepted for _, accepted in drafted) > 16
    same = sum(said == other for said, (other, _) in zip(plain, drafted, strict=True))
    # A draw that falls on the border of two tokens' chances may go either way with the rounding of a larger batch.
    assert same >= 7
