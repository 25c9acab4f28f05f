import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.pacing import MIN_STEP_TOKENS, StepPacer

RECENT = 64
"""Passes that the least time of a prompt is judged by."""


TILE = 64


def pacer_at(seconds_per_token: float, *, max_step_tokens: int = 512, attention_tile: int = 0) -> StepPacer:
    """A pacer that has seen one pass of this cost."""
    pacer = StepPacer(target_seconds=0.25, max_step_tokens=max_step_tokens, attention_tile=attention_tile)
    observe(pacer, 100, 100 * seconds_per_token)
    return pacer


def observe(pacer: StepPacer, tokens: int, seconds: float) -> None:
    """A pass that only read prompts."""
    pacer.observe(tokens, seconds, prompt_tokens=tokens)


def budget(pacer: StepPacer, *, generating: int = 1, prompt_tokens: int = 100) -> int:
    return pacer.prompt_budget(generating=generating, prompt_tokens=prompt_tokens)


def test_starts_with_a_careful_guess():
    assert budget(StepPacer(target_seconds=0.25, max_step_tokens=512), generating=0) == 32
    assert budget(StepPacer(target_seconds=0.25, max_step_tokens=512), generating=2) == 30
    assert budget(StepPacer(target_seconds=0.25, max_step_tokens=8)) == 7
    assert budget(StepPacer(target_seconds=0.25, max_step_tokens=512), generating=100) == 100, "prompts get on, too"


@pytest.mark.parametrize(
    ("seconds_per_token", "tokens"),
    [(0.001, 199), (0.00001, 511), (0.0135, MIN_STEP_TOKENS), (1.0, MIN_STEP_TOKENS)],
)
def test_a_step_fills_four_fifths_of_its_time_between_its_bounds(seconds_per_token, tokens):
    assert budget(pacer_at(seconds_per_token), prompt_tokens=20) == tokens


def test_a_step_that_holds_up_no_stream_may_take_four_times_as_long():
    assert budget(pacer_at(0.002), generating=0) == 400
    assert budget(pacer_at(0.002), generating=1) == 99


def test_a_step_that_holds_up_no_stream_is_never_too_small_for_the_kernels():
    assert budget(pacer_at(0.05), generating=0) == 64


@pytest.mark.parametrize(
    ("generating", "prompt_tokens", "tokens"),
    [(1, 1000, 19), (2, 1000, 29), (4, 1000, 58), (20, 1000, 286), (4, 100, 16), (20, 100, 80), (4, 10_000, 58)],
    ids=["one", "two", "four", "twenty", "short prompt", "short prompt, many streams", "long prompt"],
)
def test_many_streams_make_steps_longer_than_their_time(generating, prompt_tokens, tokens):
    """100 tokens take a second: streams may delay a prompt by 0.25 s, or by 7 % of what it takes alone."""
    assert budget(pacer_at(0.01), generating=generating, prompt_tokens=prompt_tokens) == tokens


@given(
    cost=st.floats(1e-5, 0.1),
    generating=st.integers(0, 200),
    prompt_tokens=st.integers(1, 100_000),
    max_step_tokens=st.integers(400, 8192),
    stream_seconds=st.none() | st.floats(1e-4, 2.0),
)
def test_streams_never_delay_a_prompt_beyond_patience(cost, generating, prompt_tokens, max_step_tokens, stream_seconds):
    """Whether their tokens add to the prompt's pass, or take a pass of their own whose time is known."""
    apart = stream_seconds is not None
    pacer = pacer_at(cost, max_step_tokens=max_step_tokens, attention_tile=TILE if apart else 0)
    if apart and generating:
        pacer.observe(generating, stream_seconds, prompt_tokens=0)
    tokens = budget(pacer, generating=generating, prompt_tokens=prompt_tokens)
    assert min(MIN_STEP_TOKENS, max_step_tokens) <= tokens <= max_step_tokens - generating
    if tokens < max_step_tokens - generating:
        alone = prompt_tokens * cost
        a_step = stream_seconds if apart else generating * cost
        rounded = 1.5 if apart else 1.001  # to whole tiles, at worst from one and a half to one
        assert prompt_tokens / tokens * a_step * bool(generating) <= max(0.25, 0.07 * alone) * rounded


def test_where_streams_run_in_passes_apart_their_measured_time_counts():
    pacer = pacer_at(0.001, attention_tile=TILE)
    assert budget(pacer, generating=8, prompt_tokens=1000) == 3 * TILE, "192 ms"
    pacer.observe(8, 0.06, prompt_tokens=0)
    assert budget(pacer, generating=8, prompt_tokens=500) == 3 * TILE, "140 ms, to the end of a tile"
    assert budget(pacer, generating=8, prompt_tokens=1000) == 4 * TILE, "four steps of 60 ms are 0.25 s"


def test_where_passes_run_apart_no_chunk_is_smaller_than_a_tile():
    assert budget(pacer_at(0.05, attention_tile=TILE), generating=1) == TILE
    assert budget(pacer_at(0.05, attention_tile=TILE), generating=0) == TILE
    assert budget(pacer_at(0.003, attention_tile=TILE), generating=0) == 4 * TILE
    assert budget(pacer_at(0.05, attention_tile=TILE, max_step_tokens=32), generating=1) == 31


def test_what_streams_took_beside_a_prompt_is_not_the_prompt_s_cost():
    pacer = StepPacer(target_seconds=0.25, max_step_tokens=512, attention_tile=TILE)
    pacer.observe(8, 0.1, prompt_tokens=0)
    pacer.observe(8 + 100, 0.1 + 0.2, prompt_tokens=100)
    assert pacer.least_prompt_seconds(100) == pytest.approx(0.2)
    pacer.observe(8 + 100, 0.108, prompt_tokens=100)  # the streams' pass was much faster than known
    assert pacer.least_prompt_seconds(108) == pytest.approx(0.108 / 2)
    pacer.observe(4 + 40, 0.044, prompt_tokens=40)  # one pass
    assert pacer.least_prompt_seconds(44) == pytest.approx(0.044 / 2)


def test_small_passes_teach_nothing_of_large_ones():
    pacer = StepPacer(target_seconds=0.25, max_step_tokens=512)
    observe(pacer, MIN_STEP_TOKENS - 1, 1.0)
    assert budget(pacer) == 31
    assert pacer.least_prompt_seconds(100) == 0


def test_passes_that_mostly_verify_teach_nothing_of_prompts():
    pacer = StepPacer(target_seconds=0.25, max_step_tokens=512)
    pacer.observe(100, 1.0, prompt_tokens=49)
    assert budget(pacer) == 31
    pacer.observe(100, 1.0, prompt_tokens=50)
    assert budget(pacer) == 19


def test_a_dearer_pass_counts_at_once_and_cheaper_ones_slowly():
    pacer = pacer_at(0.001)
    observe(pacer, 100, 0.5)
    assert budget(pacer) == 39
    observe(pacer, 100, 0.1)
    assert 40 < budget(pacer) < 199
    for _ in range(40):
        observe(pacer, 100, 0.1)
    assert budget(pacer) in (198, 199)


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
    assert budget(pacer) == 511
    assert math.isfinite(pacer.least_prompt_seconds(100))
