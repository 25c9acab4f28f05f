"""Grammars and the llama.cpp adapter together, on real weights. A grammar can end its own sequence only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inference_service.adapters.llama import LlamaRunner
from inference_service.core.errors import InvalidRequest
from inference_service.core.gbnf import write_gbnf
from inference_service.core.grammar_limits import checked_gbnf
from inference_service.core.json_schema import read_schema, schema_grammar
from inference_service.core.ports import Chunk, SamplerSpec
from inference_service.core.types import Sampling
from tests.support.builtin_model import loaded_runner

pytestmark = pytest.mark.model

CORPUS = Path(__file__).parents[1] / "hostile_grammars" / "accepted"
PROMPT = (1, 450, 1139)


@pytest.fixture(scope="module")
def shared_runner() -> Iterator[LlamaRunner]:
    with loaded_runner(slots=2, kv_cells=512) as made:
        yield made


@pytest.fixture
def runner(shared_runner: LlamaRunner) -> Iterator[LlamaRunner]:
    yield shared_runner
    shared_runner.reset()


def spec(grammar: str | None, *, sampling: Sampling | None = None, **fields: object) -> SamplerSpec:
    gbnf = None if grammar is None else write_gbnf(checked_gbnf(grammar))
    return SamplerSpec(sampling or Sampling(), 5, (), grammar=gbnf, **fields)


def generate(runner: LlamaRunner, given: SamplerSpec, *, tokens: int = 30) -> tuple[bytes, bool]:
    """The text, and whether an end token came. Raises what the sequence ended with."""
    runner.open(0, given)
    text, position, pending = b"", 0, PROMPT
    for _ in range(tokens):
        ((sampled,),) = runner.run([Chunk(0, pending, position, wants_token=True)])
        if isinstance(sampled, InvalidRequest):
            raise sampled
        if runner.is_end_of_generation(sampled.token_id):
            return text, True
        text += runner.token_bytes(sampled.token_id)
        position, pending = position + len(pending), (sampled.token_id,)
    return text, False


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_the_grammar_decides_what_is_said(runner: LlamaRunner, temperature: float) -> None:
    given = spec('root ::= "The answer is " ("yes" | "no") "."', sampling=Sampling(temperature=temperature))
    text, ended = generate(runner, given)
    assert ended
    assert text in (b"The answer is yes.", b"The answer is no.")


def test_a_schema_gives_json(runner: LlamaRunner) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "n": {"enum": [1, 2]}},
        "required": ["ok", "n"],
    }
    gbnf = write_gbnf(schema_grammar(read_schema(json.dumps(schema))))
    text, ended = generate(runner, SamplerSpec(Sampling(), 5, (), grammar=gbnf))
    assert ended
    assert json.loads(text).keys() == {"ok", "n"}


def test_a_grammar_that_ends_at_once(runner: LlamaRunner) -> None:
    assert generate(runner, spec('root ::= ""')) == (b"", True)


def test_banned_tokens_that_a_grammar_needs_end_the_sequence_alone(runner: LlamaRunner) -> None:
    every = tuple((token, -100.0) for token in range(3, 32_000) if b"}" in runner.token_bytes(token))
    with pytest.raises(InvalidRequest, match="leaves no token"):
        generate(runner, spec('root ::= "x" "}"', sampling=Sampling(logit_bias=every)))
    runner.close(0)
    assert generate(runner, spec('root ::= "x"')) == (b"x", True)


def test_log_probabilities_are_the_model_s_own(runner: LlamaRunner) -> None:
    runner.open(0, spec('root ::= "zebra"', logprobs=2))
    runner.open(1, spec(None, logprobs=2))
    (bound,), (free,) = runner.run([Chunk(0, PROMPT, 0, wants_token=True), Chunk(1, PROMPT, 0, wants_token=True)])
    assert not isinstance(bound, InvalidRequest)
    assert not isinstance(free, InvalidRequest)
    assert bound.logprobs is not None
    assert free.logprobs is not None
    assert [top.token_id for top in bound.logprobs.top] == [top.token_id for top in free.logprobs.top]
    assert np.isfinite(bound.logprobs.chosen.logprob)
    assert bound.logprobs.chosen.logprob < free.logprobs.chosen.logprob


def test_a_grammar_that_explodes_leaves_its_neighbour_running(runner: LlamaRunner) -> None:
    digit, dashes = 29_896, 2_683  # "1", and a run of dashes
    assert runner.token_bytes(digit) == b"1"
    assert set(runner.token_bytes(dashes)) == {ord("-")}
    lead = Sampling(logit_bias=((digit, 90.0), (dashes, 99.0)))
    runner.open(0, spec((CORPUS / "doubling_far_behind.gbnf").read_text(encoding="utf-8"), sampling=lead))
    runner.open(1, spec(None))
    pending, position, ended, alive = [PROMPT, PROMPT], 0, None, 0
    for _ in range(120):
        slots = [0, 1] if ended is None else [1]
        results = runner.run([Chunk(slot, pending[slot], position, wants_token=True) for slot in slots])
        position += len(pending[1])
        for slot, (sampled,) in zip(slots, results, strict=True):
            if isinstance(sampled, InvalidRequest):
                ended = sampled
                runner.close(slot)
            else:
                pending[slot] = (sampled.token_id,)
        alive += ended is not None
        if alive > 5:
            break
    assert "too ambiguous" in str(ended)
