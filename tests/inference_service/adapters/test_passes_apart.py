"""Which tokens share a forward pass, where attention works by tiles."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from inference_service.adapters.llama_batch import apart
from inference_service.core.ports import Chunk

TILE = 64


def stream(slot: int, drafted: int = 0) -> Chunk:
    return Chunk(slot, (1,) * (1 + drafted), 100, wants_token=True, drafted=drafted)


def prompt(slot: int, tokens: int) -> Chunk:
    return Chunk(slot, (1,) * tokens, 0, wants_token=True)


def slots(passes: Sequence[Sequence[Chunk]]) -> list[list[int]]:
    return [[chunk.slot for chunk in chunks] for chunks in passes]


@pytest.mark.parametrize(
    ("chunks", "passes"),
    [
        ([stream(0), prompt(1, 62)], [[0, 1]]),
        ([stream(0), prompt(1, 63)], [[1], [0]]),
        ([stream(0), stream(1, 15), prompt(2, 100), prompt(3, 40)], [[2, 3], [0, 1]]),
        ([prompt(0, 300)], [[0]]),
        ([stream(slot, 15) for slot in range(3)], [[0, 1, 2]]),
        ([stream(slot, 15) for slot in range(4)], [[0, 1, 2], [3]]),
        ([stream(slot) for slot in range(63)], [list(range(63))]),
        ([stream(slot) for slot in range(70)], [list(range(63)), list(range(63, 70))]),
    ],
)
def test_prompts_and_streams_part_from_a_tiles_size_on(chunks, passes):
    assert slots(apart(chunks, TILE)) == passes


def test_without_tiles_everything_shares_one_pass():
    chunks = [stream(0), prompt(1, 500), stream(2, 15)]
    assert apart(chunks, 0) == [chunks]


def test_every_chunk_runs_once_and_streams_never_fill_a_tile():
    source = random.Random(5)
    for _ in range(200):
        chunks = [
            stream(slot, source.randrange(16)) if source.random() < 0.7 else prompt(slot, source.randrange(2, 200))
            for slot in range(source.randrange(1, 40))
        ]
        passes = apart(chunks, TILE)
        assert sorted(slot for group in slots(passes) for slot in group) == list(range(len(chunks)))
        for group in passes:
            is_prompt = {len(chunk.tokens) - chunk.drafted > 1 for chunk in group}
            tokens = sum(len(chunk.tokens) for chunk in group)
            assert tokens < TILE or is_prompt == {True}
