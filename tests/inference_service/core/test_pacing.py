import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.pacing import MIN_STEP_TOKENS, StepPacer

RECENT = 64
"""Passes that the least time of a prompt is judged by."""


def pacer_at(seconds_per_token: float, *, max_step_tokens: int = 512) -> StepPacer:
    """A pacer that has seen one pass of this cost."""
    pacer = StepPacer(target_seconds=0.25, max_step_tokens=max_step_tokens)
    observe(pacer, 100, 100 * seconds_per_token)
    return pacer


def observe(pacer: StepPacer, tokens: int, seconds: float) -> None:
    """A pass that only read prompts."""
    pacer.observe(tokens, seconds, prompt_tokens=tokens)


def budget(pacer: StepPacer, *, generating: int = 1, prompt_tokens: int = 100) -> int:
    return pacer.token_budget(generating=generating, prompt_tokens=prompt_tokens)


def test_starts_with_a_careful_guess():
    assert budget(StepPacer(target_seconds=0.25, max_step_tokens=512)) == 32
    assert budget(StepPacer(target_seconds=0.25, max_step_tokens=8)) == 8
    assert budget(StepPacer(target_seconds=0.25, max_step_tokens=512), generating=100) == 200, "prompts get on, too"


@pytest.mark.parametrize(
    ("seconds_per_token", "tokens"),
    [(0.001, 200), (0.00001, 512), (0.0135, MIN_STEP_TOKENS), (1.0, MIN_STEP_TOKENS)],
)
def test_the_budget_fills_four_fifths_of_the_time_between_its_bounds(seconds_per_token, tokens):
    assert budget(pacer_at(seconds_per_token)) == tokens


def test_a_pass_that_holds_up_no_stream_may_take_four_times_as_long():
    assert budget(pacer_at(0.002), generating=0) == 4 * budget(pacer_at(0.002)) == 400


def test_a_pass_that_holds_up_no_stream_is_never_too_small_for_the_kernels():
    assert budget(pacer_at(0.05), generating=0) == 64
    assert budget(pacer_at(0.05), generating=1) == MIN_STEP_TOKENS


@pytest.mark.parametrize(
    ("generating", "prompt_tokens", "tokens"),
    [(1, 1000, 20), (2, 1000, 22), (4, 1000, 44), (20, 1000, 220), (4, 100, 20), (20, 100, 40), (4, 10_000, 44)],
    ids=["one", "two", "four", "twenty", "short prompt", "short prompt, many streams", "long prompt"],
)
def test_many_streams_make_passes_longer_than_their_time(generating, prompt_tokens, tokens):
    """100 tokens take a second: streams may delay a prompt by a second, or by a tenth of what it takes alone."""
    assert budget(pacer_at(0.01), generating=generating, prompt_tokens=prompt_tokens) == tokens


@given(
    cost=st.floats(1e-5, 0.1),
    generating=st.integers(0, 200),
    prompt_tokens=st.integers(1, 100_000),
    max_step_tokens=st.integers(400, 8192),
)
def test_streams_never_delay_a_prompt_beyond_patience(cost, generating, prompt_tokens, max_step_tokens):
    tokens = budget(pacer_at(cost, max_step_tokens=max_step_tokens), generating=generating, prompt_tokens=prompt_tokens)
    assert min(MIN_STEP_TOKENS, max_step_tokens) <= tokens <= max_step_tokens
    if tokens < max_step_tokens:
        alone = prompt_tokens * cost
        passes = prompt_tokens / (tokens - generating + 1)  # a budget is a whole number
        assert passes * generating * cost <= max(1.0, 0.1 * alone) * 1.001


def test_small_passes_teach_nothing_of_large_ones():
    pacer = StepPacer(target_seconds=0.25, max_step_tokens=512)
    observe(pacer, MIN_STEP_TOKENS - 1, 1.0)
    assert budget(pacer) == 32
    assert pacer.least_prompt_seconds(100) == 0


def test_passes_that_mostly_verify_teach_nothing_of_prompts():
    pacer = StepPacer(target_seconds=0.25, max_step_tokens=512)
    pacer.observe(100, 1.0, prompt_tokens=49)
    assert budget(pacer) == 32
    pacer.observe(100, 1.0, prompt_tokens=50)
    assert budget(pacer) == 20


def test_a_dearer_pass_counts_at_once_and_cheaper_ones_slowly():
    pacer = pacer_at(0.001)
    observe(pacer, 100, 0.5)
    assert budget(pacer) == 40
    observe(pacer, 100, 0.1)
    assert 40 < budget(pacer) < 200
    for _ in range(40):
        observe(pacer, 100, 0.1)
    assert budget(pacer) in (199, 200)


def test_the_least_time_of_a_prompt_is_that_of_the_fastest_pass():
    pacer = StepPacer(target_seconds=0.25, max_step_tokens=512)
    assert pacer.least_prompt_seconds(1000) == 0, "nothing is certain before the first measure"
    for seconds in (0.3, 0.1, 0.2):
        observe(pacer, 100, seconds)
    assert pacer.least_prompt_seconds(1000) == pytest.approx(1.0)
    assert pacer.least_prompt_seconds(0) == 0


def test_the_fastest_pass_is_forgotten():
    pacer = pacer_at(0.001)
    for _ in range(RECENT - 1):
        observe(pacer, 100, 1.0)
    assert pacer.least_prompt_seconds(100) == pytest.approx(0.1)
    observe(pacer, 100, 1.0)
    assert pacer.least_prompt_seconds(100) == pytest.approx(1.0)


@pytest.mark.parametrize("target", [0.01, 0.25, 10.0])
def test_a_pass_that_took_no_time_at_all_is_survived(target):
    pacer = StepPacer(target_seconds=target, max_step_tokens=512)
    observe(pacer, 100, 0.0)
    assert budget(pacer) == 512
    assert math.isfinite(pacer.least_prompt_seconds(100))
