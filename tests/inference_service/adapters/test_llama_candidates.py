"""A chain chooses among the best candidates what it would have chosen from the whole vocabulary."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import llama_cpp
import numpy as np
import numpy.typing as npt
import pytest

from inference_service.adapters.llama_candidates import Candidates

Logits = npt.NDArray[np.float32]


@contextmanager
def chain(seed: int, top_k: int, temperature: float) -> Iterator[object]:
    made = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    for sampler in (
        llama_cpp.llama_sampler_init_top_k(top_k),
        llama_cpp.llama_sampler_init_top_p(0.95, 1),
        llama_cpp.llama_sampler_init_temp(temperature),
        llama_cpp.llama_sampler_init_dist(seed),
    ):
        llama_cpp.llama_sampler_chain_add(made, sampler)
    try:
        yield made
    finally:
        llama_cpp.llama_sampler_free(made)


def from_everything(logits: Logits, sampler: object) -> int:
    data = (llama_cpp.llama_token_data * len(logits))()
    for token, logit in enumerate(logits.tolist()):
        data[token].id, data[token].logit = token, logit
    array = llama_cpp.llama_token_data_array(data=data, size=len(logits), selected=-1, sorted=False)
    llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
    return int(array.data[array.selected].id)


@pytest.mark.parametrize("vocabulary_size", [32_064, 32_061, 4_097])
@pytest.mark.parametrize(("top_k", "temperature"), [(1, 1.0), (40, 1.0), (40, 1.9), (60, 0.3)])
def test_the_choice_is_that_of_the_whole_vocabulary(vocabulary_size, top_k, temperature):
    source = np.random.default_rng(4)
    candidates = Candidates(vocabulary_size)
    seen = set()
    for seed in range(40):
        logits = source.normal(0, 2, vocabulary_size).astype(np.float32)
        with chain(seed, top_k, temperature) as one, chain(seed, top_k, temperature) as other:
            assert candidates.fill(logits, top_k)
            token = candidates.choose(one)
            assert token == from_everything(logits, other)
        seen.add(token)
    assert len(seen) > 30


def test_what_is_ruled_out_is_never_chosen():
    logits = np.full(32_064, -np.inf, np.float32)
    logits[[7, 32_063]] = 1.0
    candidates = Candidates(len(logits))
    with chain(1, 40, 1.0) as sampler:
        chosen = set()
        for _ in range(40):
            assert candidates.fill(logits, 40)
            chosen.add(candidates.choose(sampler))
    assert chosen == {7, 32_063}


def test_many_equal_tokens_are_all_candidates():
    logits = np.zeros(32_064, np.float32)
    candidates = Candidates(len(logits))
    with chain(1, 40, 1.0) as one, chain(1, 40, 1.0) as other:
        assert candidates.fill(logits, 40)
        assert candidates.choose(one) == from_everything(logits, other)


def test_where_it_is_no_saving_the_chain_is_to_do_it_alone():
    logits = np.zeros(1_000, np.float32)
    assert not Candidates(1_000).fill(logits, 40), "there are fewer columns than tokens wanted"
    assert not Candidates(32_064).fill(np.full(32_064, np.nan, np.float32), 40)
