"""Prompts: of the stated sizes, the same for the same seed, and quoted as they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest

from benchmarks.engine.models import VOCABULARY_SIZE, vocabulary_tokens
from benchmarks.engine.prompts import GroundedPrompts, random_prompt, random_tokens
from inference_service.core.rendering import GROUNDING_INSTRUCTIONS


@pytest.fixture(scope="module")
def grounded() -> GroundedPrompts:
    return GroundedPrompts.load()


def text(ids: Sequence[int]) -> str:
    tokens = vocabulary_tokens()
    return "".join(tokens[token] for token in ids).replace("\u2581", " ").replace("<0x0A>", "\n")


def test_random_prompts_depend_on_their_seed_alone():
    assert random_prompt(128, "a", 1) == random_prompt(128, "a", 1)
    prompts = [random_prompt(128, "a", number) for number in range(50)]
    assert {len(prompt) for prompt in prompts} == {128}
    assert {prompt[0] for prompt in prompts} == {1}
    assert len({prompt[1] for prompt in prompts}) > 45  # nothing behind the first token can be reused
    assert all(300 <= token < 32_000 for token in random_tokens(1000, "b"))


def test_grounded_prompts_are_the_services_own(grounded):
    prompt = grounded.prompt("seed", 1)
    assert prompt == grounded.prompt("seed", 1)
    rendered = text(prompt.token_ids)
    assert rendered.startswith(f"<s><|system|> {GROUNDING_INSTRUCTIONS}<|end|><|user|> Question: ")
    for number in range(1, 6):
        assert f"[{number}] " in rendered
    lead = rendered.rpartition("<|end|><|assistant|>")[2]
    assert len(lead.split()) == 3
    assert max(prompt.token_ids) < VOCABULARY_SIZE


@pytest.mark.parametrize(("sources", "least", "most"), [(5, 800, 950), (2, 350, 450)])
def test_a_source_has_about_150_tokens(grounded, sources, least, most):
    assert least <= len(grounded.prompt("size", sources=sources).token_ids) <= most


def test_different_questions_share_nothing_but_the_instructions(grounded):
    first, second = (grounded.prompt("other", number).token_ids for number in range(2))
    shared = next(index for index, (one, other) in enumerate(zip(first, second, strict=False)) if one != other)
    assert shared < 100


def test_going_on_as_the_text_did_quotes_passage_after_passage(grounded):
    prompt = grounded.prompt("quote")
    said = list(prompt.token_ids)
    for _ in range(96):
        pairs = {pair: index for index, pair in enumerate(pairwise(said[:-1]))}  # where each pair was last
        said.append(said[pairs[said[-2], said[-1]] + 2])
    assert tuple(said[len(prompt.token_ids) :]) == prompt.quoted[:96]
    passages = text(prompt.quoted).split(".")
    assert len(Counter(passages)) == len(passages)
