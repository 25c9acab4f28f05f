"""Drafts that are verified on real weights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from inference_service.adapters.llama import LlamaRunner
from inference_service.core.errors import InvalidRequest
from inference_service.core.ports import Chunk, Sampled, SampledToken, SamplerSpec
from inference_service.core.types import Sampling
from tests.support.builtin_model import (
    QUESTIONS,
    assert_same_but_for_ties,
    greedy_alone,
    grounded_prompt,
    loaded_runner,
)

pytestmark = pytest.mark.model

PROMPT = grounded_prompt(QUESTIONS[0])
ANSWER_TOKENS = 14
GREEDY = SamplerSpec(Sampling(), 5, ())


@pytest.fixture(scope="module")
def shared_runner() -> Iterator[LlamaRunner]:
    with loaded_runner(slots=3, kv_cells=1024) as made:
        yield made


@pytest.fixture
def runner(shared_runner: LlamaRunner) -> Iterator[LlamaRunner]:
    yield shared_runner
    shared_runner.reset()


@pytest.fixture(scope="module")
def alone(shared_runner: LlamaRunner) -> tuple[list[int], list[float]]:
    """The greedy answer, without drafts. It copies a source, each token far ahead of the next."""
    said, margins = greedy_alone(shared_runner, PROMPT, ANSWER_TOKENS)
    assert min(margins) > 0.5
    return said, margins


def begin(runner: LlamaRunner, spec: SamplerSpec = GREEDY, slot: int = 0) -> int:
    runner.open(slot, spec)
    return ids(runner.run([Chunk(slot, PROMPT, 0, wants_token=True)])[0])[0]


def verify(runner: LlamaRunner, said: list[int], draft: list[int], slot: int = 0) -> Sampled:
    """Run the token said last, which follows the others, and a draft behind it."""
    chunk = Chunk(slot, (said[-1], *draft), len(PROMPT) + len(said) - 1, wants_token=True, drafted=len(draft))
    return runner.run([chunk])[0]


def ids(sampled: Sampled) -> list[int]:
    assert all(isinstance(item, SampledToken) for item in sampled), sampled
    return [item.token_id for item in sampled]


@pytest.mark.parametrize("right", [0, 1, 2, 5])
def test_a_draft_is_taken_up_to_its_first_wrong_token_and_the_right_one_comes_instead(runner, alone, right):
    said, margins = alone
    wrong = [token + 1 for token in said]
    assert begin(runner) == said[0]
    answered = said[:1] + ids(verify(runner, said[:1], [*said[1 : 1 + right], *wrong[1 + right : 7]]))
    assert len(answered) == 2 + right
    while len(answered) < ANSWER_TOKENS:  # the cells of what was wrong are gone: what follows takes their positions
        answered += ids(verify(runner, answered, []))
    assert_same_but_for_ties(answered, said, margins)


def test_a_draft_that_is_right_throughout_brings_one_token_more(runner, alone):
    said, margins = alone
    begin(runner)
    answered = said[:1]
    while len(answered) < ANSWER_TOKENS:
        draft = said[len(answered) :][:4]
        before = len(answered)
        answered += ids(verify(runner, answered, draft))
        assert len(answered) == before + len(draft) + 1
    assert_same_but_for_ties(answered[:ANSWER_TOKENS], said, margins)


def test_drafts_of_several_sequences_are_verified_in_one_pass(runner, alone):
    said, _ = alone
    for slot in range(3):
        begin(runner, slot=slot)
    chunks = [
        Chunk(2, (said[0], *said[1:4]), len(PROMPT), wants_token=True, drafted=3),
        Chunk(0, (said[0], 5, 6), len(PROMPT), wants_token=True, drafted=2),
        Chunk(1, (said[0],), len(PROMPT), wants_token=True),
    ]
    assert list(map(ids, runner.run(chunks))) == [said[1:5], said[1:2], said[1:2]]


def test_the_log_probabilities_of_drafted_tokens_are_those_of_their_places(runner, alone):
    said, _ = alone
    spec = SamplerSpec(Sampling(), 5, (), logprobs=2)
    plain: list[SampledToken] = []
    begin(runner, spec)
    answered = said[:1]
    for _ in range(4):
        plain += verify(runner, answered, [])
        answered.append(plain[-1].token_id)
    runner.close(0)
    begin(runner, spec)
    drafted = verify(runner, said[:1], said[1:4])
    for one, other in zip(drafted, plain, strict=True):
        assert one.logprobs.chosen.token_id == one.token_id == other.token_id
        assert one.logprobs.chosen.logprob == pytest.approx(other.logprobs.chosen.logprob, abs=0.05)


@pytest.mark.parametrize("draft", [[100, 300, 200, 100, 200], [100, 100, 100], [200, 100, 300, 999]])
def test_penalties_look_back_on_what_was_accepted_and_no_further(runner, draft):
    """Three tokens lead by far, each time less: what comes when is known whatever the model thinks."""
    leads = {100: 1000.0, 200: 900.0, 300: 800.0}
    expected: list[int] = []
    while len(expected) < 12:
        expected.append(max(leads, key=leads.__getitem__))
        leads[expected[-1]] -= 150
    biases = Sampling(logit_bias=((100, 1000.0), (200, 900.0), (300, 800.0)), frequency_penalty=150.0)
    answered = [begin(runner, SamplerSpec(biases, 5, ()))]
    while len(answered) < len(expected):
        answered += ids(verify(runner, answered, draft))
    assert answered[: len(expected)] == expected


def test_a_grammar_goes_on_with_what_was_accepted_and_no_further(runner):
    def spelled(draft: list[int]) -> bytes:
        runner.open(0, SamplerSpec(Sampling(), 5, (), grammar='root ::= "yes" [0-9] "no" [0-9]'))
        answered = ids(runner.run([Chunk(0, PROMPT, 0, wants_token=True)])[0])
        while not runner.is_end_of_generation(answered[-1]):
            answered += ids(verify(runner, answered, draft))
        runner.close(0)
        return b"".join(map(runner.token_bytes, answered[: answered.index(answered[-1]) + 1]))

    plain = spelled([])
    assert plain.startswith(b"yes")
    digits = [token for token in range(3, 32_000) if runner.token_bytes(token) == plain[3:4]]
    assert digits
    assert spelled([digits[0], 450]) == plain


def test_a_sequence_that_cannot_go_on_keeps_what_was_right_before(runner):
    """The last accepted token leaves its grammar nothing but what is banned."""
    closing = [(token, -100.0) for token in range(3, 32_000) if b"}" in runner.token_bytes(token)]
    first, second = 29_874, 29_890
    assert (runner.token_bytes(first), runner.token_bytes(second)) == (b"a", b"b")
    sampling = Sampling(logit_bias=(*closing, (first, 90.0), (second, 90.0)))
    assert begin(runner, SamplerSpec(sampling, 5, (), grammar='root ::= "ab" "}"')) == first
    *right, error = verify(runner, [first], [second, 450, 450])
    assert ids(right) == [second]
    assert isinstance(error, InvalidRequest)
